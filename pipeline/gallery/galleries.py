"""A tenant's gallery as a whole: how large it is, emptying it, removing the tenant."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sqlalchemy import Connection, Engine, Table, delete, exists, func, select, update

from pipeline import storage_keys
from pipeline.database.engine import reading, writing
from pipeline.database.schema import (
    bindings,
    changes,
    collections,
    discarded,
    faces,
    images,
    jobs,
    signed_requests,
    snapshots,
    tenants,
)
from pipeline.encryption.data_keys import destroy_key
from pipeline.gallery.change_log import last_model, last_number, lock_tenant
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
    image_from_row,
)
from pipeline.gallery.trash import Trash, discard_tenant
from pipeline.media.base import MediaStore

# Rows deleted, or read, in one transaction.
BLOCK = 5000

# Faces cleared in one transaction: about a second, in which SQLite lets nobody write.
PORTION = 10_000


class GalleryStore:
    """The galleries of all tenants. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._media = media
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    def stats(self, tenant_id: int) -> GalleryStats:
        """How much there is; counts rows, so it takes a second for a million."""
        with reading(self._engine) as connection:
            size = select(func.coalesce(func.sum(images.c.size), 0))
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

    def export(self, tenant_id: int) -> Iterator[tuple[FaceRecord, list[Collection]]]:
        """Every face with its collections, in order of id, read in portions."""
        last = 0
        while True:
            with reading(self._engine) as connection:
                rows = connection.execute(
                    SELECT_FACES.where(faces.c.tenant_id == tenant_id, faces.c.id > last)
                    .order_by(faces.c.id).limit(BLOCK // 10)
                ).all()
                bound = collections_of(connection, tenant_id, [row.id for row in rows])
            if not rows:
                return
            for row in rows:
                yield face_from_row(row), bound.get(row.id, [])
            last = rows[-1].id

    def faceless_images(self, tenant_id: int) -> Iterator[StoredImage]:
        """Every picture without a face, in order, read in portions."""
        last = 0
        while True:
            query = (
                select(*IMAGE_COLUMNS)
                .where(
                    images.c.tenant_id == tenant_id, images.c.id > last,
                    ~exists().where(faces.c.image_ref == images.c.id),
                )
                .order_by(images.c.id).limit(BLOCK // 10)
            )
            with reading(self._engine) as connection:
                rows = connection.execute(query).all()
            if not rows:
                return
            yield from (image_from_row(row) for row in rows)
            last = rows[-1].id

    def clear(self, tenant_id: int) -> int:
        """Delete every face and every picture that there is at its beginning; collections
        stay, and are empty. How many faces there were.

        One transaction for each ``PORTION`` of faces: whoever else writes gets his turn
        in between. Of a larger gallery a part is left when it is interrupted; repeat it
        then. Raises ``TenantNotFound``.
        """
        erased, within, done = 0, None, False
        while not done:
            with writing(self._engine) as connection:
                writer = lock_tenant(connection, tenant_id)
                within = within or gallery_extent(writer)
                count, done = erase_within(writer, within, self._clock(), PORTION)
            erased += count
        self._trash.try_empty(tenant_id)
        return erased

    def delete_tenant(self, tenant_id: int) -> None:
        """Remove a tenant with everything that is kept for it: credentials, jobs, the
        gallery, every object. Its data key is destroyed first: what is encrypted is gone
        from then on, whatever is left of it. Can be repeated when it was interrupted; the
        tenant's row goes last. Raises ``TenantNotFound``, ``MediaUnavailable``."""
        destroy_key(self._engine, tenant_id)
        with writing(self._engine) as connection:
            connection.execute(
                update(tenants).where(tenants.c.id == tenant_id).values(disabled=True)
            )
        self._delete_rows(jobs, tenant_id)
        self.clear(tenant_id)
        for table in (changes, snapshots, signed_requests):
            self._delete_rows(table, tenant_id)
        self._delete_objects(tenant_id)
        self._delete_rows(discarded, tenant_id)
        with writing(self._engine) as connection:
            connection.execute(delete(tenants).where(tenants.c.id == tenant_id))
            # Whoever reads a batch or works at a job that he does not know to be gone may
            # store something yet.
            discard_tenant(connection, tenant_id, self._clock())
        self._delete_objects(tenant_id)

    def _delete_rows(self, table: Table, tenant_id: int) -> None:
        row_key = list(table.primary_key)[-1]
        mine = table.c.tenant_id == tenant_id
        while True:
            some = select(row_key).where(mine).limit(BLOCK)
            with writing(self._engine) as connection:
                gone = connection.execute(delete(table).where(mine, row_key.in_(some)))
            if gone.rowcount == 0:
                return

    def _delete_objects(self, tenant_id: int) -> None:
        for item in self._media.walk(storage_keys.tenant_prefix(tenant_id)):
            self._media.delete(item.key)


def _count(connection: Connection, table: Table, tenant_id: int) -> int:
    query = select(func.count()).select_from(table).where(table.c.tenant_id == tenant_id)
    return connection.execute(query).scalar_one()
