"""What requests do with records alone: frozen values that a dialect returns and the
service carries out. Reading a request changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from api_shim.requests import Reply
from api_shim.service import RecordStores
from pipeline.accounts.model import Tenant
from pipeline.errors import FaceNotFound, ImageNotFound, MediaNotFound, PersonNotFound
from pipeline.gallery.collections import CollectionDeletion
from pipeline.gallery.records import (
    BindingReport,
    Collection,
    FacePage,
    FaceRecord,
    ListedFace,
)

# Faces read from the database at a time.
PORTION = 5000

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class RecordAction(Protocol[R_co]):
    """Something to do with a tenant's records."""

    def carry_out(self, records: RecordStores, tenant_id: int) -> R_co:
        """Do it, in a thread. Raises ``FaceError``."""
        ...


@dataclass(frozen=True, slots=True)
class RecordRequest(Generic[R]):
    """An action that a tenant wants, and how the dialect answers its outcome."""

    tenant: Tenant
    action: RecordAction[R]
    answer: Callable[[R], Reply] = field(compare=False)

    def carry_out(self, records: RecordStores) -> Reply:
        """The answer. Raises ``FaceError``."""
        return self.answer(self.action.carry_out(records, self.tenant.id))


# Faces ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListFaces:
    """Every face of the tenant, oldest first, a portion at a time."""

    def carry_out(self, records: RecordStores, tenant_id: int) -> Iterator[list[ListedFace]]:
        last = 0
        while portion := records.faces.after(tenant_id, last, PORTION):
            yield portion
            last = portion[-1].id


@dataclass(frozen=True, slots=True)
class ListFacePage:
    """A page of the faces, newest last."""

    offset: int
    limit: int

    def carry_out(self, records: RecordStores, tenant_id: int) -> FacePage:
        return records.faces.page(tenant_id, self.offset, self.limit)


@dataclass(frozen=True, slots=True)
class ShowFace:
    """A face by its number."""

    face_id: int

    def carry_out(self, records: RecordStores, tenant_id: int) -> FaceRecord:
        return records.faces.by_id(tenant_id, self.face_id)


@dataclass(frozen=True, slots=True)
class RenameFace:
    """Give a face another name."""

    face_id: int
    name: str

    def carry_out(self, records: RecordStores, tenant_id: int) -> FaceRecord:
        return records.faces.rename(tenant_id, self.face_id, self.name)


@dataclass(frozen=True, slots=True)
class DeleteFace:
    """Delete a face, and its picture unless another face is on it."""

    face_id: int

    def carry_out(self, records: RecordStores, tenant_id: int) -> FaceRecord:
        return records.faces.delete(tenant_id, self.face_id)


@dataclass(frozen=True, slots=True)
class DeleteFaceByToken:
    """Delete a face; its picture stays."""

    face_token: str

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.faces.delete_token(tenant_id, self.face_token)


@dataclass(frozen=True, slots=True)
class DeletePerson:
    """Delete a person's face; with a ``collection`` only if the face is in it."""

    person_id: str
    collection: str = ""

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        if self.collection:
            face = records.faces.by_person(tenant_id, self.person_id)
            found = records.faces.collections(tenant_id, face.id)
            if all(each.key != self.collection for each in found):
                raise PersonNotFound
        records.faces.delete_person(tenant_id, self.person_id)


@dataclass(frozen=True, slots=True)
class ShownFace:
    """A face with its collections, the pixels of its picture, and the cut-out JPEG."""

    face: FaceRecord
    collections: tuple[Collection, ...]
    width: int
    height: int
    cutout: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ShowFaceByToken:
    """A face with all that belongs to it."""

    face_token: str

    def carry_out(self, records: RecordStores, tenant_id: int) -> ShownFace:
        face = records.faces.by_token(tenant_id, self.face_token)
        collections = records.faces.collections(tenant_id, face.id)
        image = records.images.find(tenant_id, face.image_id)
        if image is None:
            raise FaceNotFound  # deleted a moment ago
        cutout = _stored(records, face.face_key, FaceNotFound)
        return ShownFace(face, tuple(collections), image.width, image.height, cutout)


# Pictures ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ShownImage:
    """A stored picture and the tokens of its faces."""

    content: bytes = field(repr=False)
    face_tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShowImage:
    """A stored picture."""

    image_id: str

    def carry_out(self, records: RecordStores, tenant_id: int) -> ShownImage:
        image = records.images.get(tenant_id, self.image_id)
        content = _stored(records, image.media_key, ImageNotFound)
        return ShownImage(content, tuple(records.images.face_tokens(tenant_id, image)))


@dataclass(frozen=True, slots=True)
class DeleteImage:
    """Delete a stored picture with its faces."""

    image_id: str

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.images.delete(tenant_id, self.image_id)


@dataclass(frozen=True, slots=True)
class ClearGallery:
    """Delete every face and every picture."""

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.galleries.clear(tenant_id)


def _stored(
    records: RecordStores, key: str, not_found: type[FaceNotFound | ImageNotFound]
) -> bytes:
    """A stored object; raises ``not_found`` for one that was deleted a moment ago."""
    try:
        return records.media.get(key)
    except MediaNotFound as error:
        raise not_found from error


# Collections ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListCollections:
    """Every collection with the number of its faces."""

    def carry_out(self, records: RecordStores, tenant_id: int) -> list[tuple[Collection, int]]:
        return records.collections.all(tenant_id)


@dataclass(frozen=True, slots=True)
class ListCollectionFaces:
    """A page of a collection's faces, newest last."""

    key: str
    offset: int
    limit: int

    def carry_out(self, records: RecordStores, tenant_id: int) -> FacePage:
        return records.collections.faces(tenant_id, self.key, self.offset, self.limit)


@dataclass(frozen=True, slots=True)
class CreateCollection:
    """Make an empty collection."""

    key: str
    name: str
    type: str
    score: float

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.collections.create(
            tenant_id, self.key, name=self.name, type=self.type, score=self.score
        )


@dataclass(frozen=True, slots=True)
class UpdateCollection:
    """Change what is not None."""

    key: str
    name: str | None = None
    type: str | None = None
    score: float | None = None

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.collections.update(
            tenant_id, self.key, name=self.name, type=self.type, score=self.score
        )


@dataclass(frozen=True, slots=True)
class DeleteCollection:
    """Delete a collection, or its content, in one of the ways of ``CollectionDeletion``."""

    key: str
    mode: CollectionDeletion

    def carry_out(self, records: RecordStores, tenant_id: int) -> None:
        records.collections.delete(tenant_id, self.key, self.mode)


@dataclass(frozen=True, slots=True)
class BindFace:
    """Put a face into collections."""

    face_token: str
    keys: tuple[str, ...]

    def carry_out(self, records: RecordStores, tenant_id: int) -> BindingReport:
        return records.collections.bind(tenant_id, self.face_token, self.keys)


@dataclass(frozen=True, slots=True)
class UnbindFace:
    """Take a face out of collections."""

    face_token: str
    keys: tuple[str, ...]

    def carry_out(self, records: RecordStores, tenant_id: int) -> BindingReport:
        return records.collections.unbind(tenant_id, self.face_token, self.keys)
