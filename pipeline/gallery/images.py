"""Stored images: finding and deleting."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import groupby

from sqlalchemy import Engine, and_, or_, select

from pipeline.database.engine import reading, writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import faces, images
from pipeline.errors import ImageNotFound
from pipeline.gallery.erase import erase_faceless_images, erase_faces
from pipeline.gallery.image_ids import spellings
from pipeline.gallery.records import IMAGE_COLUMNS, StoredImage, image_from_row
from pipeline.gallery.trash import Trash
from pipeline.gallery.writer import lock_tenant
from pipeline.media.base import MediaStore

# Expired images that are deleted in one round.
BLOCK = 1000


class ImageStore:
    """The stored images of every tenant. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    def find(self, tenant_id: int, image_id: str) -> StoredImage | None:
        """The image with an id, unless it has expired."""
        return self._first(tenant_id, (image_id,))

    def get(self, tenant_id: int, image_id: str) -> StoredImage:
        """Raises ``ImageNotFound``."""
        image = self.find(tenant_id, image_id)
        if image is None:
            raise ImageNotFound
        return image

    def by_any_spelling(self, tenant_id: int, image_id: str) -> StoredImage:
        """The image with an id in either spelling. Raises ``ImageNotFound``."""
        image = self._first(tenant_id, spellings(image_id))
        if image is None:
            raise ImageNotFound
        return image

    def _first(self, tenant_id: int, image_ids: tuple[str, ...]) -> StoredImage | None:
        """The image that has the first of these ids that any has."""
        query = select(*IMAGE_COLUMNS).where(
            images.c.tenant_id == tenant_id, images.c.image_id.in_(image_ids),
            or_(images.c.expires_at.is_(None), images.c.expires_at > self._clock()),
        )
        with reading(self._engine) as connection:
            found = [image_from_row(row) for row in connection.execute(query)]
        return min(found, default=None, key=lambda image: image_ids.index(image.image_id))

    def face_tokens(self, tenant_id: int, image: StoredImage) -> list[str]:
        """The tokens of an image's faces, oldest first."""
        query = (
            select(faces.c.face_token)
            .where(faces.c.tenant_id == tenant_id, faces.c.image_ref == image.id)
            .order_by(faces.c.id)
        )
        with reading(self._engine) as connection:
            return list(connection.execute(query).scalars())

    def expire(self) -> int:
        """Delete the images that have expired, of every tenant; returns how many."""
        now, gone = self._clock(), 0
        expired = select(images.c.id, images.c.tenant_id).where(images.c.expires_at <= now)
        for rows in read_pages(self._engine, expired, images.c.id, BLOCK):
            owned = sorted((row.tenant_id, row.id) for row in rows)
            for tenant_id, mine in groupby(owned, key=lambda row: row[0]):
                refs = [ref for _, ref in mine]
                with writing(self._engine) as connection:
                    # Checked again under the lock: the image may have been sent again, or
                    # enrolled, meanwhile.
                    still = and_(images.c.id.in_(refs), images.c.expires_at <= now)
                    erase_faceless_images(lock_tenant(connection, tenant_id), still, now)
                self._trash.try_empty(tenant_id)
            gone += len(rows)
        return gone

    def delete(self, tenant_id: int, image_id: str) -> None:
        """Delete an image with all its faces. Raises ``ImageNotFound``."""
        now = self._clock()
        mine = (images.c.tenant_id == tenant_id, images.c.image_id == image_id)
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            ref = connection.execute(select(images.c.id).where(*mine)).scalar_one_or_none()
            if ref is None:
                raise ImageNotFound
            its_faces = connection.execute(select(faces.c.id).where(faces.c.image_ref == ref))
            erase_faces(writer, list(its_faces.scalars()), now, keep_images=True)
            erase_faceless_images(writer, images.c.id == ref, now)
        self._trash.try_empty(tenant_id)
