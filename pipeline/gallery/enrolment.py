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
from pipeline.encryption.vault import DataKey
from pipeline.errors import (
    BadVector,
    CollectionNotFound,
    FaceError,
    FaceExists,
    PackMismatch,
)
from pipeline.gallery.change_log import (
    GalleryWriter,
    last_model,
    lock_tenant,
    read_vector,
    stored_vector,
)
from pipeline.gallery.collections import bind_pairs, find_collections, log_face_changes
from pipeline.gallery.records import Collection, EnrolmentRequest, NewFace, NewImage, box_json
from pipeline.gallery.statements import (
    IDS_TAKEN,
    INSERT_FACE,
    INSERT_IMAGE,
    INSERT_VECTOR,
    NAME_TAKEN,
    SELECT_FACES_OF_IMAGES,
    SELECT_SAME_IMAGES,
    insert_all,
)
from pipeline.gallery.trash import discard_many, reclaim
from pipeline.types import Embedding, VectorModel

TOKEN_BYTES = 18  # 24 characters of Base64

# How far a vector's length may be from 1: float32 sums of 512 squares stay within 1e-5.
LENGTH_TOLERANCE = 1e-3

# One face, embedded twice by one model from one picture, differs by rounding alone.
SAME_FACE_COSINE = 0.999

# Records that one picture may have under different ids: exact duplicates of a vector
# crowd out what stands beside them in a graph index.
MAX_COPIES = 16


@dataclass(frozen=True, slots=True)
class EnrolledImage:
    """What became of one picture: its row in ``images``, and the gallery's face for each
    face that was given, in order; ``added`` of them are new."""

    image_ref: int
    faces: tuple[int, ...]
    added: int


def enrol_many(
    connection: Connection, tenant_id: int, pictures: Sequence[EnrolmentRequest], now: float,
    key: DataKey | None = None,
) -> list[EnrolledImage | FaceError]:
    """Enrol the faces of pictures, or find them as they were enrolled before, by an
    earlier one of ``pictures``, too; bind them to the named collections in either case.
    One answer a picture, in order. With a ``key`` vectors are encrypted.

    A picture's own error (``BadVector``, ``FaceExists``, ``CollectionNotFound``) is its
    answer; it changes nothing, and what becomes of its objects is the caller's to say.
    Raises what hinders them all: ``PackMismatch``, ``TenantNotFound``.
    """
    writer = lock_tenant(connection, tenant_id, key)
    reclaim(connection, list(chain.from_iterable(map(_keys_of, pictures))))
    models = list(dict.fromkeys(each.model for each in pictures))
    if len(models) > 1:
        raise PackMismatch("pictures that are enrolled together come from one pack")
    for model in models:
        check_model(connection, tenant_id, model)
    entry = _Enrolment(writer, now, pictures)
    answers = [entry.place(each) for each in pictures]
    visits = [each for each in answers if isinstance(each, _Placement)]
    entry.match_faces(visits)
    entry.insert_rows(visits)
    entry.bind_collections(visits)
    entry.discard_duplicates(visits)
    return [each.result() if isinstance(each, _Placement) else each for each in answers]


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
class _KnownFace:
    """A face of a picture; ``id`` is 0 until it has a row."""

    embedding: Embedding
    id: int = 0


@dataclass(slots=True, eq=False)
class _KnownImage:
    """A picture of the gallery; ``id`` is 0 until it has a row. ``faceless``: it has lost its
    last face; ``temporary``: it is only stored for a while."""

    image_id: str
    media_key: str
    id: int = 0
    faceless: bool = False
    temporary: bool = False
    faces: list[_KnownFace] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Placement:
    """One of the new pictures: where it is put, and which faces there are its own.
    ``opened``: it was the one to bring that picture; ``fresh``: places of new faces."""

    request: EnrolmentRequest
    collections: list[Collection]
    picture: _KnownImage
    is_new_image: bool
    faces: list[_KnownFace] = field(default_factory=list)
    new_faces: list[int] = field(default_factory=list)

    def result(self) -> EnrolledImage:
        ids = tuple(face.id for face in self.faces)
        return EnrolledImage(self.picture.id, ids, len(self.new_faces))


