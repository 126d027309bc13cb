"""Requests that only read or change records and need no job. A dialect returns what is to be
done and how to answer; the service does it, so that reading a request changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from api_shim.requests import Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceNotFound, ImageNotFound, MediaNotFound, PersonNotFound
from pipeline.gallery.records import Collection, FaceRecord, ListedFace

# Faces read from the database at a time.
PORTION = 5000

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class RecordRequest(Generic[R]):
    """``action`` takes the stores and the tenant's id, blocks, and may raise ``FaceError``;
    ``answer`` renders its result."""

    tenant: Tenant
    action: Callable[[RecordStores, int], R]
    answer: Callable[[R], Reply]

    def carry_out(self, records: RecordStores) -> Reply:
        """The answer. Raises ``FaceError``."""
        return self.answer(self.action(records, self.tenant.id))


def list_faces(records: RecordStores, tenant_id: int) -> Iterator[list[ListedFace]]:
    """Every face of the tenant, oldest first, a portion at a time."""
    last = 0
    while portion := records.faces.after(tenant_id, last, PORTION):
        yield portion
        last = portion[-1].id


def delete_person(
    records: RecordStores, tenant_id: int, person_id: str, collection: str = ""
) -> None:
    """Delete a person's face; with a ``collection`` only if the face is in it. Raises
    ``PersonNotFound``."""
    if collection:
        face = records.faces.by_person(tenant_id, person_id)
        found = records.faces.collections(tenant_id, face.id)
        if all(each.key != collection for each in found):
            raise PersonNotFound
    records.faces.delete_person(tenant_id, person_id)


@dataclass(frozen=True, slots=True)
class ShownFace:
    """A face with its collections, the pixels of its picture, and the cut-out JPEG."""

    face: FaceRecord
    collections: tuple[Collection, ...]
    width: int
    height: int
    cutout: bytes = field(repr=False)


def show_face(records: RecordStores, tenant_id: int, face_token: str) -> ShownFace:
    """A face with all that belongs to it. Raises ``FaceNotFound``."""
    face = records.faces.by_token(tenant_id, face_token)
    collections = records.faces.collections(tenant_id, face.id)
    image = records.images.find(tenant_id, face.image_id)
    if image is None:
        raise FaceNotFound  # deleted a moment ago
    cutout = _stored(records, face.face_key, FaceNotFound)
    return ShownFace(face, tuple(collections), image.width, image.height, cutout)


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A stored picture and the tokens of its faces."""

    content: bytes = field(repr=False)
    face_tokens: tuple[str, ...]


def show_image(records: RecordStores, tenant_id: int, image_id: str) -> ShownImage:
    """A stored picture. Raises ``ImageNotFound``."""
    image = records.images.get(tenant_id, image_id)
    content = _stored(records, image.media_key, ImageNotFound)
    return ShownImage(content, tuple(records.images.face_tokens(tenant_id, image)))


def _stored(
    records: RecordStores, key: str, not_found: type[FaceNotFound | ImageNotFound]
) -> bytes:
    """A stored object; raises ``not_found`` for one that was deleted a moment ago."""
    try:
        return records.media.get(key)
    except MediaNotFound as error:
        raise not_found from error
