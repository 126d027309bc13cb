"""How many jobs wait. Asked at every submit, counted at most twice a second."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.database.engine import read_values
from pipeline.jobs.statements import BACKLOG

# Seconds for which a count is used. Counting 200,000 waiting rows takes some ten
# milliseconds; jobs that other processes submit meanwhile may exceed the limit.
FRESH_S = 0.5


class Backlog:
    """The jobs that wait, at all stages, counted up to a limit."""

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
        # Workers may have taken what this process added since: count before refusing.
        if not fresh or (full and self._counted < limit):
            self._count(limit)
        return self._counted + self._grown >= limit

    def _count(self, limit: int) -> None:
        self._grown = 0
        (self._counted,) = read_values(self._engine, BACKLOG, {"most": limit})
        self._counted_at = self._clock()
