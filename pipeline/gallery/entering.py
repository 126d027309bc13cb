"""Faces of any number of pictures into a gallery at once: with as many statements for a
thousand as for one.

The media are stored before; what turns out not to be needed (the same picture was
enrolled meanwhile, or stands twice among the new ones) is discarded in the same
transaction.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, update

from pipeline.database.schema import images
from pipeline.errors import (
    BadVector,
    CollectionNotFound,
    FaceError,
    FaceExists,
    PackMismatch,
)
from pipeline.gallery.changes import Writer, last_model, read_vector, stored_vector, take
from pipeline.gallery.collections import bind_pairs, find_collections, note_faces
from pipeline.gallery.records import Collection, Enrolment, NewFace, NewImage, box_json
from pipeline.gallery.statements import (
    FACES_ON,
    IDS_TAKEN,
    INSERT_FACE,
    INSERT_IMAGE,
    INSERT_VECTOR,
    NAME_TAKEN,
    SAME_PICTURES,
    insert_all,
)
from pipeline.gallery.trash import discard_many, reclaim
from pipeline.secrets import DataKey
from pipeline.types import Embedding, VectorModel

TOKEN_BYTES = 18  # 24 characters of Base64

# How far a vector's length may be from 1: float32 sums of 512 squares stay within 1e-5.
LENGTH_TOLERANCE = 1e-3

# One face, embedded twice by one model from one picture, differs by rounding alone.
SAME_FACE = 0.999

# Records that one picture may have under different ids: exact duplicates of a vector
# crowd out what stands beside them in a graph index.
MOST_COPIES = 16


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of one picture: its row in ``images``, and the gallery's face for each
    face that was given, in order; ``added`` of them are new."""

    image_ref: int
    faces: tuple[int, ...]
    added: int


def enter(
    connection: Connection, tenant_id: int, pictures: Sequence[Enrolment], now: float,
    key: DataKey | None = None,
) -> list[Entered | FaceError]:
    """Enrol the faces of pictures, or find them as they were enrolled before, by an
    earlier one of ``pictures``, too; bind them to the named collections in either case.
    One answer a picture, in order. With a ``key`` vectors are encrypted.

    A picture's own error (``BadVector``, ``FaceExists``, ``CollectionNotFound``) is its
    answer; it changes nothing, and what becomes of its objects is the caller's to say.
    Raises what hinders them all: ``PackMismatch``, ``TenantNotFound``.
    """
    writer = take(connection, tenant_id, key)
    reclaim(connection, list(chain.from_iterable(map(_keys_of, pictures))))
    models = list(dict.fromkeys(each.model for each in pictures))
    if len(models) > 1:
        raise PackMismatch("pictures that are enrolled together come from one pack")
    for model in models:
        check_model(connection, tenant_id, model)
    entry = _Entry(writer, now, pictures)
    answers = [entry.receive(each) for each in pictures]
    visits = [each for each in answers if isinstance(each, _Visit)]
    entry.match(visits)
    entry.insert(visits)
    entry.bind(visits)
    entry.leave_behind(visits)
    return [each.entered() if isinstance(each, _Visit) else each for each in answers]


def check_vector(vector: Embedding, model: VectorModel) -> None:
    """Raises ``BadVector`` for what would poison an index."""
    if vector.shape != (model.dimension,):
        raise BadVector(f"a vector of shape {vector.shape} from a model of {model.dimension}")
    if not np.isfinite(vector).all():
        raise BadVector
    if abs(float(np.linalg.norm(vector)) - 1.0) > LENGTH_TOLERANCE:
        raise BadVector


def check_model(connection: Connection, tenant_id: int, model: VectorModel) -> None:
    """Raises ``PackMismatch`` when the gallery's vectors come from another model."""
    there = last_model(connection, tenant_id)
    if there is not None and there != model:
        raise PackMismatch(
            f"The gallery was made with the pack {there.pack!r} and {model.pack!r} is served; "
            "enrol it anew to change the pack."
        )


# What is put in, and what is there ----------------------------------------------


@dataclass(slots=True, eq=False)
class _Face:
    """A face of a picture; ``id`` is 0 until it has a row."""

    embedding: Embedding
    id: int = 0


@dataclass(slots=True, eq=False)
class _Picture:
    """A picture of the gallery; ``id`` is 0 until it has a row. ``bare``: it has lost its
    last face; ``passing``: it is only stored for a while."""

    image_id: str
    media_key: str
    id: int = 0
    bare: bool = False
    passing: bool = False
    faces: list[_Face] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Visit:
    """One of the new pictures: where it is put, and which faces there are its own.
    ``opened``: it was the one to bring that picture; ``fresh``: places of new faces."""

    wanted: Enrolment
    groups: list[Collection]
    picture: _Picture
    opened: bool
    faces: list[_Face] = field(default_factory=list)
    fresh: list[int] = field(default_factory=list)

    def entered(self) -> Entered:
        ids = tuple(face.id for face in self.faces)
        return Entered(self.picture.id, ids, len(self.fresh))


