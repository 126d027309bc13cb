"""The batches and their items in SQL: opening, reading, feeding, ending and listing them.
``chunks`` records the outcomes of items."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Executable, bindparam, func, insert, null, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.batches import lifecycle, source_errors
from pipeline.batches.blockers import WaitingReason, waiting_reason
from pipeline.batches.findings import Finding, list_findings
from pipeline.batches.insert import ItemInsertion, counter_changes
from pipeline.batches.model import (
    STOPPED,
    Batch,
    BatchItem,
    BatchOptions,
    BatchPage,
    BatchState,
    ItemState,
    NewItem,
)
from pipeline.batches.resume import KnownItems
from pipeline.batches.rows import (
    BATCH_COLUMNS,
    BATCH_ID,
    IN_BATCH,
    IS_LIVE,
    IS_WAITING,
    ITEM_COLUMNS,
    SET_BATCH,
    batch_from_row,
    change_counters,
    find_batch,
    item_from_row,
    lock_batch,
)
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_row, read_rows, read_values, reading, writing
from pipeline.database.keyset import walk
from pipeline.database.schema import batch_items, batches
from pipeline.encryption.data_key import KeySource, NoKeys
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

MAX_LEASE_S = 3600.0  # of a submitter
CLOCK_SKEW_S = 60.0  # by which the clocks of two machines may differ

PAGE_ITEMS = 1000  # items read with one query

BATCH_ID_PATTERN = re.compile("[0-9a-f]{32}")

_FIND_BY_FINGERPRINT = select(*BATCH_COLUMNS).where(
    batches.c.tenant_id == bindparam("tenant"),
    batches.c.fingerprint == bindparam("fingerprint"),
)
_IS_SUBMITTER = batches.c.submitter == bindparam("holder")
_ACQUIRE = (
    update(batches)
    .where(
        batches.c.id == BATCH_ID, IS_LIVE,
        batches.c.submitter.is_(None)
        | _IS_SUBMITTER
        | (batches.c.submitter_until < bindparam("now"))
        # a lease of a clock that was set back since
        | (batches.c.submitter_until > bindparam("until") + CLOCK_SKEW_S),
    )
    .values(
        submitter=bindparam("holder"), submitter_until=bindparam("until"),
        updated_at=bindparam("now"), state=BatchState.READING.value, exhausted=False,
        finished_at=None, position=null(),
    )
    .returning(*BATCH_COLUMNS)
)
_RENEW = (
    update(batches)
    .where(batches.c.id == BATCH_ID, _IS_SUBMITTER, batches.c.state == BatchState.READING.value)
    .values(
        submitter_until=bindparam("until"), updated_at=bindparam("now"),
        position=func.coalesce(bindparam("part"), batches.c.position),
    )
    .returning(*BATCH_COLUMNS)
)
_RELEASE = (
    update(batches).where(batches.c.id == BATCH_ID, _IS_SUBMITTER)
    .values(submitter=null(), submitter_until=0.0)
)
_STATES = select(batch_items.c.number, batch_items.c.state).where(
    IN_BATCH, batch_items.c.number.in_(bindparam("numbers", expanding=True))
)
_JOBS_IN_FLIGHT = select(func.count(batch_items.c.job_id.distinct())).where(IN_BATCH, IS_WAITING)
_REASON_COUNTS = (
    select(batch_items.c.state, batch_items.c.reason, func.count())
    .where(IN_BATCH)
    .group_by(batch_items.c.state, batch_items.c.reason)
)


@dataclass(frozen=True, slots=True)
class AddedItems:
    """A batch after items were added to it, and the jobs that enrol them."""

    batch: Batch
    jobs: tuple[Job, ...]


class BatchStore:
    """Everything about batches except the end of a chunk. ``clock`` gives epoch seconds (None:
    the database's);
    ``keys`` are those of tenants with encrypted data; ``known`` looks up items and pictures
    that were read before. All methods raise ``DatabaseUnavailable``."""

    def __init__(
        self, engine: Engine, clock: Clock | None = None,
        keys: KeySource | None = None,
    ) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)
        self._keys = keys or NoKeys()
        self.known = KnownItems(engine, self._keys)

    # -- queries ----------------------------------------------------------------------

    def find(self, batch_id: str) -> Batch | None:
        if not BATCH_ID_PATTERN.fullmatch(batch_id):
            return None
        with reading(self._engine) as connection:
            return find_batch(connection, batch_id)

    def get(self, tenant_id: int | None, batch_id: str) -> Batch:
        """A tenant's batch; of any tenant for None. Raises ``BatchNotFound``."""
        batch = self.find(batch_id)
        if batch is None or tenant_id not in (None, batch.tenant_id):
            raise BatchNotFound
        return batch

    def page(self, tenant_id: int | None = None, *, offset: int = 0, limit: int = 50) -> BatchPage:
        """Batches, newest first."""
        conditions = () if tenant_id is None else (batches.c.tenant_id == tenant_id,)
        query = (
            select(*BATCH_COLUMNS).where(*conditions)
            .order_by(batches.c.created_at.desc(), batches.c.id).offset(offset).limit(limit)
        )
        with reading(self._engine) as connection:
            count = select(func.count()).select_from(batches).where(*conditions)
            total = connection.execute(count).scalar_one()
            return BatchPage(total, tuple(map(batch_from_row, connection.execute(query))))

    def due_sources(self) -> list[Batch]:
        """Unattended batches whose source the service is to read now, oldest first: those
        that no submitter holds and whose last failure is long enough ago."""
        now = self._clock()
        # A lease far in the future is of a clock that was set back since. If its holder is
        # alive, `acquire` refuses.
        lapsed = ~batches.c.submitter_until.between(now, now + MAX_LEASE_S)
        query = (
            select(*BATCH_COLUMNS)
            .where(
                batches.c.state == BatchState.READING.value,
                batches.c.submitter.is_(None) | lapsed,
            )
            .order_by(batches.c.created_at)
        )
        found = [batch_from_row(row) for row in read_rows(self._engine, query)]
        return [
            batch for batch in found
            if batch.options.unattended and source_errors.is_due(batch, now)
        ]

    def items(
        self, batch_id: str, *, after: int = 0, limit: int = PAGE_ITEMS,
        state: ItemState | None = None, reason: str | None = None,
    ) -> list[BatchItem]:
        """The items past the number ``after``, by number."""
        query = (
            select(*ITEM_COLUMNS)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.number > after)
            .order_by(batch_items.c.number).limit(limit)
        )
        if state is not None:
            query = query.where(batch_items.c.state == state.value)
        if reason is not None:
            query = query.where(batch_items.c.reason == reason)
        return [item_from_row(row) for row in read_rows(self._engine, query)]

    def item_pages(
        self, batch_id: str, state: ItemState | None = None
    ) -> Iterator[Sequence[BatchItem]]:
        """All items by number, in pages."""
        return walk(
            lambda after: self.items(batch_id, after=after, limit=PAGE_ITEMS, state=state),
            lambda item: item.number, PAGE_ITEMS, 0,
        )

    def reason_counts(self, batch_id: str) -> Counter[tuple[ItemState, str]]:
        """How many items have each state and reason (empty: none). Counts all items."""
        rows = read_rows(self._engine, _REASON_COUNTS, {"batch": batch_id})
        return Counter({(ItemState(row[0]), row[1] or ""): row[2] for row in rows})

    def jobs_in_flight(self, batch_id: str) -> int:
        """How many jobs of the batch have waiting items."""
        return int(read_values(self._engine, _JOBS_IN_FLIGHT, {"batch": batch_id})[0])

    def findings(self, batch_id: str, limit: int) -> list[Finding]:
        """The findings of the search for duplicate people, as ``list_findings``."""
        return list_findings(self._engine, batch_id, limit=limit)

    def waiting_reason(self, batch: Batch, *, is_reader: bool = False) -> WaitingReason | None:
        """The reason for which the batch waits, as ``blockers.waiting_reason``."""
        return waiting_reason(self._engine, batch, self._clock(), is_reader=is_reader)

    # -- the submitter ------------------------------------------------------------------

    def open(
        self, tenant_id: int, fingerprint: str, source: str, options: BatchOptions
    ) -> tuple[Batch, bool]:
        """(the batch, True) if it is new, else (the earlier one, False). Raises
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
        statement = insert(batches).returning(*BATCH_COLUMNS)
        try:
            with writing(self._engine, durable=True) as connection:
                return batch_from_row(connection.execute(statement, values).one()), True
        except IntegrityError as error:
            earlier = self._by_fingerprint(tenant_id, fingerprint)
            if earlier is None:
                raise TenantNotFound from error
            return earlier, False

    def _by_fingerprint(self, tenant_id: int, fingerprint: str) -> Batch | None:
        parameters = {"tenant": tenant_id, "fingerprint": fingerprint}
        row = read_row(self._engine, _FIND_BY_FINGERPRINT, parameters)
        return None if row is None else batch_from_row(row)

    def acquire(self, batch_id: str, submitter: str, lease_s: float) -> Batch:
        """Lease the batch to ``submitter``, which reads its source from the beginning.

        Raises ``BatchBusy`` while another submitter holds it, ``BatchNotFound``,
        ``BatchCancelled``.
        """
        return self._lease(_ACQUIRE, batch_id, submitter, lease_s)

    def renew(
        self, batch_id: str, submitter: str, lease_s: float, position: float | None = None
    ) -> Batch:
        """Renew the submitter's lease and record how much it has read (0 to 1). Raises
        ``BatchBusy`` when the submitter has lost the batch, ``BatchNotFound``,
        ``BatchCancelled``."""
        return self._lease(_RENEW, batch_id, submitter, lease_s, part=position)

    def _lease(
        self, statement: Executable, batch_id: str, submitter: str, lease_s: float,
        **values: float | None,
    ) -> Batch:
        now = self._clock()
        values |= {"now": now, "until": now + lease_s}
        parameters = {"batch": batch_id, "holder": submitter, **values}
        with writing(self._engine) as connection:
            row = connection.execute(statement, parameters).one_or_none()
        if row is not None:
            return batch_from_row(row)
        if self.get(None, batch_id).state in STOPPED:
            raise BatchCancelled
        raise BatchBusy

    def release(self, batch_id: str, submitter: str) -> None:
        """End the submitter's lease; the batch stays as it is."""
        with writing(self._engine) as connection:
            connection.execute(_RELEASE, {"batch": batch_id, "holder": submitter})

    def add(
        self, batch: Batch, submitter: str, items: Sequence[NewItem], *, chunk_size: int
    ) -> AddedItems:
        """Record items, and jobs of ``chunk_size`` items for those that wait, in one
        transaction. Duplicates of enrolled images are bound to their collections.

        Raises ``BatchBusy`` when the submitter has lost the batch (nothing is recorded),
        ``BatchNotFound``, ``BatchCancelled``, ``TenantNotFound``, and ``MediaUnavailable``
        when pictures were stored unencrypted and the tenant has become encrypted since.
        """
        key = self._keys.data_key(batch.tenant_id)
        if key is not None and any(
            item.media_key and not is_encrypted(item.media_key) for item in items
        ):
            raise MediaUnavailable("The application is being encrypted: its pictures are too.")
        has_duplicates = any(item.state is ItemState.DUPLICATE for item in items)
        # Not durable: after a power cut the lost items are read again.
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, batch.tenant_id, key) if has_duplicates else None
            locked = _lock_leased(connection, batch.id, submitter)
            if locked.source_error is not None:
                connection.execute(SET_BATCH, {"batch": batch.id, "source_error": None})
            retried = _retried_numbers(connection, locked, items)
            insertion = ItemInsertion(connection, locked, key, self._clock())
            erased: set[int] = set()
            if writer is not None:
                items, erased = insertion.resolve_duplicates(items, writer)
            jobs, job_ids = insertion.queue_jobs(items, chunk_size)
            insertion.insert_rows(items, job_ids, erased, retried)
            after = change_counters(
                connection, batch.id, self._clock(), **counter_changes(items, retried)
            )
        return AddedItems(after, tuple(jobs))

    def record_source_error(
        self, batch_id: str, error: FaceError, jobs: JobStore,
        give_up_after_s: float | None = None,
    ) -> None:
        """Record why a batch's source could not be read. An unattended batch has
        ``give_up_after_s``: it is tried again for so long and then ends as failed. A batch
        that is gone or has ended stays as it is."""
        with writing(self._engine) as connection:
            left = source_errors.record(connection, batch_id, error, self._clock(), give_up_after_s)
        _cancel_jobs(jobs, left)

    def finish_reading(
        self, batch_id: str, submitter: str, total: int | None = None, skipped: int = 0
    ) -> Batch:
        """Record that the source was read to its end. Items that were to be read again and did not
        come are rejected; the batch is done when no item waits. Raises as ``renew``."""
        now = self._clock()
        with writing(self._engine, durable=True) as connection:
            batch = _lock_leased(connection, batch_id, submitter)
            missing = lifecycle.reject_missing(connection, batch)
            connection.execute(
                SET_BATCH,
                {
                    "batch": batch_id, "exhausted": True, "state": BatchState.WORKING.value,
                    "total": total, "skipped": skipped, "position": 1.0, "submitter": None,
                    "submitter_until": 0.0, "source_error": None,
                },
            )
            return change_counters(
                connection, batch_id, now, more_waiting=-missing, more_rejected=missing
            )

    # -- the operator -------------------------------------------------------------------

    def cancel(self, tenant_id: int | None, batch_id: str, jobs: JobStore) -> Batch:
        """Cancel the waiting items of a batch, with their jobs and objects. Faces
        that are enrolled stay; a batch that has ended stays as it is. Raises ``BatchNotFound``."""
        batch = self.get(tenant_id, batch_id)
        with writing(self._engine, durable=True) as connection:
            cancelled, left = lifecycle.cancel(connection, batch.id, self._clock())
        _cancel_jobs(jobs, [(batch.tenant_id, job_id) for job_id in left])
        return cancelled

    def retry(
        self, tenant_id: int | None, batch_id: str, *,
        states: Sequence[ItemState] = (ItemState.REJECTED, ItemState.CANCELLED),
        reasons: Sequence[str] | None = None,
    ) -> int:
        """Have rejected and cancelled items (with these ``reasons``, None: any) read again
        by the next submitter, together with the copies of their pictures; how many, without
        the copies. A cancelled batch continues in any case. Raises ``BatchNotFound``, and
        ``InvalidParameter`` for other states."""
        if not {ItemState.REJECTED, ItemState.CANCELLED}.issuperset(states):
            raise InvalidParameter("only rejected and cancelled items are read again")
        batch = self.get(tenant_id, batch_id)
        changed = 0
        for state in states:
            count = lifecycle.ITEMS_PER_TRANSACTION
            while count == lifecycle.ITEMS_PER_TRANSACTION:
                with writing(self._engine) as connection:
                    count = lifecycle.retry(connection, batch.id, state, reasons, self._clock())
                changed += count
        return changed

    def forget(self, tenant_id: int | None, batch_id: str) -> None:
        """Remove a batch's record; enrolled faces stay. Raises ``BatchNotFound``, and
        ``BatchBusy`` while it is read or items of it wait."""
        batch = self.get(tenant_id, batch_id)
        with writing(self._engine) as connection:
            lifecycle.close(connection, batch.id, self._clock())
        lifecycle.remove(self._engine, batch.id, self._clock())

    def expire(self, older_than_s: float, limit: int = 10) -> int:
        """Remove batches that have not changed for so long; how many."""
        old = lifecycle.expired(self._engine, self._clock(), older_than_s, limit)
        for batch_id in old:
            with writing(self._engine) as connection:
                lifecycle.cancel(connection, batch_id, self._clock())
            lifecycle.remove(self._engine, batch_id, self._clock())
        return len(old)


