"""Batches and their items in SQL: whoever opens, feeds and ends them. The end of a chunk
is in ``settling``."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from pipeline.batches import lifecycle, source_errors
from pipeline.batches.insert import ItemInsertion, counter_changes
from pipeline.batches.model import STOPPED, Batch, BatchOptions, BatchState, ItemState, NewItem
from pipeline.batches.reader import BatchReader
from pipeline.batches.statements import (
    FIND_BY_FINGERPRINT,
    INSERT_BATCH,
    RELEASE,
    RENEW,
    SET_BATCH,
    STATES,
    TAKE_OVER,
    batch_of,
    lock_batch,
)
from pipeline.database.engine import reading, writing
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    FaceError,
    InvalidParameter,
    MediaUnavailable,
    TenantNotFound,
)
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import Job
from pipeline.jobs.store import JobStore
from pipeline.storage_keys import is_encrypted
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class AddedItems:
    """A batch after items were added to it, and the jobs that enrol them."""

    batch: Batch
    jobs: tuple[Job, ...]


class BatchStore(BatchReader):
    """All that is done to batches but the end of a chunk. Every method may raise
    ``DatabaseUnavailable``."""

    def open(
        self, tenant_id: int, fingerprint: str, source: str, options: BatchOptions
    ) -> tuple[Batch, bool]:
        """(the batch, True) when it is new, else (the earlier one, False). Raises
        ``TenantNotFound``."""
        now = self._clock()
        values = {
            "id": uuid.uuid4().hex, "tenant_id": tenant_id, "fingerprint": fingerprint,
            "source": source, "options": options.to_json(), "state": BatchState.READING.value,
            "exhausted": False, "created_at": now, "updated_at": now,
        }
        earlier = self._by_fingerprint(tenant_id, fingerprint)
        if earlier is not None:
            return earlier, False
        try:
            with writing(self._engine, durable=True) as connection:
                return batch_of(connection.execute(INSERT_BATCH, values).one()), True
        except IntegrityError as error:
            earlier = self._by_fingerprint(tenant_id, fingerprint)
            if earlier is None:
                raise TenantNotFound from error
            return earlier, False

    def _by_fingerprint(self, tenant_id: int, fingerprint: str) -> Batch | None:
        asked = {"tenant": tenant_id, "mark": fingerprint}
        with reading(self._engine) as connection:
            row = connection.execute(FIND_BY_FINGERPRINT, asked).one_or_none()
        return None if row is None else batch_of(row)

    # -- the one submitter ----------------------------------------------------------

    def acquire(self, batch_id: str, submitter: str, lease_s: float) -> Batch:
        """Become the one who reads the batch's source, from its beginning.

        Raises ``BatchBusy`` while another one does, ``BatchNotFound``, ``BatchCancelled``.
        """
        now = self._clock()
        asked = {"batch": batch_id, "holder": submitter, "now": now, "until": now + lease_s}
        with writing(self._engine) as connection:
            row = connection.execute(TAKE_OVER, asked).one_or_none()
        return batch_of(row) if row is not None else self._raise_lost(batch_id)

    def renew(
        self, batch_id: str, submitter: str, lease_s: float, position: float | None = None
    ) -> Batch:
        """Say that the submitter is alive, and how much (0 to 1) he has read. Raises
        ``BatchBusy`` when he has lost the batch, ``BatchNotFound``, ``BatchCancelled``."""
        now = self._clock()
        asked = {
            "batch": batch_id, "holder": submitter, "now": now, "until": now + lease_s,
            "part": position,
        }
        with writing(self._engine) as connection:
            row = connection.execute(RENEW, asked).one_or_none()
        return batch_of(row) if row is not None else self._raise_lost(batch_id)

    def _raise_lost(self, batch_id: str) -> Batch:
        batch = self.get(None, batch_id)
        if batch.state in STOPPED:
            raise BatchCancelled
        raise BatchBusy

    def release(self, batch_id: str, submitter: str) -> None:
        """Stop reading; the batch stays as it is."""
        with writing(self._engine) as connection:
            connection.execute(RELEASE, {"batch": batch_id, "holder": submitter})

    def add(
        self, batch: Batch, submitter: str, items: Sequence[NewItem], *, chunk_size: int
    ) -> AddedItems:
        """Record items, and jobs for those that wait, ``chunk_size`` items each, in one
        transaction. Duplicates of enrolled pictures are bound to their collections.

        Raises ``BatchBusy`` when the submitter has lost the batch (nothing is recorded),
        ``BatchNotFound``, ``BatchCancelled``, ``TenantNotFound``; ``MediaUnavailable``
        when pictures were stored in clear of a tenant that is encrypted by now.
        """
        key = self._keys.data_key(batch.tenant_id)
        if key is not None and any(
            item.media_key and not is_encrypted(item.media_key) for item in items
        ):
            raise MediaUnavailable("The application is being encrypted: its pictures are too.")
        doubles = any(item.state is ItemState.DUPLICATE for item in items)
        # What a power cut takes is read again.
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, batch.tenant_id, key) if doubles else None
            held = _lock_leased(connection, batch.id, submitter)
            if held.trouble is not None:
                connection.execute(SET_BATCH, {"batch": batch.id, "trouble": None})
            again = _retried_numbers(connection, held, items)
            adding = ItemInsertion(connection, held, key, self._clock())
            gone: set[int] = set()
            if writer is not None:
                items, gone = adding.resolve_duplicates(items, writer)
            jobs, of = adding.queue_jobs(items, chunk_size)
            adding.insert_rows(items, of, gone, again)
            counted = lifecycle.change_counters(
                connection, batch.id, self._clock(), **counter_changes(items, again)
            )
        return AddedItems(counted, tuple(jobs))

    def record_source_error(
        self, batch_id: str, error: FaceError, jobs: JobStore,
        give_up_after_s: float | None = None,
    ) -> None:
        """Record why a batch's source could not be read. With ``patience_s`` it is one that
        nobody attends: it is tried again, for so long, and ends as failed then. A batch
        that is gone or has ended stays as it is."""
        with writing(self._engine) as connection:
            left = source_errors.record(connection, batch_id, error, self._clock(), give_up_after_s)
        # Afterwards, as in `cancel`.
        for tenant_id, job_id in left:
            jobs.cancel(tenant_id, job_id)

    def finish_reading(self, batch_id: str, submitter: str, total: int | None = None) -> Batch:
        """The source is read to its end: what was to be read again and was not there is
        rejected, and the batch is done when nothing waits. Raises as ``renew``."""
        now = self._clock()
        with writing(self._engine, durable=True) as connection:
            batch = _lock_leased(connection, batch_id, submitter)
            missing = lifecycle.reject_missing(connection, batch)
            connection.execute(
                SET_BATCH,
                {
                    "batch": batch_id, "exhausted": True, "state": BatchState.WORKING.value,
                    "total": total, "position": 1.0, "submitter": None,
                    "submitter_until": 0.0, "trouble": None,
                },
            )
            return lifecycle.change_counters(
                connection, batch_id, now, more_waiting=-missing, more_rejected=missing
            )

    # -- the operator's side ----------------------------------------------------------

    def cancel(self, tenant_id: int | None, batch_id: str, jobs: JobStore) -> Batch:
        """End a batch: what waits is cancelled, with its jobs and its objects; what is
        enrolled stays, and a batch that is done, too. Raises ``BatchNotFound``."""
        batch = self.get(tenant_id, batch_id)
        with writing(self._engine, durable=True) as connection:
            cancelled, left = lifecycle.cancel(connection, batch.id, self._clock())
        # Afterwards: whoever ends a job has its row first, and then waits for the batch's.
        for job_id in left:
            jobs.cancel(batch.tenant_id, job_id)
        return cancelled

    def retry(
        self, tenant_id: int | None, batch_id: str, *,
        states: Sequence[ItemState] = (ItemState.REJECTED, ItemState.CANCELLED),
        reasons: Sequence[str] | None = None,
    ) -> int:
        """Have rejected and cancelled items (for these reasons, None: for any) read again
        by the next submitter, and the copies of their pictures; how many, without these.
        A batch that was cancelled goes on in any case. Raises ``BatchNotFound``,
        ``InvalidParameter`` for other states."""
        if not {ItemState.REJECTED, ItemState.CANCELLED}.issuperset(states):
            raise InvalidParameter("only rejected and cancelled items are read again")
        batch = self.get(tenant_id, batch_id)
        changed = 0
        for state in states:
            more = lifecycle.ITEMS_PER_TRANSACTION
            while more == lifecycle.ITEMS_PER_TRANSACTION:
                with writing(self._engine) as connection:
                    more = lifecycle.retry(connection, batch.id, state, reasons, self._clock())
                changed += more
        return changed

    def forget(self, tenant_id: int | None, batch_id: str) -> None:
        """Remove a batch's record; what it enrolled stays. Raises ``BatchNotFound``,
        ``BatchBusy`` while it is read or items of it wait."""
        batch = self.get(tenant_id, batch_id)
        with writing(self._engine) as connection:
            lifecycle.close(connection, batch.id, self._clock())
        lifecycle.remove(self._engine, batch.id)

    def expire(self, older_than_s: float, limit: int = 10) -> int:
        """Remove batches of which nothing was heard for so long; how many."""
        old = lifecycle.expired(self._engine, self._clock(), older_than_s, limit)
        for batch_id in old:
            with writing(self._engine) as connection:
                lifecycle.cancel(connection, batch_id, self._clock())
            lifecycle.remove(self._engine, batch_id)
        return len(old)

    def set_findings(self, batch_id: str, findings: JsonObject) -> None:
        """Keep what was found in a batch that is done. It names items by their numbers
        and nobody: what is said of an erased person must go with the items."""
        with writing(self._engine) as connection:
            connection.execute(SET_BATCH, {"batch": batch_id, "findings": findings})


def _lock_leased(connection: Connection, batch_id: str, submitter: str) -> Batch:
    """The batch's row, held until the transaction ends."""
    batch = lock_batch(connection, batch_id)
    if batch is None:
        raise BatchNotFound
    if batch.state in STOPPED:
        raise BatchCancelled
    if batch.submitter != submitter or batch.state is not BatchState.READING:
        raise BatchBusy
    return batch


def _retried_numbers(connection: Connection, batch: Batch, items: Sequence[NewItem]) -> set[int]:
    """The numbers of those items that were met before and were to be read again. Raises
    ``BatchBusy`` when the others are not the next ones of the batch."""
    former = [item.number for item in items if item.number <= batch.items]
    fresh = [item.number for item in items if item.number > batch.items]
    rows: list[Any] = []
    if former:
        asked = {"batch": batch.id, "numbers": former}
        rows = list(connection.execute(STATES, asked).all())
    again = {row.number for row in rows if row.state == ItemState.AGAIN}
    following = list(range(batch.items + 1, batch.items + 1 + len(fresh)))
    if len(again) != len(former) or fresh != following:
        raise BatchBusy
    return again