class _Entry:
    """One call of ``enter``."""

    def __init__(self, writer: Writer, now: float, many: Sequence[Enrolment]) -> None:
        self._writer = writer
        self._now = now
        asked = chain.from_iterable(each.collections for each in many)
        self._groups = find_collections(writer.connection, writer.tenant_id, asked)
        self._shelf = self._stored(many)
        self._taken = self._taken_ids(many)

    def receive(self, wanted: Enrolment) -> _Visit | FaceError:
        """Find the picture's place, or say why it has none."""
        try:
            for face in wanted.faces:
                check_vector(face.embedding, wanted.model)
            groups = [self._group(key) for key in dict.fromkeys(wanted.collections)]
            known = self._known(wanted)
            picture = known or self._open(wanted)
        except (BadVector, CollectionNotFound, FaceExists) as error:
            return error
        return _Visit(wanted, groups, picture, known is None)

    def match(self, visits: Sequence[_Visit]) -> None:
        """Tell the faces that are there from those that are new."""
        stored = {visit.picture.id: visit.picture for visit in visits if visit.picture.id}
        for row in self._faces_on(list(stored)):
            vector = read_vector(row.vector, row.face_id, row.dimension, self._writer.key)
            stored[row.image_ref].faces.append(_Face(vector, row.face_id))
        for visit in visits:
            before = list(visit.picture.faces)
            for place, face in enumerate(visit.wanted.faces):
                there = _pick(before, face.embedding)
                if there is None:
                    there = _Face(face.embedding)
                    visit.picture.faces.append(there)
                    visit.fresh.append(place)
                visit.faces.append(there)

    def insert(self, visits: Sequence[_Visit]) -> None:
        """Write the rows of what is new."""
        writer = self._writer
        opened = [visit for visit in visits if visit.opened]
        rows = [self._image_row(visit) for visit in opened]
        refs = insert_all(writer.connection, INSERT_IMAGE, rows)
        for visit, image_ref in zip(opened, refs, strict=True):
            visit.picture.id = image_ref
        added = [(visit, place) for visit in visits for place in visit.fresh]
        rows = [self._face_row(visit, place) for visit, place in added]
        ids = insert_all(writer.connection, INSERT_FACE, rows)
        for (visit, place), face_id in zip(added, ids, strict=True):
            visit.faces[place].id = face_id
        fresh = [(visit.faces[place], visit.wanted.model) for visit, place in added]
        rows = [
            vector_row(writer, face.id, face.embedding, model, self._now) for face, model in fresh
        ]
        writer.note(insert_all(writer.connection, INSERT_VECTOR, rows))

    def bind(self, visits: Sequence[_Visit]) -> None:
        """Put every face into its picture's collections."""
        pairs = [
            (group.id, face.id)
            for visit in visits for group in visit.groups for face in visit.faces
        ]
        fresh = {visit.faces[place].id for visit in visits for place in visit.fresh}
        changed = bind_pairs(self._writer, pairs, fresh)
        note_faces(self._writer, changed.difference(fresh))

    def leave_behind(self, visits: Sequence[_Visit]) -> None:
        """Discard the objects of what was there already."""
        unwanted: list[str] = []
        for visit in visits:
            if visit.opened:
                continue
            self._occupy(visit)
            if visit.wanted.image.media_key != visit.picture.media_key:
                unwanted.append(visit.wanted.image.media_key)
            unwanted += [
                face.face_key for place, face in enumerate(visit.wanted.faces)
                if place not in visit.fresh
            ]
        discard_many(self._writer.connection, self._writer.tenant_id, unwanted, self._now)

    # -- pictures -----------------------------------------------------------------

    def _stored(self, many: Sequence[Enrolment]) -> dict[str, list[_Picture]]:
        """Those with the same bytes as one of ``many``, by their hash: first those that
        have a face, oldest first."""
        asked = {
            "tenant": self._writer.tenant_id, "hashes": [each.image.sha256 for each in many],
        }
        found: dict[str, list[_Picture]] = {}
        for row in self._writer.connection.execute(SAME_PICTURES, asked):
            found.setdefault(row.sha256, []).append(
                _Picture(row.image_id, row.media_key, row.id,
                         row.former_face_id is not None, row.expires_at is not None)
            )
        return found

    def _taken_ids(self, many: Sequence[Enrolment]) -> set[str]:
        """The ids among those that the pictures may want that others have."""
        new = [each.image for each in many if each.fresh or each.image.sha256 not in self._shelf]
        if not new:
            return set()
        wanted = [name for image in new for name in (image.image_id, image.sha256)]
        asked = {"tenant": self._writer.tenant_id, "ids": wanted}
        return set(self._writer.connection.execute(IDS_TAKEN, asked).scalars())

    def _known(self, wanted: Enrolment) -> _Picture | None:
        """The picture with the same bytes; of several one that has a face, then the one
        under the same id. Raises ``FaceExists`` for one that must be new."""
        image = wanted.image
        there = self._shelf.get(image.sha256, [])
        if not wanted.fresh:
            return min(
                there, default=None,
                key=lambda each: (each.passing, each.bare, each.image_id != image.image_id),
            )
        for each in there:
            if each.passing and each.image_id == image.image_id:
                return each
        if len(there) >= MOST_COPIES or image.image_id in self._taken:
            raise FaceExists
        return None

    def _open(self, wanted: Enrolment) -> _Picture:
        """A place for a new picture. Raises ``FaceExists``."""
        image = wanted.image
        # Somebody may have chosen, for another picture, the id that this one's bytes give.
        free = (name for name in (image.image_id, image.sha256) if name not in self._taken)
        image_id = next(free, None)
        if image_id is None:
            raise FaceExists
        self._taken.add(image_id)
        picture = _Picture(image_id, image.media_key)
        self._shelf.setdefault(image.sha256, []).append(picture)
        return picture

    def _occupy(self, visit: _Visit) -> None:
        """Use a stored picture: it has a face now."""
        picture = visit.picture
        occupy(self._writer.connection, picture.id, visit.wanted.image,
               bare=picture.bare, passing=picture.passing)
        picture.bare = picture.passing = False

    def _image_row(self, visit: _Visit) -> dict[str, Any]:
        image = visit.wanted.image
        return {
            "tenant_id": self._writer.tenant_id, "description": image.description,
            "created_at": self._now, **image_columns(image, visit.picture.image_id),
        }

    # -- faces --------------------------------------------------------------------

    def _faces_on(self, image_refs: list[int]) -> Iterable[Row[*tuple[Any, ...]]]:
        if not image_refs:
            return []
        return self._writer.connection.execute(FACES_ON, {"images": image_refs})

    def _face_row(self, visit: _Visit, place: int) -> dict[str, Any]:
        face = visit.wanted.faces[place]
        return {
            "tenant_id": self._writer.tenant_id, "image_ref": visit.picture.id,
            "person_id": str(uuid.uuid4()), "face_token": secrets.token_urlsafe(TOKEN_BYTES),
            "name": _free_name(self._writer) if face.name is None else face.name,
            "gender": face.gender, "created_at": self._now, **face_columns(face),
        }

    def _group(self, key: str) -> Collection:
        if key not in self._groups:
            raise CollectionNotFound(f"no collection {key!r}")
        return self._groups[key]


