"""What there is to see of a batch while it is enrolled."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from infra.cli.batches.progress import ProgressView, estimate_total
from infra.cli.batches.summary import counts_of
from infra.cli.enroll.reader_thread import ReaderThread
from infra.cli.enroll.tracked_source import TrackedSource
from pipeline.batches.blockers import NO_UPKEEP, NO_WORKER, START_GRACE_S
from pipeline.batches.duplicate_search import is_searched, search_of
from pipeline.batches.model import STOPPED, Batch, BatchState
from pipeline.batches.store import BatchStore
from pipeline.errors import DatabaseUnavailable

POLL_S = 0.5  # between two looks into the database

# Seconds without an outcome after which it is asked why.
STALLED_S = 3.0


@dataclass(slots=True)
class BatchWatch:
    """Looks at a batch, not more often than is good; ``batch`` is what was seen last."""

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
        """Never raises for a database that is away: it is waited for. Raises
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
        """Whether nothing more happens: the batch was seen to have ended after its source
        was read, and was searched for doubles if it is done."""
        return self._is_read and self._is_over

    @property
    def _is_over(self) -> bool:
        return self.batch.state in STOPPED or (
            self.batch.state is BatchState.DONE and is_searched(self.batch)
        )

    def _refresh(self, now: float) -> None:
        # Asked first: a batch that was done before is not done because it was.
        fed = self.reader is None or self.reader.done
        before, self.batch = self.batch, self.batches.get(None, self.batch.id)
        self._is_read = fed
        self._waits_for = ""
        if _progress_key(self.batch) != _progress_key(before) or self._is_idle():
            self._progressed_at = now
        elif now - self._progressed_at > STALLED_S:
            found = self.batches.waiting_reason(self.batch, is_reader=self.reader is not None)
            # A stack of this command's own may be about to start.
            early = now - self._progressed_at < START_GRACE_S
            if found is None or (early and found.code in (NO_WORKER, NO_UPKEEP)):
                return
            self._waits_for = found.message.rstrip(".")

    def _is_idle(self) -> bool:
        """Whether there is nothing for workers to do."""
        return not self.batch.waiting and (not self.batch.ended or self._is_over)

    def _view(self) -> ProgressView:
        batch, feeding, source = self.batch, self.reader, self.source
        waits = self._waits_for if feeding is None else feeding.waits_for or self._waits_for
        view = ProgressView(counts_of(batch), batch.waiting, waits_for=waits)
        fed = feeding is None or feeding.done
        if fed and batch.ended and not self._is_over:
            search = search_of(batch)
            through = search.through if search and search.state == "searching" else 0.0
            now = f"searching for people under two names, {through:.0%}"
            return replace(view, total=batch.items, activity=now)
        if source is None or (fed and (batch.exhausted or batch.ended)):
            return replace(view, total=batch.items if batch.exhausted else None)
        total = estimate_total(source.items_read, *source.position())
        if total is not None:
            total = max(total, batch.items)
        return replace(view, total=total, estimated=True, activity=f"reading {source.current_name}")


def _progress_key(batch: Batch) -> tuple[object, ...]:
    """What changes while somebody works at a batch."""
    return tuple(counts_of(batch).values()), batch.findings
