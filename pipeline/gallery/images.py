"""Stored pictures: looking up and deleting."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine, and_, or_, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import faces, images
from pipeline.errors import ImageNotFound
from pipeline.gallery.change_log import lock_tenant
from pipeline.gallery.erase import erase_faceless_images, erase_faces
from pipeline.gallery.records import IMAGE_COLUMNS, StoredImage, image_from_row
from pipeline.gallery.temporary_images import image_ids
from pipeline.gallery.trash import Trash
from pipeline.media.base import MediaStore

# Pictures whose time is over that are deleted in one round.
BLOCK = 1000


class ImageStore:
    """The stored pictures of every tenant. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, media: MediaStore, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._trash = Trash(engine, media, clock)
        self._clock = clock

    def find(self, tenant_id: int, image_id: str) -> StoredImage | None:
        """The picture that a caller names ``image_id``, unless its time is over."""
        return next(iter(self._named(tenant_id, (image_id,))), None)

    def by_cloud_id(self, tenant_id: int, named: str) -> StoredImage:
        """The picture that a caller of document c names so. Raises ``ImageNotFound``."""
        found = {image.image_id: image for image in self._named(tenant_id, image_ids(named))}
        for image_id in image_ids(named):
            if image_id in found:
                return found[image_id]
        raise ImageNotFound

    def _named(self, tenant_id: int, wanted: tuple[str, ...]) -> list[StoredImage]:
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(*IMAGE_COLUMNS).where(
                    images.c.tenant_id == tenant_id, images.c.image_id.in_(wanted),
                    or_(images.c.expires_at.is_(None), images.c.expires_at > self._clock()),
                )
            ).all()
        return [image_from_row(row) for row in rows]

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

    def expire(self) -> int:
        """Delete the pictures whose time is over, in every tenant; how many."""
        now, gone, last = self._clock(), 0, 0
        while passed := self._expired(now, last):
            for tenant_id in sorted({tenant_id for tenant_id, _ in passed}):
                refs = [ref for owner, ref in passed if owner == tenant_id]
                with writing(self._engine) as connection:
                    # Again with the tenant's row in hand: it may have been sent, or
                    # enrolled, a moment ago.
                    over = and_(images.c.id.in_(refs), images.c.expires_at <= now)
                    erase_faceless_images(lock_tenant(connection, tenant_id), over, now)
                self._trash.try_empty(tenant_id)
            gone, last = gone + len(passed), passed[-1][1]
        return gone

    def _expired(self, now: float, last: int) -> list[tuple[int, int]]:
        """(tenant, image) of some beyond ``last`` whose time is over."""
        query = (
            select(images.c.tenant_id, images.c.id)
            .where(images.c.expires_at <= now, images.c.id > last)
            .order_by(images.c.id).limit(BLOCK)
        )
        with reading(self._engine) as connection:
            return [(row.tenant_id, row.id) for row in connection.execute(query)]

    def delete(self, tenant_id: int, image_id: str) -> None:
        """Delete a picture with all faces on it. Raises ``ImageNotFound``."""
        now = self._clock()
        mine = (images.c.tenant_id == tenant_id, images.c.image_id == image_id)
        with writing(self._engine) as connection:
            writer = lock_tenant(connection, tenant_id)
            ref = connection.execute(select(images.c.id).where(*mine)).scalar_one_or_none()
            if ref is None:
                raise ImageNotFound
            there = connection.execute(select(faces.c.id).where(faces.c.image_ref == ref))
            erase_faces(writer, list(there.scalars()), now, keep_images=True)
            erase_faceless_images(writer, images.c.id == ref, now)
        self._trash.try_empty(tenant_id)
