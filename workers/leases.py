"""Renewing the claims of this process for as long as it holds them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.jobs.model import Claim
from pipeline.jobs.store import JobStore
from pipeline.periodic import Ticker
from workers.work_limit import is_over


class Leases:
    """Renews the claims of this process from a thread of its own.

    The thread lives as long as the process does: when the process dies or hangs as a
    whole, the lease runs out and others may take the job.
    """

    def __init__(self, store: JobStore, lease_s: float) -> None:
        self._store = store
        self._lease_s = lease_s
        self._held: dict[str, Claim] = {}
        # The claim, and by the clock and in processor time when it was begun.
        self._running: tuple[Claim, float, float] | None = None
        # A third: one renewal may be late or lost without the claim being lost.
        self._ticker = Ticker("renew_leases", lease_s / 3, self._renew)
        self._ticker.start()

    @contextmanager
    def held(self, *claims: Claim) -> Iterator[None]:
        """Keep the claims alive inside; the first is run first."""
        self._held.update({claim.id: claim for claim in claims})
        self.running(claims[0])
        try:
            yield
        finally:
            for claim in claims:
                del self._held[claim.id]
            self._running = None

    def running(self, claim: Claim) -> None:
        """Note that of the claims held ``claim`` is run from now on."""
        self._running = claim, time.monotonic(), time.process_time()

    def overdue(self, limit_s: float) -> Claim | None:
        """The claim that is run, if its time limit is over."""
        if self._running is None:
            return None
        claim, began, worked = self._running
        late = is_over(limit_s, time.monotonic() - began, time.process_time() - worked)
        return claim if late else None

    def others(self, claim: Claim) -> list[Claim]:
        """The claims held beside ``claim``."""
        return [other for other in list(self._held.values()) if other.id != claim.id]

    def close(self) -> None:
        self._ticker.close()

    def _renew(self) -> None:
        self._store.renew(list(self._held.values()), self._lease_s)
