"""Saying that a claim's holder is alive, for as long as it holds the claim."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import DatabaseUnavailable
from pipeline.jobs.model import Claim
from pipeline.jobs.store import JobStore

logger = logging.getLogger(__name__)


class Leases:
    """Renews the claims of this process from a thread of its own.

    The thread lives as long as the process does: when the process dies or hangs as a
    whole, the lease runs out and others may take the job.
    """

    def __init__(self, store: JobStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._held: dict[str, tuple[Claim, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def held(self, claim: Claim) -> Iterator[None]:
        """Keep ``claim`` alive inside."""
        self._held[claim.id] = claim, time.monotonic()
        try:
            yield
        finally:
            del self._held[claim.id]

    def held_for(self, seconds: float) -> Claim | None:
        """A claim that has been held for longer than that."""
        before = time.monotonic() - seconds
        return next((claim for claim, since in list(self._held.values()) if since < before), None)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _renew(self) -> None:
        # A third: one renewal may be late or lost without the claim being lost.
        while not self._stop.wait(self._lease_s / 3):
            claims = [claim for claim, _ in list(self._held.values())]
            if not claims:
                continue
            try:
                self._store.renew(claims, self._lease_s)
            except DatabaseUnavailable as error:
                logger.warning(
                    "Could not renew a claim: %s", error,
                    extra={"action": "renew_failed", "job": claims[0].id},
                )
