"""Enrolling faces: any number of pictures with as many statements as one.

Part of the transaction that ends a job. The objects are stored before; those that turn out
not to be needed (the same picture was enrolled meanwhile, or occurs twice among the new ones)
are discarded in the same transaction.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, exists, select

from pipeline.database.among import among
from pipeline.database.many_rows import take_ids
from pipeline.database.schema import faces, images, vectors
from pipeline.encryption.data_key import DataKey
from pipeline.errors import BadVector, CollectionNotFound, FaceError, FaceExists, PackMismatch
from pipeline.gallery.collections import bind_pairs, find_collections, log_face_changes
from pipeline.gallery.known_images import MAX_COPIES, KnownFace, KnownImage, KnownImages
from pipeline.gallery.records import (
    Collection,
    EnrolmentRequest,
    EnrolmentResult,
    NewFace,
    faces_by_id,
)
from pipeline.gallery.rows import face_columns, new_image_row, read_vector, vector_row
from pipeline.gallery.trash import discard_many, reclaim
from pipeline.gallery.writer import GalleryWriter, last_model, lock_tenant
from pipeline.types import Embedding, VectorModel

TOKEN_BYTES = 18  # 24 characters of Base64

# How far a vector's length may be from 1: float32 sums of 512 squares stay within 1e-5.
LENGTH_TOLERANCE = 1e-3

# One face, embedded twice by one model from one picture, differs by rounding alone.
SAME_FACE_COSINE = 0.999

_NAME_TAKEN = select(
    exists().where(faces.c.tenant_id == bindparam("tenant"), faces.c.name == bindparam("name"))
)

_SELECT_FACES_OF_IMAGES = (
    select(
        faces.c.image_ref, faces.c.name, vectors.c.face_id, vectors.c.dimension, vectors.c.vector
    )
    .join(faces, faces.c.id == vectors.c.face_id)
    .where(among(faces.c.image_ref, "images"))
    .order_by(faces.c.id)
)


@dataclass(frozen=True, slots=True)
class EnrolledImage:
    """The row of a picture in ``images``, and the gallery's face for each face of the
    request, in order; ``added`` of them are new."""

    image_ref: int
    faces: tuple[int, ...]
    added: int


def enrol(
    connection: Connection, tenant_id: int, request: EnrolmentRequest, now: float,
    key: DataKey | None = None,
) -> EnrolmentResult:
    """Enrol the faces of one picture: ``enrol_many``, which raises the picture's error."""
    (enrolled,) = enrol_many(connection, tenant_id, [request], now, key)
    if isinstance(enrolled, FaceError):
        raise enrolled
    return EnrolmentResult(faces_by_id(connection, enrolled.faces), enrolled.added)


def enrol_many(
    connection: Connection, tenant_id: int, requests: Sequence[EnrolmentRequest], now: float,
    key: DataKey | None = None,
) -> list[EnrolledImage | FaceError]:
    """Enrol the faces of pictures, or find them as they were enrolled before (also by an
    earlier one of ``requests``); bind them to the named collections in either case. Returns
    one answer for each picture, in order. With a ``key`` vectors are encrypted.

    A picture's own error (``BadVector``, ``FaceExists``, ``CollectionNotFound``) is its
    answer. It changes nothing, and the caller decides about its objects. Raises
    errors that concern all of them: ``PackMismatch``, ``TenantNotFound``, and ``FaceExists``
    for a picture that is enrolled ``by_name`` under too many names.
    """
    return enrol_locked(lock_tenant(connection, tenant_id, key), requests, now)


