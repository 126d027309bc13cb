"""Permanent objects without a row, and rows without their object.

The media of an enrolment are stored before the transaction that enrols: the picture when its
job is accepted, or with the faces at its end. When a process dies in between, or has lost its
job to another worker, the objects stay behind; so do those of a batch whose submitter dies
before it records their items.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import Column, Engine, select

from pipeline import storage_keys
from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_values
from pipeline.database.keyset import read_pages
from pipeline.database.schema import (
    batch_items,
    batches,
    faces,
    images,
    job_pictures,
    refused_pictures,
)
from pipeline.media.base import MediaStore, age_limit

# Seconds that an object without a row is left alone: no job takes as long from storing
# its media to its end.
GRACE_S = 3600.0

# Rows read at a time.
PAGE_ROWS = 5000


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How many objects a sweep deleted because no row names them, and the ``missing`` keys,
    which rows name and the store does not have."""

    deleted: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OrphanSweep:
    """Compares the media store with the gallery. ``clock`` gives epoch seconds (None: the
    database's)."""

    engine: Engine
    media: MediaStore
    clock: Clock | None = None

    def run(self, tenant_id: int) -> SweepResult:
        """Compare a tenant's permanent objects; takes 32 bytes of memory a row. Raises
        ``MediaUnavailable``, ``DatabaseUnavailable``."""
        deleted = 0
        missing: list[str] = []
        for column, prefix in (
            (images.c.media_key, storage_keys.images_prefix(tenant_id)),
            (faces.c.face_key, storage_keys.faces_prefix(tenant_id)),
            (refused_pictures.c.media_key, storage_keys.refused_prefix(tenant_id)),
        ):
            now = database_time(self.engine, self.clock)
            limit, old = now - GRACE_S, age_limit(self.media, now, GRACE_S)
            # A fresh row may come after the walk has passed its place.
            named = {hash(key) for key, at in self._rows(column, tenant_id) if at < limit}
            found: set[int] = set()
            orphans: list[str] = []
            for item in self.media.walk(prefix):
                found.add(hash(item.key))
                if hash(item.key) not in named and item.modified < old:
                    orphans.append(item.key)
            deleted += self._delete(column, tenant_id, orphans)
            if lost := named - found:
                # Read again: rows may have been deleted or changed meanwhile.
                missing += [
                    key for key, _ in self._rows(column, tenant_id)
                    if hash(key) in lost and not self.media.exists(key)
                ]
        return SweepResult(deleted, tuple(missing))

    def _rows(self, column: Column[str], tenant_id: int) -> Iterator[tuple[str, float]]:
        """The key and the time of every row, read in pages."""
        table = column.table
        query = select(column, table.c.created_at, table.c.id).where(table.c.tenant_id == tenant_id)
        for rows in read_pages(self.engine, query, table.c.id, PAGE_ROWS):
            yield from ((row[0], row[1]) for row in rows)

    def _delete(self, column: Column[str], tenant_id: int, orphans: Iterable[str]) -> int:
        """Delete those objects that no row names, not even a fresh one."""
        doomed = set(orphans)
        if doomed:
            # Those that wait first: an object that one of them gives up is then named by its
            # image.
            doomed.difference_update(self._of_items(tenant_id))
            doomed.difference_update(self._of_jobs(tenant_id))
            doomed.difference_update(key for key, _ in self._rows(column, tenant_id))
        for key in doomed:
            self.media.delete(key)
        return len(doomed)

    def _of_jobs(self, tenant_id: int) -> list[str]:
        """The pictures of enrolments that wait, run, or may be repeated."""
        key = job_pictures.c.media_key
        query = select(key).where(key.startswith(storage_keys.tenant_prefix(tenant_id)))
        return read_values(self.engine, query)

    def _of_items(self, tenant_id: int) -> list[str]:
        """The objects of batches' items that wait: bounded by the jobs in flight."""
        query = (
            select(batch_items.c.media_key)
            .join(batches, batches.c.id == batch_items.c.batch_id)
            .where(
                batches.c.tenant_id == tenant_id, batch_items.c.state == "waiting",
                batch_items.c.media_key.is_not(None),
            )
        )
        return [key for key in read_values(self.engine, query) if key is not None]
