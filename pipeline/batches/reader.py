"""Looking at batches without changing them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence

from sqlalchemy import Engine, func, select

from pipeline.batches.blockers import WaitingReason, waiting_reason
from pipeline.batches.duplicate_report import Finding, list_findings
from pipeline.batches.item_hashes import name_hash, picture_hash
from pipeline.batches.model import (
    Batch,
    BatchItem,
    BatchPage,
    BatchState,
    ItemState,
    KnownItem,
    KnownPicture,
)
from pipeline.batches.source_errors import MAX_RETRY_PAUSE_S, source_error_of
from pipeline.batches.statements import (
    BATCH_COLUMNS,
    BY_NAME_HASH,
    BY_PICTURE_HASH,
    ENROLLED_IMAGES,
    ITEM_COLUMNS,
    JOBS_IN_FLIGHT,
    NAME_HASHES,
    REASON_COUNTS,
    REJECTED_BEFORE,
    batch_of,
    find_batch,
    item_of,
)
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, batches
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import BatchNotFound

MAX_LEASE_S = 3600.0  # of whoever reads a batch

BATCH_ID = re.compile("[0-9a-f]{32}")


class BatchReader:
    """Every question about batches. ``clock`` gives epoch seconds; ``keys`` are those of
    tenants whose data are encrypted. All methods raise ``DatabaseUnavailable``."""

    def __init__(
        self, engine: Engine, clock: Callable[[], float] = time.time,
        keys: KeySource | None = None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._keys = keys or NoKeys()

    def findings(self, batch_id: str, limit: int) -> list[Finding]:
        """What the search for doubles has found, strongest first of each kind."""
        return list_findings(self._engine, batch_id, limit=limit)

    def waiting_reason(self, batch: Batch, *, is_reader: bool = False) -> WaitingReason | None:
        """What the batch waits for, as ``waiting_reason``."""
        return waiting_reason(self._engine, batch, self._clock(), is_reader=is_reader)

    def find(self, batch_id: str) -> Batch | None:
        if not BATCH_ID.fullmatch(batch_id):
            return None
        with reading(self._engine) as connection:
            return find_batch(connection, batch_id)

    def get(self, tenant_id: int | None, batch_id: str) -> Batch:
        """A tenant's batch; None: anybody's. Raises ``BatchNotFound``."""
        batch = self.find(batch_id)
        if batch is None or tenant_id not in (None, batch.tenant_id):
            raise BatchNotFound
        return batch

    def page(
        self, tenant_id: int | None = None, *, offset: int = 0, limit: int = 50
    ) -> BatchPage:
        """Batches, newest first."""
        mine = () if tenant_id is None else (batches.c.tenant_id == tenant_id,)
        page = (
            select(*BATCH_COLUMNS).where(*mine)
            .order_by(batches.c.created_at.desc(), batches.c.id).offset(offset).limit(limit)
        )
        with reading(self._engine) as connection:
            counted = select(func.count()).select_from(batches).where(*mine)
            total = connection.execute(counted).scalar_one()
            rows = connection.execute(page).all()
        return BatchPage(total, tuple(map(batch_of, rows)))

    def due_sources(self) -> list[Batch]:
        """Batches that the service is to read (again) now and nobody reads, oldest
        first."""
        now = self._clock()
        # Also when the clock was set back since; who does read it says so to who tries.
        lapsed = ~batches.c.submitter_until.between(now, now + MAX_LEASE_S)
        free = batches.c.submitter.is_(None) | lapsed
        query = (
            select(*BATCH_COLUMNS)
            .where(batches.c.state == BatchState.READING.value, free)
            .order_by(batches.c.created_at)
        )
        with reading(self._engine) as connection:
            found = [batch_of(row) for row in connection.execute(query)]
        return [batch for batch in found if batch.options.unattended and _is_due(batch, now)]

    def items(
        self, batch_id: str, *, after: int = 0, limit: int = 1000,
        state: ItemState | None = None, reason: str | None = None,
    ) -> list[BatchItem]:
        """Items past the number ``after`` in their order."""
        query = (
            select(*ITEM_COLUMNS)
            .where(batch_items.c.batch_id == batch_id, batch_items.c.number > after)
            .order_by(batch_items.c.number).limit(limit)
        )
        if state is not None:
            query = query.where(batch_items.c.state == state.value)
        if reason is not None:
            query = query.where(batch_items.c.reason == reason)
        with reading(self._engine) as connection:
            return [item_of(row) for row in connection.execute(query)]

    def reason_counts(self, batch_id: str) -> Counter[tuple[ItemState, str]]:
        """How many items have each state and reason (empty: none); counts them all."""
        with reading(self._engine) as connection:
            rows = connection.execute(REASON_COUNTS, {"batch": batch_id}).all()
        return Counter({(ItemState(row[0]), row[1] or ""): row[2] for row in rows})

    def jobs_in_flight(self, batch_id: str) -> int:
        """How many jobs of the batch have items that wait."""
        with reading(self._engine) as connection:
            return int(connection.execute(JOBS_IN_FLIGHT, {"batch": batch_id}).scalar_one())

    def name_hash(self, batch: Batch, name: str) -> bytes:
        """What stands for an item's name. Raises ``TenantNotFound``."""
        return name_hash(batch.id, name, self._keys.data_key(batch.tenant_id))

    def name_hashes_after(
        self, batch: Batch, number: int, limit: int
    ) -> list[tuple[bytes, KnownItem]]:
        """The marks of the items past ``last_change``, in their order."""
        asked = {"batch": batch.id, "after": number, "last": batch.items, "most": limit}
        with reading(self._engine) as connection:
            rows = connection.execute(NAME_HASHES, asked).all()
        return [
            (bytes(row.name_mark), KnownItem(row.number, ItemState(row.state))) for row in rows
        ]

    def known_items(self, batch: Batch, names: Sequence[str]) -> dict[str, KnownItem]:
        """Those of the names (at most some hundreds) that are items of the batch. Raises
        ``TenantNotFound``."""
        key = self._keys.data_key(batch.tenant_id)
        # What was recorded before the tenant had a key is known as it was.
        marks = {
            name_hash(batch.id, name, each): name for each in {key, None} for name in names
        }
        if not marks:
            return {}
        with reading(self._engine) as connection:
            rows = connection.execute(BY_NAME_HASH, {"batch": batch.id, "marks": list(marks)}).all()
        return {
            marks[bytes(row.name_mark)]: KnownItem(row.number, ItemState(row.state))
            for row in rows
        }

    def known_pictures(
        self, batch: Batch, hashes: Sequence[str], criteria: str = ""
    ) -> dict[str, KnownPicture]:
        """What is known of pictures by their ``sha256`` (at most some hundreds);
        ``criteria`` is the fingerprint under which one that was unfit would be again,
        empty: none would. Raises ``TenantNotFound``."""
        if not hashes:
            return {}
        key = self._keys.data_key(batch.tenant_id)
        marks = {picture_hash(batch.id, sha256, key): sha256 for sha256 in hashes}
        asked = {"tenant": batch.tenant_id, "hashes": list(hashes)}
        known: dict[str, KnownPicture] = {}
        with reading(self._engine) as connection:
            if criteria:
                for row in connection.execute(REJECTED_BEFORE, {**asked, "under": criteria}):
                    known[row.sha256] = KnownPicture(
                        reason=row.reason or "", detail=row.detail or ""
                    )
            for row in connection.execute(ENROLLED_IMAGES, asked):
                known[row.sha256] = KnownPicture(
                    image_ref=row.id, face_id=row.face_id, faces=row.faces
                )
            met = connection.execute(
                BY_PICTURE_HASH, {"batch": batch.id, "marks": list(marks)}
            ).all()
        for mark, number in met:
            there = known.get(marks[bytes(mark)], KnownPicture())
            known[marks[bytes(mark)]] = KnownPicture(
                number, there.image_ref, there.face_id, there.faces
            )
        return known


def _is_due(batch: Batch, now: float) -> bool:
    """Whether it is time to read its source, after a failure."""
    trouble = source_error_of(batch)
    return trouble is None or not now < (trouble.retry_at or 0.0) <= now + MAX_RETRY_PAUSE_S
