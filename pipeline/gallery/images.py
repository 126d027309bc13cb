"""Stored images: finding, deleting, and storing for a while without a face."""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import Connection, Engine, and_, or_, select, update

from pipeline.database.clock import Clock, database_time
from pipeline.database.engine import read_rows, read_values, writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import faces, images
from pipeline.deletions.journal import DeletionJournal
from pipeline.errors import GalleryBusy, ImageNotFound
from pipeline.gallery.erase import begin_receipt, erase_faceless_images, erase_faces
from pipeline.gallery.image_ids import hex_spelling, spellings
from pipeline.gallery.records import IMAGE_COLUMNS, NewImage, StoredImage
from pipeline.gallery.rows import INSERT_IMAGE, new_image_row
from pipeline.gallery.trash import Trash, discard, reclaim
from pipeline.gallery.writer import lock_tenant
from pipeline.media.base import MediaStore

# Expired images that are deleted in one round.
BLOCK = 1000


@dataclass(frozen=True, slots=True)
class ImageStore:
    """The stored images of every tenant. ``clock`` gives epoch seconds (None: the database's)."""

    engine: Engine
    media: MediaStore
    clock: Clock | None = None
    journal: DeletionJournal | None = None

    def find(self, tenant_id: int, image_id: str) -> StoredImage | None:
        """The image with an id, unless it has expired."""
        return self._first(tenant_id, (image_id,))

    def get(self, tenant_id: int, *image_ids: str) -> StoredImage:
        """The image with the first of these ids that any has. Raises ``ImageNotFound``."""
        image = self._first(tenant_id, image_ids)
        if image is None:
            raise ImageNotFound
        return image

    def by_any_spelling(self, tenant_id: int, image_id: str) -> StoredImage:
        """The image with an id in either spelling. Raises ``ImageNotFound``."""
        return self.get(tenant_id, *spellings(image_id))

    def _first(self, tenant_id: int, image_ids: tuple[str, ...]) -> StoredImage | None:
        query = select(*IMAGE_COLUMNS).where(
            images.c.tenant_id == tenant_id, images.c.image_id.in_(image_ids),
            or_(images.c.expires_at.is_(None), images.c.expires_at > self._now()),
        )
        found = [StoredImage(*row) for row in read_rows(self.engine, query)]
        return min(found, default=None, key=lambda image: image_ids.index(image.image_id))

    def face_tokens(self, tenant_id: int, image: StoredImage) -> list[str]:
        """The tokens of an image's faces, oldest first."""
        query = (
            select(faces.c.face_token)
            .where(faces.c.tenant_id == tenant_id, faces.c.image_ref == image.id)
            .order_by(faces.c.id)
        )
        return read_values(self.engine, query)

    def expire(self) -> int:
        """Delete the images that have expired, of every tenant; returns how many."""
        now, gone = self._now(), 0
        expired = select(images.c.id, images.c.tenant_id).where(images.c.expires_at <= now)
        for rows in read_pages(self.engine, expired, images.c.id, BLOCK):
            owned = sorted((row.tenant_id, row.id) for row in rows)
            for tenant_id, mine in groupby(owned, key=lambda row: row[0]):
                with suppress(GalleryBusy):  # the next round finds them again
                    self._expire_of(tenant_id, [ref for _, ref in mine], now)
            gone += len(rows)
        return gone

    def _expire_of(self, tenant_id: int, refs: list[int], now: float) -> None:
        with writing(self.engine) as connection:
            # Checked again under the lock: the image may have been sent again, or
            # enrolled, meanwhile.
            still = and_(images.c.id.in_(refs), images.c.expires_at <= now)
            erase_faceless_images(lock_tenant(connection, tenant_id), still, now)
        Trash(self.engine, self.media, self.clock).try_empty(tenant_id)

    def delete(self, tenant_id: int, image_id: str) -> None:
        """Delete an image with all its faces. Raises ``ImageNotFound``."""
        now = self._now()
        mine = (images.c.tenant_id == tenant_id, images.c.image_id == image_id)
        with writing(self.engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            ref = connection.execute(select(images.c.id).where(*mine)).scalar_one_or_none()
            if ref is None:
                raise ImageNotFound
            its_faces = connection.execute(select(faces.c.id).where(faces.c.image_ref == ref))
            begin_receipt(writer, now)
            erase_faces(writer, list(its_faces.scalars()), now, keep_images=True)
            erase_faceless_images(writer, images.c.id == ref, now)
        Trash(self.engine, self.media, self.clock, self.journal).try_empty(tenant_id)

    def _now(self) -> float:
        return database_time(self.engine, self.clock)


def store_temporarily(
    connection: Connection, tenant_id: int, image: NewImage, until: float, now: float
) -> str:
    """Store a picture until the moment ``until``, or extend its time when it is stored
    already; returns its id. Part of the transaction that ends a job. The picture is a row
    with an ``expires_at``; enrolling the same picture makes the row permanent.

    Raises ``TenantNotFound``.
    """
    lock_tenant(connection, tenant_id)
    reclaim(connection, [image.media_key])
    # A caller may have chosen, for another picture, the id that these bytes give.
    candidates = (image.image_id, hex_spelling(image.image_id), image.sha256[:32], uuid.uuid4().hex)
    rows = connection.execute(
        select(
            images.c.id, images.c.image_id, images.c.sha256, images.c.media_key,
            images.c.expires_at,
        ).where(images.c.tenant_id == tenant_id, images.c.image_id.in_(candidates))
    )
    stored = {row.image_id: row for row in rows}
    same = next((row for row in stored.values() if row.sha256 == image.sha256), None)
    if same is None:
        image_id = next(name for name in candidates if name not in stored)
        row = new_image_row(tenant_id, image, image_id, now)
        connection.execute(INSERT_IMAGE, {**row, "expires_at": until})
        return image_id
    if same.expires_at is not None:
        connection.execute(
            update(images).where(images.c.id == same.id)
            .values(expires_at=max(same.expires_at, until))
        )
    if same.media_key != image.media_key:
        discard(connection, tenant_id, image.media_key, now)
    return str(same.image_id)
