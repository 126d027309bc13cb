"""What there is to see of a batch while it is enrolled."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from sqlalchemy import Engine

from infra.cli.batch_progress import View, expected
from infra.cli.batch_summary import counts_of
from infra.cli.feeding import Feeding
from infra.cli.watched import WatchedSource
from pipeline.batches.findings import is_searched, search_of
from pipeline.batches.hindrance import NO_UPKEEP, NO_WORKER, QUIET_S
from pipeline.batches.model import STOPPED, Batch, BatchState
from pipeline.batches.store import BatchStore
from pipeline.errors import DatabaseUnavailable

LOOK_S = 0.5  # between two looks into the database

# Seconds without an outcome after which it is asked why.
HINDERED_S = 3.0


@dataclass(slots=True)
class BatchWatch:
    """Looks at a batch, not more often than is good; ``batch`` is what was seen last."""

    engine: Engine
    batches: BatchStore
    batch: Batch
    feeding: Feeding | None = None
    source: WatchedSource | None = None
    _looked_at: float = 0.0
    _moved_at: float = field(default_factory=time.monotonic)
    _trouble: str = ""
    _is_fed: bool = False

    def look(self) -> View:
        """Never raises for a database that is away: it is waited for. Raises
        ``BatchNotFound``."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            try:
                self._refresh(now)
            except DatabaseUnavailable as error:
                self._trouble = error.message.rstrip(".")
        return self._view()

    @property
    def settled(self) -> bool:
        """Whether nothing more happens: the batch was seen to have ended after its source
        was read, and was searched for doubles if it is done."""
        return self._is_fed and self._is_over

    @property
    def _is_over(self) -> bool:
        return self.batch.state in STOPPED or (
            self.batch.state is BatchState.DONE and is_searched(self.batch)
        )

    def _refresh(self, now: float) -> None:
        # Asked first: a batch that was done before is not done because it was.
        fed = self.feeding is None or self.feeding.done
        before, self.batch = self.batch, self.batches.get(None, self.batch.id)
        self._is_fed = fed
        self._trouble = ""
        if _moves(self.batch) != _moves(before) or self._is_idle():
            self._moved_at = now
        elif now - self._moved_at > HINDERED_S:
            found = self.batches.hindrance(self.batch, reader=self.feeding is not None)
            # A stack of this command's own may be about to start.
            early = now - self._moved_at < QUIET_S
            if found is None or (early and found.code in (NO_WORKER, NO_UPKEEP)):
                return
            self._trouble = found.message.rstrip(".")

    def _is_idle(self) -> bool:
        """Whether there is nothing for workers to do."""
        return not self.batch.waiting and (not self.batch.ended or self._is_over)

    def _view(self) -> View:
        batch, feeding, source = self.batch, self.feeding, self.source
        waits = self._trouble if feeding is None else feeding.waits_for or self._trouble
        view = View(counts_of(batch), batch.waiting, waits_for=waits)
        fed = feeding is None or feeding.done
        if fed and batch.ended and not self._is_over:
            search = search_of(batch)
            through = search.through if search and search.state == "searching" else 0.0
            now = f"searching for people under two names, {through:.0%}"
            return replace(view, total=batch.items, now=now)
        if source is None or (fed and (batch.exhausted or batch.ended)):
            return replace(view, total=batch.items if batch.exhausted else None)
        total = expected(source.passed, *source.position())
        if total is not None:
            total = max(total, batch.items)
        return replace(view, total=total, about=True, now=f"reading {source.reading}")


def _moves(batch: Batch) -> tuple[object, ...]:
    """What changes while somebody works at a batch."""
    return tuple(counts_of(batch).values()), batch.findings