def enrol_locked(
    writer: GalleryWriter, requests: Sequence[EnrolmentRequest], now: float
) -> list[EnrolledImage | FaceError]:
    """``enrol_many`` into a gallery that this transaction has locked."""
    reclaim(writer.connection, [
        key for each in requests
        for key in (each.image.media_key, *(face.face_key for face in each.faces))
    ])
    models = list(dict.fromkeys(each.model for each in requests))
    if len(models) > 1:
        raise PackMismatch("pictures that are enrolled together come from one pack")
    for model in models:
        check_model(writer.connection, writer.tenant_id, model)
    enrolment = _Enrolment(writer, now, requests)
    answers = [enrolment.place(each) for each in requests]
    placements = [each for each in answers if isinstance(each, _Placement)]
    enrolment.match_faces(placements)
    enrolment.insert_rows(placements)
    enrolment.bind_collections(placements)
    enrolment.discard_duplicates(placements)
    return [each.result() if isinstance(each, _Placement) else each for each in answers]


def check_vector(vector: Embedding, model: VectorModel) -> None:
    """Raises ``BadVector`` for a vector that an index cannot hold."""
    if vector.shape != (model.dimension,):
        raise BadVector(f"a vector of shape {vector.shape} from a model of {model.dimension}")
    if not np.isfinite(vector).all():
        raise BadVector
    if abs(float(np.linalg.norm(vector)) - 1.0) > LENGTH_TOLERANCE:
        raise BadVector


def check_model(connection: Connection, tenant_id: int, model: VectorModel) -> None:
    """Raises ``PackMismatch`` when the gallery's vectors come from another model."""
    present = last_model(connection, tenant_id)
    if present is not None and present != model:
        raise PackMismatch(
            f"The gallery was made with the pack {present.pack!r} and {model.pack!r} is served; "
            "enrol it anew to change the pack."
        )


@dataclass(slots=True, eq=False)
class _Placement:
    """The image of a picture of the request, which the picture may have added, and the
    image's faces that come from it. ``new_faces`` are indices into the request's faces."""

    request: EnrolmentRequest
    collections: list[Collection]
    image: KnownImage
    is_new_image: bool
    faces: list[KnownFace] = field(default_factory=list)
    new_faces: list[int] = field(default_factory=list)

    def result(self) -> EnrolledImage:
        ids = tuple(face.id for face in self.faces)
        return EnrolledImage(self.image.id, ids, len(self.new_faces))


