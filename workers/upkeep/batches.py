"""Keeping batches going: no item waits for a job that has ended, and finished batches are
searched for duplicates."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.duplicate_search import DuplicateSearches
from pipeline.jobs.upkeep import JobUpkeep
from workers.crash_recovery import republish
from workers.dispatch import Dispatcher


@dataclass(frozen=True, slots=True)
class BatchUpkeep:
    """Several may run at once."""

    bisector: ChunkBisector
    jobs: JobUpkeep
    dispatcher: Dispatcher
    searches: DuplicateSearches

    def split_failed_chunks(self) -> None:
        """Split chunks whose jobs failed. Raises ``DatabaseUnavailable``,
        ``BrokerUnavailable``."""
        republish(self.jobs, self.dispatcher, self.bisector.round())

    def start_duplicate_searches(self) -> None:
        """Start the duplicate search of finished batches. Raises the same errors."""
        republish(self.jobs, self.dispatcher, self.searches.start_due())