class _Enrolment:
    """One call of ``enrol_many``."""

    def __init__(self, writer: GalleryWriter, now: float, many: Sequence[EnrolmentRequest]) -> None:
        self._writer = writer
        self._now = now
        asked = chain.from_iterable(each.collections for each in many)
        self._collections = find_collections(writer.connection, writer.tenant_id, asked)
        self._images_by_hash = self._read_images(many)
        self._taken = self._taken_ids(many)

    def place(self, wanted: EnrolmentRequest) -> _Placement | FaceError:
        """Find the picture's place, or say why it has none."""
        try:
            for face in wanted.faces:
                check_vector(face.embedding, wanted.model)
            groups = [self._collection(key) for key in dict.fromkeys(wanted.collections)]
            known = self._known(wanted)
            picture = known or self._new_image(wanted)
        except (BadVector, CollectionNotFound, FaceExists) as error:
            return error
        return _Placement(wanted, groups, picture, known is None)

    def match_faces(self, visits: Sequence[_Placement]) -> None:
        """Tell the faces that are there from those that are new."""
        stored = {visit.picture.id: visit.picture for visit in visits if visit.picture.id}
        for row in self._faces_on(list(stored)):
            vector = read_vector(row.vector, row.face_id, row.dimension, self._writer.key)
            stored[row.image_ref].faces.append(_KnownFace(vector, row.face_id))
        for visit in visits:
            before = list(visit.picture.faces)
            for place, face in enumerate(visit.request.faces):
                there = _take_matching(before, face.embedding)
                if there is None:
                    there = _KnownFace(face.embedding)
                    visit.picture.faces.append(there)
                    visit.new_faces.append(place)
                visit.faces.append(there)

    def insert_rows(self, visits: Sequence[_Placement]) -> None:
        """Write the rows of what is new."""
        writer = self._writer
        opened = [visit for visit in visits if visit.is_new_image]
        rows = [self._image_row(visit) for visit in opened]
        refs = insert_all(writer.connection, INSERT_IMAGE, rows)
        for visit, image_ref in zip(opened, refs, strict=True):
            visit.picture.id = image_ref
        added = [(visit, place) for visit in visits for place in visit.new_faces]
        rows = [self._face_row(visit, place) for visit, place in added]
        ids = insert_all(writer.connection, INSERT_FACE, rows)
        for (visit, place), face_id in zip(added, ids, strict=True):
            visit.faces[place].id = face_id
        fresh = [(visit.faces[place], visit.request.model) for visit, place in added]
        rows = [
            vector_row(writer, face.id, face.embedding, model, self._now) for face, model in fresh
        ]
        writer.log_changes(insert_all(writer.connection, INSERT_VECTOR, rows))

    def bind_collections(self, visits: Sequence[_Placement]) -> None:
        """Put every face into its picture's collections."""
        pairs = [
            (group.id, face.id)
            for visit in visits for group in visit.collections for face in visit.faces
        ]
        fresh = {visit.faces[place].id for visit in visits for place in visit.new_faces}
        changed = bind_pairs(self._writer, pairs, fresh)
        log_face_changes(self._writer, changed.difference(fresh))

    def discard_duplicates(self, visits: Sequence[_Placement]) -> None:
        """Discard the objects of what was there already."""
        unwanted: list[str] = []
        for visit in visits:
            if visit.is_new_image:
                continue
            self._reuse_image(visit)
            if visit.request.image.media_key != visit.picture.media_key:
                unwanted.append(visit.request.image.media_key)
            unwanted += [
                face.face_key for place, face in enumerate(visit.request.faces)
                if place not in visit.new_faces
            ]
        discard_many(self._writer.connection, self._writer.tenant_id, unwanted, self._now)

    # -- pictures -----------------------------------------------------------------

    def _read_images(self, many: Sequence[EnrolmentRequest]) -> dict[str, list[_KnownImage]]:
        """Those with the same bytes as one of ``many``, by their hash: first those that
        have a face, oldest first."""
        asked = {
            "tenant": self._writer.tenant_id, "hashes": [each.image.sha256 for each in many],
        }
        found: dict[str, list[_KnownImage]] = {}
        for row in self._writer.connection.execute(SELECT_SAME_IMAGES, asked):
            found.setdefault(row.sha256, []).append(
                _KnownImage(row.image_id, row.media_key, row.id,
                         row.former_face_id is not None, row.expires_at is not None)
            )
        return found

    def _taken_ids(self, many: Sequence[EnrolmentRequest]) -> set[str]:
        """The ids among those that the pictures may want that others have."""
        new = [
            each.image
            for each in many
            if each.must_be_new or each.image.sha256 not in self._images_by_hash
        ]
        if not new:
            return set()
        wanted = [name for image in new for name in (image.image_id, image.sha256)]
        asked = {"tenant": self._writer.tenant_id, "ids": wanted}
        return set(self._writer.connection.execute(IDS_TAKEN, asked).scalars())

    def _known(self, wanted: EnrolmentRequest) -> _KnownImage | None:
        """The picture with the same bytes; of several one that has a face, then the one
        under the same id. Raises ``FaceExists`` for one that must be new."""
        image = wanted.image
        there = self._images_by_hash.get(image.sha256, [])
        if not wanted.must_be_new:
            return min(
                there, default=None,
                key=lambda each: (each.temporary, each.faceless, each.image_id != image.image_id),
            )
        for each in there:
            if each.temporary and each.image_id == image.image_id:
                return each
        if len(there) >= MAX_COPIES or image.image_id in self._taken:
            raise FaceExists
        return None

    def _new_image(self, wanted: EnrolmentRequest) -> _KnownImage:
        """A place for a new picture. Raises ``FaceExists``."""
        image = wanted.image
        # Somebody may have chosen, for another picture, the id that this one's bytes give.
        free = (name for name in (image.image_id, image.sha256) if name not in self._taken)
        image_id = next(free, None)
        if image_id is None:
            raise FaceExists
        self._taken.add(image_id)
        picture = _KnownImage(image_id, image.media_key)
        self._images_by_hash.setdefault(image.sha256, []).append(picture)
        return picture

    def _reuse_image(self, visit: _Placement) -> None:
        """Use a stored picture: it has a face now."""
        picture = visit.picture
        reuse_image(self._writer.connection, picture.id, visit.request.image,
               faceless=picture.faceless, temporary=picture.temporary)
        picture.faceless = picture.temporary = False

    def _image_row(self, visit: _Placement) -> dict[str, Any]:
        image = visit.request.image
        return {
            "tenant_id": self._writer.tenant_id, "description": image.description,
            "created_at": self._now, **image_columns(image, visit.picture.image_id),
        }

    # -- faces --------------------------------------------------------------------

    def _faces_on(self, image_refs: list[int]) -> Iterable[Row[*tuple[Any, ...]]]:
        if not image_refs:
            return []
        return self._writer.connection.execute(SELECT_FACES_OF_IMAGES, {"images": image_refs})

    def _face_row(self, visit: _Placement, place: int) -> dict[str, Any]:
        face = visit.request.faces[place]
        return {
            "tenant_id": self._writer.tenant_id, "image_ref": visit.picture.id,
            "person_id": str(uuid.uuid4()), "face_token": secrets.token_urlsafe(TOKEN_BYTES),
            "name": _free_name(self._writer) if face.name is None else face.name,
            "gender": face.gender, "created_at": self._now, **face_columns(face),
        }

    def _collection(self, key: str) -> Collection:
        if key not in self._collections:
            raise CollectionNotFound(f"no collection {key!r}")
        return self._collections[key]


