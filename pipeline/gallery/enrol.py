"""Putting faces into a gallery: the effects of jobs, each part of the transaction that
ends its job.

The media of an enrolment are stored before; what turns out not to be needed (the same
picture was enrolled meanwhile) is discarded in the same transaction.
"""

from __future__ import annotations

import secrets
import uuid
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, Select, delete, exists, select, update

from pipeline.database.schema import faces, images, vectors
from pipeline.errors import BadVector, FaceExists, FaceNotFound, PackMismatch
from pipeline.gallery.changes import Writer, last_model, read_vector, stored_vector, take
from pipeline.gallery.collections import bind, note_faces, resolve
from pipeline.gallery.erase import erase_bare
from pipeline.gallery.records import (
    Enrolled,
    Enrolment,
    FaceRecord,
    NewFace,
    NewImage,
    box_json,
    face_record,
)
from pipeline.gallery.statements import (
    ID_TAKEN,
    INSERT_FACE,
    INSERT_IMAGE,
    INSERT_VECTOR,
    NAME_TAKEN,
    PASSING_PICTURE,
    RECORDS,
    SAME_PICTURE,
)
from pipeline.gallery.trash import discard, reclaim
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


def enrol(
    connection: Connection, tenant_id: int, new: Enrolment, now: float,
    key: DataKey | None = None,
) -> Enrolled:
    """Enrol the faces of a picture, or find them as they were enrolled before; bind them
    to the named collections in either case. With a ``key`` vectors are encrypted.

    Raises ``FaceExists`` for a picture that is known when ``new.fresh``,
    ``PackMismatch``, ``BadVector``, ``CollectionNotFound``, ``TenantNotFound``.
    """
    for face in new.faces:
        check_vector(face.embedding, new.model)
    writer = take(connection, tenant_id, key)
    reclaim(connection, [new.image.media_key, *(face.face_key for face in new.faces)])
    check_model(connection, tenant_id, new.model)
    groups = resolve(connection, tenant_id, new.collections)
    find = PASSING_PICTURE if new.fresh else SAME_PICTURE
    known = _known(connection, tenant_id, new.image, find)
    if new.fresh and known is None:
        _check_fresh(connection, tenant_id, new.image)
    image_ref = _insert_image(writer, new.image, now) if known is None else known.id
    before = [] if known is None else _faces_on(writer, image_ref)
    kept = [_pick(before, face.embedding) for face in new.faces]
    added: dict[int, int] = {}  # new faces, and their labels
    ids = []
    for face, there in zip(new.faces, kept, strict=True):
        if there is None:
            there = _insert_face(writer, image_ref, face, now)
            added[there] = _insert_vector(writer, there, face.embedding, new.model, now)
        ids.append(there)
    changed = bind(writer, groups, ids, list(added))
    writer.note(added.values())
    note_faces(writer, changed.difference(added))
    if known is not None:
        _leave_behind(writer, known, new, kept, now)
    return Enrolled(_records(connection, ids), len(added))


def replace_face(
    connection: Connection, tenant_id: int, face_id: int, image: NewImage, face: NewFace,
    model: VectorModel, now: float, key: DataKey | None = None,
) -> FaceRecord:
    """Give a face another picture; its ids and its collections stay, and its name too
    when ``face.name`` is empty.

    Raises ``FaceNotFound`` (it may have been deleted since the job began),
    ``PackMismatch``, ``BadVector``.
    """
    check_vector(face.embedding, model)
    writer = take(connection, tenant_id, key)
    reclaim(connection, [image.media_key, face.face_key])
    old = _present(connection, tenant_id, face_id)
    check_model(connection, tenant_id, model)
    if face.name:
        _change_face(connection, face_id, name=face.name)
    if old.sha256 == image.sha256:
        for fresh, there in ((image.media_key, old.media_key), (face.face_key, old.face_key)):
            if fresh != there:
                discard(connection, tenant_id, fresh, now)
    else:
        _move(writer, old, image, now)
        discard(connection, tenant_id, old.face_key, now)
        _change_face(connection, face_id, **_seen(face))
        note_faces(writer, [face_id])
        connection.execute(delete(vectors).where(vectors.c.face_id == face_id))
        writer.note([_insert_vector(writer, face_id, face.embedding, model, now)])
    return _records(connection, [face_id])[0]


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


# Pictures ----------------------------------------------------------------------


def _known(
    connection: Connection, tenant_id: int, image: NewImage,
    find: Select[*tuple[Any, ...]] = SAME_PICTURE,
) -> Row[*tuple[Any, ...]] | None:
    """The stored image with the same bytes; of several one that has a face."""
    asked = {"tenant": tenant_id, "sha256": image.sha256, "image": image.image_id}
    return connection.execute(find, asked).one_or_none()


def _check_fresh(connection: Connection, tenant_id: int, image: NewImage) -> None:
    copies = connection.execute(
        select(images.c.id)
        .where(images.c.tenant_id == tenant_id, images.c.sha256 == image.sha256)
        .limit(MOST_COPIES)
    ).all()
    if len(copies) >= MOST_COPIES or _taken(connection, tenant_id, image.image_id):
        raise FaceExists


def _taken(connection: Connection, tenant_id: int, image_id: str) -> bool:
    asked = {"tenant": tenant_id, "image": image_id}
    return bool(connection.execute(ID_TAKEN, asked).scalar_one())


def _picture_values(connection: Connection, tenant_id: int, image: NewImage) -> dict[str, Any]:
    """The columns of a picture that is not stored yet."""
    image_id = image.image_id
    if _taken(connection, tenant_id, image_id):
        # Somebody chose, for another picture, the id that this one's bytes give.
        image_id = image.sha256
        if _taken(connection, tenant_id, image_id):
            raise FaceExists
    return {
        "image_id": image_id, "sha256": image.sha256, "media_key": image.media_key,
        "size": image.size, "width": image.width, "height": image.height,
        "format": image.format,
    }


