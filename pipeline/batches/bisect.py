"""Halves chunks whose jobs ended without a result until the item at fault is alone, and
rejects that one.

The rows alone tell which chunks to split: items wait for a job that has ended. Any process
can therefore split chunks at any time, also several processes at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, exists, select, update

from pipeline.batches.chunks import lock_items, record_outcomes
from pipeline.batches.insert import queue_chunk
from pipeline.batches.model import (
    Batch,
    BatchItem,
    BatchState,
    ItemOutcome,
    ItemState,
    WaitingItem,
)
from pipeline.batches.rows import IS_WAITING, find_batch
from pipeline.database.engine import read_rows, writing
from pipeline.database.schema import batch_items, batches, jobs
from pipeline.errors import JobCrashed
from pipeline.jobs.model import ENDED, Job, JobState
from pipeline.jobs.statements import UNFINISHED

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChunkBisector:
    """``clock`` gives epoch seconds; ``max_attempts`` is how often a job may crash its
    worker. Methods raise ``DatabaseUnavailable``."""

    engine: Engine
    clock: Callable[[], float]
    max_attempts: int

    def round(self) -> list[Job]:
        """Handle every job that ended without an outcome for its items; the new jobs, which
        are not published yet."""
        new: list[Job] = []
        for batch_id, job_id in self._ended_jobs():
            with writing(self.engine) as connection:
                new += self._repair(connection, batch_id, job_id)
        return new

    def _ended_jobs(self) -> list[tuple[str, str]]:
        """(batch, job) of the jobs that have ended or are gone and have waiting items."""
        states = (BatchState.READING.value, BatchState.WORKING.value)
        query = (
            select(batches.c.id, batch_items.c.job_id).distinct()
            .join(batch_items, batch_items.c.batch_id == batches.c.id)
            .where(batches.c.state.in_(states), batches.c.waiting > 0)
            .where(IS_WAITING, batch_items.c.job_id.is_not(None))
            .where(~exists().where(jobs.c.id == batch_items.c.job_id, UNFINISHED))
            .order_by(batches.c.id, batch_items.c.job_id)
        )
        return [(row.id, row.job_id) for row in read_rows(self.engine, query)]

    def _repair(self, connection: Connection, batch_id: str, job_id: str) -> list[Job]:
        # In the order in which the end of a job locks rows: the job's, then the batch's.
        job = connection.execute(
            select(jobs.c.state, jobs.c.error_code, jobs.c.error)
            .where(jobs.c.id == job_id).with_for_update()
        ).one_or_none()
        numbers = connection.execute(
            select(batch_items.c.number).where(
                batch_items.c.batch_id == batch_id, IS_WAITING, batch_items.c.job_id == job_id
            )
        ).scalars().all()
        locked = [
            each for each in lock_items(connection, batch_id, numbers)
            if each.item.job_id == job_id
        ]
        batch = find_batch(connection, batch_id)
        if not locked or batch is None:
            return []
        if job is not None and JobState(job.state) not in ENDED:
            return []
        if job is not None and job.state == JobState.CANCELLED:
            self._end_items(connection, locked, ItemState.CANCELLED)
            return []
        if len(locked) == 1 and job is not None and job.error_code is not None:
            message = str((job.error or {}).get("message", JobCrashed.__doc__))
            self._end_items(connection, locked, ItemState.REJECTED, job.error_code, message)
            return []
        return self._bisect(connection, batch, [each.item for each in locked])

    def _end_items(
        self, connection: Connection, locked: Sequence[WaitingItem], state: ItemState,
        reason: str = "", detail: str = "",
    ) -> None:
        outcomes = [
            ItemOutcome(each.item.number, state, reason=reason, detail=detail) for each in locked
        ]
        record_outcomes(connection, locked, outcomes, self.clock())
        first = locked[0].item
        logger.warning(
            "The items of a chunk ended with its job",
            extra={"action": "items_ended", "batch": first.batch_id,
                   "first": first.number, "count": len(locked), "code": reason},
        )

    def _bisect(
        self, connection: Connection, batch: Batch, items: Sequence[BatchItem]
    ) -> list[Job]:
        """Two jobs in place of one; a single item gets a job of its own."""
        half = (len(items) + 1) // 2
        new = []
        for part in filter(None, (items[:half], items[half:])):
            # One crash is enough to halve a part again: one of its items causes it.
            attempts = 0 if len(part) == 1 else self.max_attempts - 1
            numbers = [item.number for item in part]
            job = queue_chunk(connection, batch, numbers, self.clock(), attempts=attempts)
            connection.execute(
                update(batch_items)
                .where(batch_items.c.batch_id == batch.id, batch_items.c.number.in_(numbers))
                .values(job_id=job.id, tries=batch_items.c.tries + 1)
            )
            new.append(job)
        logger.warning(
            "A chunk of a batch was split",
            extra={"action": "chunk_split", "batch": batch.id, "first": items[0].number,
                   "count": len(items), "job": items[0].job_id},
        )
        return new