def _keys_of(new: EnrolmentRequest) -> list[str]:
    return [new.image.media_key, *(face.face_key for face in new.faces)]


def _take_matching(before: list[_KnownFace], embedding: Embedding) -> _KnownFace | None:
    """Take the face with this embedding out of ``before``."""
    for place, face in enumerate(before):
        if float(np.dot(face.embedding, embedding)) > SAME_FACE_COSINE:
            return before.pop(place)
    return None


def _free_name(writer: GalleryWriter) -> str:
    """The next ``IDN`` that no face of the tenant has."""
    while True:
        name = f"ID{writer.next_default_name()}"
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
    writer: GalleryWriter, face_id: int, vector: Embedding, model: VectorModel, now: float
) -> dict[str, Any]:
    """The row of a face's vector, encrypted where the tenant has a key."""
    return {
        "tenant_id": writer.tenant_id, "face_id": face_id, "pack": model.pack,
        "model_sha256": model.sha256, "dimension": model.dimension,
        "vector": stored_vector(vector, face_id, writer.key), "created_at": now,
    }


def reuse_image(
    connection: Connection, image_ref: int, image: NewImage, *, faceless: bool, temporary: bool
) -> None:
    """Let a stored picture have a face again that had lost its last (``faceless``), or was to
    go (``temporary``)."""
    changed: dict[str, Any] = {"former_face_id": None} if faceless else {}
    if temporary:
        changed |= {"expires_at": None, "description": image.description}
    if changed:
        connection.execute(update(images).where(images.c.id == image_ref).values(**changed))
