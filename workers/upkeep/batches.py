"""Keeping batches going: no item waits for a job that has ended, and what is done is
searched."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.batches.findings import FindingSearches
from pipeline.batches.splitting import Splitter
from pipeline.jobs.store import JobStore
from workers.dispatch import Dispatcher
from workers.undertaker import send_again


@dataclass(frozen=True, slots=True)
class BatchKeeping:
    """Safe to run several times at once."""

    splitter: Splitter
    store: JobStore
    dispatcher: Dispatcher
    searches: FindingSearches

    def mend(self) -> None:
        """Split chunks that came to nothing. Raises ``DatabaseUnavailable``,
        ``BrokerUnavailable``."""
        send_again(self.store, self.dispatcher, self.splitter.round())

    def search(self) -> None:
        """Begin to look for doubles in batches that are done. Raises as ``mend``."""
        send_again(self.store, self.dispatcher, self.searches.begin_due())
