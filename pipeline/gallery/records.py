"""What the gallery hands out and takes in: frozen values, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row, select

from pipeline.database.schema import collections, faces, images
from pipeline.types import Box, Embedding, JsonObject, VectorModel

DEFAULT_COLLECTION = "default"
"""The key of the collection that every tenant has and cannot delete."""

DEFAULT_SCORE = 80.0  # document b, 2.2


@dataclass(frozen=True, slots=True)
class Collection:
    """A group of faces. ``key`` is b's groupId and d's facedb; ``score`` (0 to 100) is
    what a hit in it must exceed."""

    id: int
    key: str
    type: str
    name: str
    score: float


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A stored picture. ``size`` is in bytes, ``created_at`` in epoch seconds."""

    id: int
    image_id: str
    sha256: str
    media_key: str
    size: int
    width: int
    height: int
    format: str
    description: str
    created_at: float


@dataclass(frozen=True, slots=True)
class FaceRecord:
    """An enrolled face with what is said of its picture. ``id`` is a's Fid and b's id;
    ``box`` is in pixels of the upright picture; ``face_key`` names the JPEG cut out of
    it; ``quality`` is what the quality stage measured."""

    id: int
    person_id: str
    face_token: str
    name: str
    gender: str
    box: Box
    landmarks: list[list[float]]
    score: float
    quality: JsonObject
    face_key: str
    created_at: float
    image_id: str
    description: str


@dataclass(frozen=True, slots=True)
class LabelledFace:
    """A live face that an index found: with its label and all collections it is in."""

    label: int
    face: FaceRecord
    collections: tuple[Collection, ...]


@dataclass(frozen=True, slots=True)
class ListedFace:
    """An item of a list. A picture whose face was deleted stands there with an empty
    ``face_token`` under the id that the face had."""

    id: int
    image_id: str
    face_token: str
    description: str
    name: str
    gender: str


@dataclass(frozen=True, slots=True)
class FacePage:
    """Part of a list, and how many items the whole has."""

    total: int
    items: tuple[ListedFace, ...]


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to keep, stored already under its permanent ``media_key``."""

    image_id: str
    sha256: str
    media_key: str
    size: int
    width: int
    height: int
    format: str
    description: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NewFace:
    """A face to enrol, its JPEG stored already under ``face_key``. A ``enrolled_name`` of None is
    replaced by ``ID0``, ``ID1``, ... in order."""

    box: Box
    landmarks: list[list[float]]
    score: float
    quality: JsonObject
    face_key: str
    embedding: Embedding
    name: str | None = ""
    gender: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class EnrolmentRequest:
    """Faces of one picture, and the ``collections`` (keys) to bind them to. With
    ``fresh`` a picture whose ``image_id`` is known is an error."""

    image: NewImage
    faces: tuple[NewFace, ...]
    model: VectorModel
    collections: tuple[str, ...] = ()
    must_be_new: bool = False


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """One record for each face of an enrolment, in its order; ``added`` of them are
    new, the others were enrolled before."""

    faces: tuple[FaceRecord, ...]
    added: int


@dataclass(frozen=True, slots=True)
class BindingReport:
    """What became of each collection that was to be bound or unbound: those that exist,
    and those that do not, each in the order they were named."""

    done: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """How much a gallery holds. ``bytes`` are those of the stored pictures, without the
    cut-out faces."""

    images: int
    faces: int
    collections: int
    bindings: int
    bytes: int
    last_change: int
    model: VectorModel | None = field(default=None)


FACE_COLUMNS = (
    faces.c.id, faces.c.person_id, faces.c.face_token, faces.c.name, faces.c.gender,
    faces.c.box, faces.c.landmarks, faces.c.score, faces.c.quality, faces.c.face_key,
    faces.c.created_at, images.c.image_id, images.c.description,
)
_FACE_FIELDS = tuple(column.key for column in FACE_COLUMNS)
SELECT_FACES = select(*FACE_COLUMNS).join(images, images.c.id == faces.c.image_ref)

SELECT_COLLECTIONS = select(
    collections.c.id, collections.c.key, collections.c.type, collections.c.name,
    collections.c.score,
)

IMAGE_COLUMNS = (
    images.c.id, images.c.image_id, images.c.sha256, images.c.media_key, images.c.size,
    images.c.width, images.c.height, images.c.format, images.c.description,
    images.c.created_at,
)


def face_from_row(row: Row[*tuple[Any, ...]]) -> FaceRecord:
    """The face in a row of ``FACES``, with or without further columns."""
    values = {name: row._mapping[name] for name in _FACE_FIELDS}
    return FaceRecord(**{**values, "box": Box(*values["box"])})


def collection_from_row(row: Row[*tuple[Any, ...]]) -> Collection:
    """The collection in a row of ``SELECT_COLLECTIONS``."""
    return Collection(**row._asdict())


def image_from_row(row: Row[*tuple[Any, ...]]) -> StoredImage:
    """The image in a row of ``IMAGE_COLUMNS``."""
    return StoredImage(**row._asdict())


def box_json(box: Box) -> list[float]:
    return [round(float(side), 3) for side in (box.left, box.top, box.right, box.bottom)]