def _keys_of(new: Enrolment) -> list[str]:
    return [new.image.media_key, *(face.face_key for face in new.faces)]


def _pick(before: list[_Face], embedding: Embedding) -> _Face | None:
    """Take the face with this embedding out of ``before``."""
    for place, face in enumerate(before):
        if float(np.dot(face.embedding, embedding)) > SAME_FACE:
            return before.pop(place)
    return None


def _free_name(writer: Writer) -> str:
    """The next ``IDN`` that no face of the tenant has."""
    while True:
        name = f"ID{writer.next_unnamed()}"
        asked = {"tenant": writer.tenant_id, "name": name}
        if not writer.connection.execute(NAME_TAKEN, asked).scalar_one():
            return name


# Rows --------------------------------------------------------------------------


def image_columns(image: NewImage, image_id: str) -> dict[str, Any]:
    """The columns that come from the file of a picture, which has the id ``image_id``."""
    return {
        "image_id": image_id, "sha256": image.sha256, "media_key": image.media_key,
        "size": image.size, "width": image.width, "height": image.height,
        "format": image.format,
    }


def face_columns(face: NewFace) -> dict[str, Any]:
    """The columns that come from what was seen in the picture."""
    return {
        "box": box_json(face.box), "landmarks": face.landmarks, "score": face.score,
        "quality": face.quality, "face_key": face.face_key,
    }


def vector_row(
    writer: Writer, face_id: int, vector: Embedding, model: VectorModel, now: float
) -> dict[str, Any]:
    """The row of a face's vector, encrypted where the tenant has a key."""
    return {
        "tenant_id": writer.tenant_id, "face_id": face_id, "pack": model.pack,
        "model_sha256": model.sha256, "dimension": model.dimension,
        "vector": stored_vector(vector, face_id, writer.key), "created_at": now,
    }


def occupy(
    connection: Connection, image_ref: int, image: NewImage, *, bare: bool, passing: bool
) -> None:
    """Let a stored picture have a face again that had lost its last (``bare``), or was to
    go (``passing``)."""
    changed: dict[str, Any] = {"former_face_id": None} if bare else {}
    if passing:
        changed |= {"expires_at": None, "description": image.description}
    if changed:
        connection.execute(update(images).where(images.c.id == image_ref).values(**changed))