class _Enrolment:
    """One call of ``enrol_many``."""

    def __init__(
        self, writer: GalleryWriter, now: float, requests: Sequence[EnrolmentRequest]
    ) -> None:
        self._writer = writer
        self._now = now
        named = chain.from_iterable(each.collections for each in requests)
        self._collections = find_collections(writer.connection, writer.tenant_id, named)
        self._images = KnownImages(writer, requests)

    def place(self, request: EnrolmentRequest) -> _Placement | FaceError:
        """Find the image of a picture, or the error that prevents it."""
        try:
            for face in request.faces:
                check_vector(face.embedding, request.model)
            collections = [self._collection(key) for key in dict.fromkeys(request.collections)]
            return _Placement(request, collections, *self._images.place(request))
        except (BadVector, CollectionNotFound, FaceExists) as error:
            return error

    def match_faces(self, placements: Sequence[_Placement]) -> None:
        """Tell the faces that are enrolled already from the new ones."""
        stored = {
            image.id: image
            for each in placements for image in self._searched_images(each) if image.id
        }
        if stored:
            rows = self._writer.connection.execute(
                _SELECT_FACES_OF_IMAGES, {"images": list(stored)}
            )
            for row in rows:
                vector = read_vector(row.vector, row.face_id, row.dimension, self._writer.key)
                stored[row.image_ref].faces.append(KnownFace(vector, row.name, row.face_id))
        for each in placements:
            unmatched = [face for image in self._searched_images(each) for face in image.faces]
            for place, face in enumerate(each.request.faces):
                known = _take_matching(unmatched, face, by_name=each.request.by_name)
                if known is None:
                    if each.request.by_name and len(unmatched) >= MAX_COPIES:
                        raise FaceExists(f"The picture is enrolled under {MAX_COPIES} names.")
                    known = KnownFace(face.embedding, face.name)
                    each.image.faces.append(known)
                    each.new_faces.append(place)
                each.faces.append(known)

    def _searched_images(self, placement: _Placement) -> list[KnownImage]:
        """The images among whose faces those of a picture may be. A name is looked for in
        all that have the picture's bytes."""
        request = placement.request
        return self._images.same_as(request) if request.by_name else [placement.image]

    def insert_rows(self, placements: Sequence[_Placement]) -> None:
        """Insert new images, faces and vectors."""
        writer = self._writer
        with_new_image = [each for each in placements if each.is_new_image]
        new = [(each, place) for each in placements for place in each.new_faces]
        refs, ids, labels = take_ids(
            writer.connection,
            {images.c.id: len(with_new_image), faces.c.id: len(new), vectors.c.label: len(new)},
        )
        for each, image_ref in zip(with_new_image, refs, strict=True):
            each.image.id = image_ref
        for (each, place), face_id in zip(new, ids, strict=True):
            each.faces[place].id = face_id
        writer.log_changes(labels, {
            images: [
                {"id": each.image.id, **new_image_row(
                    writer.tenant_id, each.request.image, each.image.image_id, self._now
                )}
                for each in with_new_image
            ],
            faces: [self._face_row(*each) for each in new],
            vectors: [
                {"label": label, **vector_row(
                    writer, face.id, face.embedding, each.request.model, self._now
                )}
                for label, (each, place) in zip(labels, new, strict=True)
                for face in [each.faces[place]]
            ],
        })

    def bind_collections(self, placements: Sequence[_Placement]) -> None:
        """Put every face into its picture's collections."""
        pairs = [
            (collection.id, face.id)
            for each in placements for collection in each.collections for face in each.faces
        ]
        new = {each.faces[place].id for each in placements for place in each.new_faces}
        changed = bind_pairs(self._writer, pairs, new)
        log_face_changes(self._writer, changed.difference(new))

    def discard_duplicates(self, placements: Sequence[_Placement]) -> None:
        """Discard the objects of pictures and faces that were enrolled already."""
        unwanted: list[str] = []
        for each in placements:
            if each.is_new_image:
                continue
            image = each.request.image
            each.image.reuse(self._writer, image)
            if image.media_key != each.image.media_key:
                unwanted.append(image.media_key)
            unwanted += [
                face.face_key for place, face in enumerate(each.request.faces)
                if place not in each.new_faces
            ]
        discard_many(self._writer.connection, self._writer.tenant_id, unwanted, self._now)

    def _face_row(self, placement: _Placement, place: int) -> dict[str, Any]:
        face = placement.request.faces[place]
        return {
            "id": placement.faces[place].id,
            "tenant_id": self._writer.tenant_id, "image_ref": placement.image.id,
            "person_id": str(uuid.uuid4()), "face_token": secrets.token_urlsafe(TOKEN_BYTES),
            "name": _default_name(self._writer) if face.name is None else face.name,
            "gender": face.gender, "created_at": self._now, **face_columns(face),
        }

    def _collection(self, key: str) -> Collection:
        if key not in self._collections:
            raise CollectionNotFound(f"no collection {key!r}")
        return self._collections[key]


def _take_matching(
    known: list[KnownFace], face: NewFace, *, by_name: bool
) -> KnownFace | None:
    """Remove the face with this embedding, and this name if it counts, from ``known`` and
    return it."""
    for place, each in enumerate(known):
        is_same = float(np.dot(each.embedding, face.embedding)) > SAME_FACE_COSINE
        if is_same and (not by_name or each.name == face.name):
            return known.pop(place)
    return None


def _default_name(writer: GalleryWriter) -> str:
    """The next ``IDN`` that no face of the tenant has."""
    while True:
        name = f"ID{writer.next_default_name()}"
        values = {"tenant": writer.tenant_id, "name": name}
        if not writer.connection.execute(_NAME_TAKEN, values).scalar_one():
            return name