def _insert_image(writer: Writer, image: NewImage, now: float) -> int:
    values = _picture_values(writer.connection, writer.tenant_id, image)
    image_ref: int = writer.connection.execute(
        INSERT_IMAGE,
        {
            "tenant_id": writer.tenant_id, "description": image.description, "created_at": now,
            **values,
        },
    ).scalar_one()
    return image_ref


def _move(writer: Writer, old: Row[*tuple[Any, ...]], image: NewImage, now: float) -> None:
    """Hang a face onto another picture; the old one goes unless other faces are on it."""
    connection = writer.connection
    known = _known(connection, writer.tenant_id, image)
    others = exists().where(faces.c.image_ref == old.image_ref, faces.c.id != old.id)
    if known is None and not connection.execute(select(others)).scalar_one():
        values = _picture_values(connection, writer.tenant_id, image)
        connection.execute(update(images).where(images.c.id == old.image_ref).values(**values))
        discard(connection, writer.tenant_id, old.media_key, now)
        return
    if known is None:
        target = _insert_image(writer, image, now)
    else:
        target = known.id
        _occupy(writer, known, image, now)
    _change_face(connection, old.id, image_ref=target)
    erase_bare(writer, images.c.id == old.image_ref, now)


def _occupy(
    writer: Writer, known: Row[*tuple[Any, ...]], image: NewImage, now: float
) -> None:
    """Use a stored picture again: it has a face now, and one object is enough."""
    changed: dict[str, Any] = {}
    if known.former_face_id is not None:
        changed["former_face_id"] = None
    if known.expires_at is not None:
        changed |= {"expires_at": None, "description": image.description}
    if changed:
        writer.connection.execute(
            update(images).where(images.c.id == known.id).values(**changed)
        )
    if image.media_key != known.media_key:
        discard(writer.connection, writer.tenant_id, image.media_key, now)


# Faces -------------------------------------------------------------------------


def _faces_on(writer: Writer, image_ref: int) -> list[tuple[int, Embedding]]:
    rows = writer.connection.execute(
        select(vectors.c.face_id, vectors.c.dimension, vectors.c.vector)
        .join(faces, faces.c.id == vectors.c.face_id)
        .where(faces.c.image_ref == image_ref)
        .order_by(faces.c.id)
    )
    return [
        (row.face_id, read_vector(row.vector, row.face_id, row.dimension, writer.key))
        for row in rows
    ]


def _pick(before: list[tuple[int, Embedding]], embedding: Embedding) -> int | None:
    """Take the face with this embedding out of ``before``."""
    for place, (face_id, vector) in enumerate(before):
        if float(np.dot(vector, embedding)) > SAME_FACE:
            del before[place]
            return face_id
    return None


def _insert_face(writer: Writer, image_ref: int, face: NewFace, now: float) -> int:
    face_id: int = writer.connection.execute(
        INSERT_FACE,
        {
            "tenant_id": writer.tenant_id, "image_ref": image_ref,
            "person_id": str(uuid.uuid4()), "face_token": secrets.token_urlsafe(TOKEN_BYTES),
            "name": _free_name(writer) if face.name is None else face.name,
            "gender": face.gender, "created_at": now, **_seen(face),
        },
    ).scalar_one()
    return face_id


def _insert_vector(
    writer: Writer, face_id: int, vector: Embedding, model: VectorModel, now: float
) -> int:
    """The vector's label."""
    label: int = writer.connection.execute(
        INSERT_VECTOR,
        {
            "tenant_id": writer.tenant_id, "face_id": face_id, "pack": model.pack,
            "model_sha256": model.sha256, "dimension": model.dimension,
            "vector": stored_vector(vector, face_id, writer.key), "created_at": now,
        },
    ).scalar_one()
    return label


def _seen(face: NewFace) -> dict[str, Any]:
    """The columns that come from the picture."""
    return {
        "box": box_json(face.box), "landmarks": face.landmarks, "score": face.score,
        "quality": face.quality, "face_key": face.face_key,
    }


def _free_name(writer: Writer) -> str:
    """The next ``IDN`` that no face of the tenant has."""
    while True:
        name = f"ID{writer.next_unnamed()}"
        asked = {"tenant": writer.tenant_id, "name": name}
        if not writer.connection.execute(NAME_TAKEN, asked).scalar_one():
            return name


def _present(connection: Connection, tenant_id: int, face_id: int) -> Row[*tuple[Any, ...]]:
    row = connection.execute(
        select(
            faces.c.id, faces.c.image_ref, faces.c.face_key, images.c.sha256, images.c.media_key
        )
        .join(images, images.c.id == faces.c.image_ref)
        .where(faces.c.tenant_id == tenant_id, faces.c.id == face_id)
    ).one_or_none()
    if row is None:
        raise FaceNotFound
    return row


def _change_face(connection: Connection, face_id: int, **values: Any) -> None:
    connection.execute(update(faces).where(faces.c.id == face_id).values(**values))


def _leave_behind(
    writer: Writer, known: Row[*tuple[Any, ...]], new: Enrolment, kept: list[int | None],
    now: float,
) -> None:
    """Discard the objects of what was there already."""
    _occupy(writer, known, new.image, now)
    for face, there in zip(new.faces, kept, strict=True):
        if there is not None:
            discard(writer.connection, writer.tenant_id, face.face_key, now)


def _records(connection: Connection, ids: list[int]) -> tuple[FaceRecord, ...]:
    rows = connection.execute(RECORDS, {"ids": ids})
    found = {row.id: face_record(row) for row in rows}
    return tuple(found[face_id] for face_id in ids)
