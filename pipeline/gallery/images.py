"""Stored pictures: looking up and deleting."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces, images
from pipeline.errors import ImageNotFound
from pipeline.gallery.changes import take
from pipeline.gallery.erase import erase_bare, erase_faces
from pipeline.gallery.records import IMAGE_COLUMNS, StoredImage, stored_image
from pipeline.gallery.trash import Trash
from pipeline.media.base import MediaStore


class ImageStore:
    """The stored pictures of every tenant. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    def find(self, tenant_id: int, image_id: str) -> StoredImage | None:
        """The picture that a caller names ``image_id``."""
        with reading(self._engine) as connection:
            row = connection.execute(
                select(*IMAGE_COLUMNS).where(
                    images.c.tenant_id == tenant_id, images.c.image_id == image_id
                )
            ).one_or_none()
        return None if row is None else stored_image(row)

    def get(self, tenant_id: int, image_id: str) -> StoredImage:
        """Raises ``ImageNotFound``."""
        image = self.find(tenant_id, image_id)
        if image is None:
            raise ImageNotFound
        return image

    def face_tokens(self, tenant_id: int, image: StoredImage) -> list[str]:
        """The tokens of the faces on a picture, oldest first."""
        with reading(self._engine) as connection:
            return list(
                connection.execute(
                    select(faces.c.face_token)
                    .where(faces.c.tenant_id == tenant_id, faces.c.image_ref == image.id)
                    .order_by(faces.c.id)
                ).scalars()
            )

    def delete(self, tenant_id: int, image_id: str) -> None:
        """Delete a picture with all faces on it. Raises ``ImageNotFound``."""
        now = self._clock()
        mine = (images.c.tenant_id == tenant_id, images.c.image_id == image_id)
        with writing(self._engine) as connection:
            writer = take(connection, tenant_id)
            ref = connection.execute(select(images.c.id).where(*mine)).scalar_one_or_none()
            if ref is None:
                raise ImageNotFound
            there = connection.execute(select(faces.c.id).where(faces.c.image_ref == ref))
            erase_faces(writer, list(there.scalars()), now, keep_images=True)
            erase_bare(writer, images.c.id == ref, now)
        self._trash.try_empty(tenant_id)
