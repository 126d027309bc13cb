"""The values that the gallery returns and accepts, and their construction from rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Column, Connection, Row, Table, bindparam, select

from pipeline.database.schema import collections, faces, images
from pipeline.types import Box, Embedding, JsonObject, VectorModel

DEFAULT_COLLECTION = "default"
"""The key of the collection that every tenant has and cannot delete."""

DEFAULT_SCORE = 80.0
"""What a hit must exceed in a collection for which nothing else was chosen, of 100."""


@dataclass(frozen=True, slots=True)
class Collection:
    """A set of faces. ``key`` is its name for callers; ``score`` (0 to 100) is the score
    that a hit in it must exceed."""

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
    """An enrolled face with the id and description of its image. ``box`` is in pixels of the
    upright picture; ``face_key`` names the JPEG cut out of it; ``quality`` is the
    result of the quality stage."""

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
    """A face that an index found, with its label and all collections it is in."""

    label: int
    face: FaceRecord
    collections: tuple[Collection, ...]


@dataclass(frozen=True, slots=True)
class ListedFace:
    """An item of a list. An image whose last face was deleted is listed with an empty
    ``face_token`` under the id of that face."""

    id: int
    image_id: str
    face_token: str
    description: str
    name: str
    gender: str


@dataclass(frozen=True, slots=True)
class FacePage:
    """Part of a list, and how many items the whole list has."""

    total: int
    items: tuple[ListedFace, ...]


@dataclass(frozen=True, slots=True)
class FaceDeletion:
    """How many faces one transaction has deleted, and the id of its receipt."""

    faces: int
    receipt_id: str


@dataclass(frozen=True, slots=True)
class NewImage:
    """A picture to enrol or store, whose object lies under its permanent ``media_key``."""

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
    """A face to enrol, whose JPEG lies under ``face_key``. A ``name`` of None is replaced by
    ``ID0``, ``ID1``, ... in order."""

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
    ``must_be_new`` a picture whose ``image_id`` is known is an error; with ``by_name`` a face
    of a known picture is enrolled again under another name."""

    image: NewImage
    faces: tuple[NewFace, ...]
    model: VectorModel
    collections: tuple[str, ...] = ()
    must_be_new: bool = False
    by_name: bool = False


@dataclass(frozen=True, slots=True)
class EnrolmentResult:
    """One record for each face of an enrolment, in its order; ``added`` of them are new,
    the others were enrolled before."""

    faces: tuple[FaceRecord, ...]
    added: int


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """The size of a gallery. ``bytes`` are those of the stored pictures, without the cut-out
    faces; ``last_change`` is the last number of the change log."""

    images: int
    faces: int
    collections: int
    bindings: int
    bytes: int
    last_change: int
    model: VectorModel | None = None


def _columns(record: type, *tables: Table) -> list[Column[Any]]:
    """The column of each field of a record, from the first of the tables that has it."""
    names = [field.name for field in fields(record)]
    return [next(table.c[name] for table in tables if name in table.c) for name in names]


SELECT_FACES = select(*_columns(FaceRecord, faces, images)).join(
    images, images.c.id == faces.c.image_ref
)
_SELECT_FACES_BY_ID = SELECT_FACES.where(faces.c.id.in_(bindparam("ids", expanding=True)))
LISTED_COLUMNS = _columns(ListedFace, faces, images)
SELECT_COLLECTIONS = select(*_columns(Collection, collections))
IMAGE_COLUMNS = _columns(StoredImage, images)


def face_from_row(row: Row[*tuple[Any, ...]]) -> FaceRecord:
    """The face in a row of ``SELECT_FACES``, with or without further columns."""
    values = {field.name: row._mapping[field.name] for field in fields(FaceRecord)}
    return FaceRecord(**{**values, "box": Box(*values["box"])})


def faces_by_id(connection: Connection, ids: Sequence[int]) -> tuple[FaceRecord, ...]:
    """The faces with these ids, in order; all of them exist."""
    rows = connection.execute(_SELECT_FACES_BY_ID, {"ids": list(ids)})
    found = {row.id: face_from_row(row) for row in rows}
    return tuple(found[face_id] for face_id in ids)


def collection_from_row(row: Row[*tuple[Any, ...]]) -> Collection:
    """The collection in a row of ``SELECT_COLLECTIONS``, with or without further columns."""
    return Collection(row.id, row.key, row.type, row.name, row.score)


def box_json(box: Box) -> list[float]:
    """Left, top, right and bottom, to a thousandth of a pixel."""
    return [round(float(side), 3) for side in (box.left, box.top, box.right, box.bottom)]
