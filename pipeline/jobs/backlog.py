"""How much work waits: asked at every submit, counted only now and then."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.database.engine import reading
from pipeline.jobs.statements import BACKLOG

# Seconds for which a count is believed. Counting 200,000 waiting rows takes some ten
# milliseconds; what other processes submit meanwhile may pass the limit by as much.
FRESH_S = 0.5


class Backlog:
    """The jobs that wait, at all stages, as far as they matter for a limit."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._counted = 0
        self._counted_at = float("-inf")
        self._grown = 0

    def added_one(self) -> None:
        """Note that this process has added a job."""
        self._grown += 1

    def reaches(self, limit: int) -> bool:
        """Whether at least ``limit`` jobs wait. Raises ``DatabaseUnavailable``."""
        fresh = abs(self._clock() - self._counted_at) < FRESH_S
        full = self._counted + self._grown >= limit
        # What we have added may have been worked off since: count before refusing.
        if not fresh or (full and self._counted < limit):
            self._count(limit)
        return self._counted + self._grown >= limit

    def _count(self, limit: int) -> None:
        self._grown = 0
        with reading(self._engine) as connection:
            self._counted = connection.execute(BACKLOG, {"most": limit}).scalar_one()
        self._counted_at = self._clock()
