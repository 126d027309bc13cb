"""Permanent objects without a row, and rows without their object.

A worker stores the media of an enrolment before the transaction that enrols; when it
dies in between, or has lost its job to another worker, the objects are left over. So are
those of a batch whose submitter dies before their items are recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Column, Engine, Table, select

from pipeline import storage_keys
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, batches, faces, images
from pipeline.media.base import MediaStore

# Seconds that an object without a row is left alone: no job takes as long from storing
# its media to its end.
GRACE_S = 3600.0

# Rows read at a time.
BLOCK = 5000


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep of one tenant has found: how many objects it deleted because no row
    names them, and the keys that rows name and the store does not have."""

    deleted: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrphanSweep:
    """Compares the media store with the gallery. ``clock`` gives epoch seconds."""

    engine: Engine
    media: MediaStore
    clock: Callable[[], float] = time.time

    def run(self, tenant_id: int) -> SweepResult:
        """Once over a tenant's permanent objects; 32 bytes of memory a row. Raises
        ``MediaUnavailable``, ``DatabaseUnavailable``."""
        deleted = 0
        missing: list[str] = []
        for table, column, prefix in (
            (images, images.c.media_key, storage_keys.images_prefix(tenant_id)),
            (faces, faces.c.face_key, storage_keys.faces_prefix(tenant_id)),
        ):
            limit = self.clock() - GRACE_S
            # A row of a moment ago may come after the walk has passed its place.
            named = {hash(key) for key, at in self._rows(table, column, tenant_id) if at < limit}
            found: set[int] = set()
            strangers: list[str] = []
            for item in self.media.walk(prefix):
                found.add(hash(item.key))
                if hash(item.key) not in named and item.modified < limit:
                    strangers.append(item.key)
            deleted += self._delete(table, column, tenant_id, strangers)
            lost = named - found
            if lost:
                missing += self._still_named(table, column, tenant_id, lost)
        return SweepResult(deleted, tuple(missing))

    def _rows(
        self, table: Table, column: Column[str], tenant_id: int
    ) -> Iterator[tuple[str, float]]:
        """(key, the row's age) of every row, read in portions."""
        last = 0
        while True:
            with reading(self.engine) as connection:
                rows = connection.execute(
                    select(table.c.id, column, table.c.created_at)
                    .where(table.c.tenant_id == tenant_id, table.c.id > last)
                    .order_by(table.c.id).limit(BLOCK)
                ).all()
            if not rows:
                return
            for row in rows:
                yield row[1], row[2]
            last = rows[-1].id

    def _delete(
        self, table: Table, column: Column[str], tenant_id: int, strangers: Iterable[str]
    ) -> int:
        """Delete those objects that no row names, not even a fresh one."""
        doomed = set(strangers)
        if doomed:
            # First: what an item of a batch lets go is its picture's by then.
            doomed.difference_update(self._waiting(tenant_id))
            doomed.difference_update(key for key, _ in self._rows(table, column, tenant_id))
        for key in doomed:
            self.media.delete(key)
        return len(doomed)

    def _waiting(self, tenant_id: int) -> list[str]:
        """The objects of batches' items that wait: bounded by what is in flight."""
        query = (
            select(batch_items.c.media_key)
            .join(batches, batches.c.id == batch_items.c.batch_id)
            .where(
                batches.c.tenant_id == tenant_id, batch_items.c.state == "waiting",
                batch_items.c.media_key.is_not(None),
            )
        )
        with reading(self.engine) as connection:
            return [key for key in connection.execute(query).scalars() if key is not None]

    def _still_named(
        self, table: Table, column: Column[str], tenant_id: int, lost: set[int]
    ) -> list[str]:
        """Those of the missing that were not deleted or replaced meanwhile."""
        return [
            key
            for key, _ in self._rows(table, column, tenant_id)
            if hash(key) in lost and not self.media.exists(key)
        ]
