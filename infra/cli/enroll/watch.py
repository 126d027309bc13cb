"""Watches a batch while it is enrolled."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from infra.cli.batches.progress import ProgressView, estimate_total
from infra.cli.batches.summary import counts_of
from infra.cli.enroll.read_source import ReaderThread, TrackedSource
from pipeline.batches.blockers import NO_UPKEEP, NO_WORKER, START_GRACE_S
from pipeline.batches.duplicate_search import is_searched, search_of
from pipeline.batches.model import STOPPED, Batch, BatchState
from pipeline.batches.store import BatchStore
from pipeline.errors import DatabaseUnavailable

POLL_S = 0.5  # between two queries

# Seconds without progress after which the reason is looked up.
STALLED_S = 3.0


@dataclass(slots=True)
class BatchWatch:
    """Polls a batch, at most every ``POLL_S`` seconds; ``batch`` is its last known row."""

    engine: Engine
    batches: BatchStore
    batch: Batch
    reader: ReaderThread | None = None
    source: TrackedSource | None = None
    _looked_at: float = 0.0
    _progressed_at: float = field(default_factory=time.monotonic)
    _waits_for: str = ""
    _is_read: bool = False

    def look(self) -> ProgressView:
        """The progress now. While the database is away it is the last known one. Raises
        ``BatchNotFound``."""
        now = time.monotonic()
        if now - self._looked_at >= POLL_S:
            self._looked_at = now
            try:
                self._refresh(now)
            except DatabaseUnavailable as error:
                self._waits_for = error.message.rstrip(".")
        return self._view()

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen: the source was read, the batch ended after that,
        and it was searched for duplicate people if it is done."""
        return self._is_read and self._is_over

    @property
    def _is_over(self) -> bool:
        return self.batch.state in STOPPED or (
            self.batch.state is BatchState.DONE and is_searched(self.batch)
        )

    def _refresh(self, now: float) -> None:
        # Asked before the query: a batch that was done before its source was read again is
        # not settled yet.
        is_read = self.reader is None or self.reader.done
        before, self.batch = self.batch, self.batches.get(None, self.batch.id)
        self._is_read = is_read
        self._waits_for = ""
        if _progress_key(self.batch) != _progress_key(before) or self._is_idle():
            self._progressed_at = now
        elif now - self._progressed_at > STALLED_S:
            found = self.batches.waiting_reason(self.batch, is_reader=self.reader is not None)
            # The command's own stack may still be starting.
            is_early = now - self._progressed_at < START_GRACE_S
            if found is None or (is_early and found.code in (NO_WORKER, NO_UPKEEP)):
                return
            self._waits_for = found.message.rstrip(".")

    def _is_idle(self) -> bool:
        """Whether there is nothing for workers to do."""
        return not self.batch.waiting and (not self.batch.ended or self._is_over)

    def _view(self) -> ProgressView:
        batch, reader, source = self.batch, self.reader, self.source
        waits_for = (reader.waits_for if reader else "") or self._waits_for
        view = ProgressView(counts_of(batch), batch.waiting, waits_for=waits_for)
        is_read = reader is None or reader.done
        if is_read and batch.ended and not self._is_over:
            search = search_of(batch)
            through = search.through if search and search.state == "searching" else 0.0
            activity = f"searching for people under two names, {through:.0%}"
            return replace(view, total=batch.items, activity=activity)
        if source is None or (is_read and (batch.exhausted or batch.ended)):
            return replace(view, total=batch.items if batch.exhausted else None)
        total = estimate_total(source.items_read, *source.position())
        if total is not None:
            total = max(total, batch.items)
        return replace(view, total=total, estimated=True, activity=f"reading {source.current_name}")


def _progress_key(batch: Batch) -> tuple[object, ...]:
    """The values that change while the batch makes progress."""
    return tuple(counts_of(batch).values()), batch.findings
