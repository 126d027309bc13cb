"""A tenant's whole gallery: its size, its export, emptying it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, Table, exists, func, select

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_rows, reading, writing
from pipeline.database.keyset import read_pages, walk
from pipeline.database.schema import bindings, collections, faces, images
from pipeline.deletions.journal import DeletionJournal
from pipeline.gallery.collections import collections_of
from pipeline.gallery.erase import erase_within, gallery_extent
from pipeline.gallery.records import (
    IMAGE_COLUMNS,
    SELECT_FACES,
    Collection,
    FaceRecord,
    GalleryStats,
    StoredImage,
    face_from_row,
)
from pipeline.gallery.trash import Trash
from pipeline.gallery.writer import last_model, last_number, lock_tenant
from pipeline.media.base import MediaStore

# Rows read in one transaction.
PAGE_ROWS = 500

# Faces deleted in one transaction: about a second, in which SQLite blocks other writers.
BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class GalleryStore:
    """The galleries of all tenants. ``clock`` gives epoch seconds (None: the database's)."""

    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    journal: DeletionJournal | None = None

    def stats(self, tenant_id: int) -> GalleryStats:
        """The size of a gallery. Counts rows, which takes a second for a million."""
        size = select(func.coalesce(func.sum(images.c.size), 0))
        with reading(self.engine) as connection:
            return GalleryStats(
                images=_count(connection, images, tenant_id),
                faces=_count(connection, faces, tenant_id),
                collections=_count(connection, collections, tenant_id),
                bindings=_count(connection, bindings, tenant_id),
                bytes=int(
                    connection.execute(size.where(images.c.tenant_id == tenant_id)).scalar_one()
                ),
                last_change=last_number(connection, tenant_id),
                model=last_model(connection, tenant_id),
            )

    def face_counts(self, tenant_ids: Sequence[int]) -> dict[int, int]:
        """How many faces these tenants have; those without any are left out."""
        query = select(faces.c.tenant_id, func.count()).where(faces.c.tenant_id.in_(tenant_ids))
        return dict(map(tuple, read_rows(self.engine, query.group_by(faces.c.tenant_id))))

    def count_faces(self, tenant_id: int) -> int:
        with reading(self.engine) as connection:
            return _count(connection, faces, tenant_id)

    def export(self, tenant_id: int) -> Iterator[tuple[FaceRecord, list[Collection]]]:
        """Every face with its collections, in order of id, read in pages."""

        def read(last: int) -> list[tuple[FaceRecord, list[Collection]]]:
            query = SELECT_FACES.where(faces.c.tenant_id == tenant_id, faces.c.id > last)
            with reading(self.engine) as connection:
                rows = connection.execute(query.order_by(faces.c.id).limit(PAGE_ROWS)).all()
                bound = collections_of(connection, tenant_id, [row.id for row in rows])
            return [(face_from_row(row), bound.get(row.id, [])) for row in rows]

        for page in walk(read, lambda item: item[0].id, PAGE_ROWS, 0):
            yield from page

    def faceless_images(self, tenant_id: int) -> Iterator[StoredImage]:
        """Every image without a face, in order, read in pages."""
        query = select(*IMAGE_COLUMNS).where(
            images.c.tenant_id == tenant_id, ~exists().where(faces.c.image_ref == images.c.id)
        )
        for rows in read_pages(self.engine, query, images.c.id, PAGE_ROWS):
            yield from (StoredImage(*row) for row in rows)

    def clear(self, tenant_id: int) -> int:
        """Delete every face and every image that is there at the beginning; collections
        stay, empty. Returns how many faces there were.

        Each transaction deletes ``BLOCK`` faces, so that other writers proceed in between.
        After an interruption a part is left: repeat the call. Raises ``TenantNotFound``.
        """
        erased, within, done = 0, None, False
        while not done:
            with writing(self.engine) as connection:
                writer = lock_tenant(connection, tenant_id)
                within = within or gallery_extent(writer)
                count, done = erase_within(writer, within, self._now(), BLOCK)
            erased += count
        Trash(self.engine, self.media, self.clock, self.journal).try_empty(tenant_id)
        return erased

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def _count(connection: Connection, table: Table, tenant_id: int) -> int:
    query = select(func.count()).select_from(table).where(table.c.tenant_id == tenant_id)
    return connection.execute(query).scalar_one()