def _cancel_jobs(jobs: JobStore, left: Sequence[tuple[int, str]]) -> None:
    """Cancel (tenant, job) pairs. Called after the transaction on the batch: the end of a
    job locks the job's row first and then the batch's."""
    for tenant_id, job_id in left:
        jobs.cancel(tenant_id, job_id)


def _lock_leased(connection: Connection, batch_id: str, submitter: str) -> Batch:
    """The batch that ``submitter`` holds, its row locked until the transaction ends."""
    batch = lock_batch(connection, batch_id)
    if batch is None:
        raise BatchNotFound
    if batch.state in STOPPED:
        raise BatchCancelled
    if batch.submitter != submitter or batch.state is not BatchState.READING:
        raise BatchBusy
    return batch


def _retried_numbers(connection: Connection, batch: Batch, items: Sequence[NewItem]) -> set[int]:
    """The numbers of the items that are read again. Raises ``BatchBusy`` unless the others
    are the next ones of the batch."""
    old = [item.number for item in items if item.number <= batch.items]
    new = [item.number for item in items if item.number > batch.items]
    rows: list[Any] = []
    if old:
        rows = list(connection.execute(_STATES, {"batch": batch.id, "numbers": old}).all())
    retried = {row.number for row in rows if row.state == ItemState.AGAIN}
    expected = list(range(batch.items + 1, batch.items + 1 + len(new)))
    if len(retried) != len(old) or new != expected:
        raise BatchBusy
    return retried
