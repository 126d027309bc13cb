"""Which stored image a picture belongs to: one with the same bytes, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, bindparam, select, union_all, update

from pipeline.database.among import among
from pipeline.database.schema import images
from pipeline.errors import FaceExists
from pipeline.gallery.records import EnrolmentRequest, NewImage
from pipeline.gallery.writer import GalleryWriter
from pipeline.types import Embedding

MAX_COPIES = 16
"""Images with the same bytes under different ids, and faces of one picture under different
names: exact duplicates of a vector crowd out its neighbours in a graph index."""

_TENANT: BindParameter[int] = bindparam("tenant")
_SELECT_IMAGES = select(
    images.c.id, images.c.sha256, images.c.image_id, images.c.media_key,
    images.c.former_face_id, images.c.expires_at,
).where(images.c.tenant_id == _TENANT)
# Each part has an index.
_SELECT_SIMILAR = union_all(
    _SELECT_IMAGES.where(among(images.c.sha256, "hashes")),
    _SELECT_IMAGES.where(among(images.c.image_id, "ids")),
)


@dataclass(slots=True, eq=False)
class KnownFace:
    """A face of an image; ``id`` is 0 until it has a row, ``name`` None until it is numbered."""

    embedding: Embedding
    name: str | None
    id: int = 0


@dataclass(slots=True, eq=False)
class KnownImage:
    """An image of the gallery; ``id`` is 0 until it has a row. A ``faceless`` one has lost
    its last face, a ``temporary`` one expires."""

    image_id: str
    media_key: str
    id: int = 0
    faceless: bool = False
    temporary: bool = False
    faces: list[KnownFace] = field(default_factory=list)

    def reuse(self, writer: GalleryWriter, image: NewImage) -> None:
        """Note in the row that the image has a face again."""
        values: dict[str, Any] = {"former_face_id": None} if self.faceless else {}
        if self.temporary:
            values |= {"expires_at": None, "description": image.description}
        if values:
            writer.connection.execute(update(images).where(images.c.id == self.id).values(**values))
        self.faceless = self.temporary = False


class KnownImages:
    """The images that ``requests`` may belong to. Grows with each new one that is placed."""

    def __init__(self, writer: GalleryWriter, requests: Sequence[EnrolmentRequest]) -> None:
        hashes = [each.image.sha256 for each in requests]
        # Of a picture that is new, the ids that it may get.
        ids = [each.image.image_id for each in requests] + hashes
        rows = writer.connection.execute(
            _SELECT_SIMILAR, {"tenant": writer.tenant_id, "hashes": hashes, "ids": ids}
        )
        similar = {row.id: row for row in rows}
        self._taken = {row.image_id for row in similar.values()}
        self._by_hash: dict[str, list[KnownImage]] = {}
        for row in sorted(similar.values(), key=lambda row: row.id):
            image = KnownImage(
                row.image_id, row.media_key, row.id, faceless=row.former_face_id is not None,
                temporary=row.expires_at is not None,
            )
            self._by_hash.setdefault(row.sha256, []).append(image)

    def same_as(self, request: EnrolmentRequest) -> list[KnownImage]:
        """The images with the bytes of a picture, oldest first."""
        return self._by_hash.get(request.image.sha256, [])

    def place(self, request: EnrolmentRequest) -> tuple[KnownImage, bool]:
        """The image of a picture, and whether it is new. Raises ``FaceExists`` for one that
        must be new, or that cannot get an id."""
        image = request.image
        same = self.same_as(request)
        found = _that_expires(same, image) if request.must_be_new else _best(same, image)
        if found is not None:
            return found, False
        if request.must_be_new and (len(same) >= MAX_COPIES or image.image_id in self._taken):
            raise FaceExists
        # A caller may have chosen, for another picture, the id that these bytes give.
        free = (name for name in (image.image_id, image.sha256) if name not in self._taken)
        image_id = next(free, None)
        if image_id is None:
            raise FaceExists
        self._taken.add(image_id)
        made = KnownImage(image_id, image.media_key)
        self._by_hash.setdefault(image.sha256, []).append(made)
        return made, True


def _that_expires(same: list[KnownImage], image: NewImage) -> KnownImage | None:
    named = (each for each in same if each.temporary and each.image_id == image.image_id)
    return next(named, None)


def _best(same: list[KnownImage], image: NewImage) -> KnownImage | None:
    """Prefers one that stays, then one with a face, then the one with the same id."""
    return min(
        same, default=None,
        key=lambda each: (each.temporary, each.faceless, each.image_id != image.image_id),
    )

