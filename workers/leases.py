"""Renewing the claims of this process for as long as it holds them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.jobs.model import Claim
from pipeline.jobs.store import JobStore
from pipeline.periodic import Ticker


class Leases:
    """Renews the claims of this process from a thread of its own.

    The thread lives as long as the process does: when the process dies or hangs as a
    whole, the lease runs out and others may take the job.
    """

    def __init__(self, store: JobStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._held: dict[str, tuple[Claim, float]] = {}
        # A third: one renewal may be late or lost without the claim being lost.
        self._ticker = Ticker("renew_leases", lease_s / 3, self._renew)
        self._ticker.start()

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
        self._ticker.close()

    def _renew(self) -> None:
        self._store.renew([claim for claim, _ in list(self._held.values())], self._lease_s)
