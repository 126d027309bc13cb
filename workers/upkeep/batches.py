"""Keeping batches going: no item waits for a job that has ended, and what is done is
searched."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.duplicate_search import DuplicateSearches
from pipeline.jobs.store import JobStore
from workers.crash_recovery import republish
from workers.dispatch import Dispatcher


@dataclass(frozen=True, slots=True)
class BatchUpkeep:
    """Safe to run several times at once."""

    splitter: ChunkBisector
    store: JobStore
    dispatcher: Dispatcher
    searches: DuplicateSearches

    def split_failed_chunks(self) -> None:
        """Split chunks that came to nothing. Raises ``DatabaseUnavailable``,
        ``BrokerUnavailable``."""
        republish(self.store, self.dispatcher, self.splitter.round())

    def start_duplicate_searches(self) -> None:
        """Begin to look for doubles in batches that are done. Raises as ``split_failed_chunks``."""
        republish(self.store, self.dispatcher, self.searches.start_due())
