"""Putting faces into a gallery: the effects of jobs, each part of the transaction that
ends its job.

The media of an enrolment are stored before; what turns out not to be needed (the same
picture was enrolled meanwhile) is discarded in the same transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from pipeline.database.schema import faces, images, vectors
from pipeline.errors import FaceError, FaceExists, FaceNotFound
from pipeline.gallery.batched import forget_items
from pipeline.gallery.changes import Writer, take
from pipeline.gallery.collections import note_faces
from pipeline.gallery.entering import (
    check_model,
    check_vector,
    enter,
    face_columns,
    image_columns,
    occupy,
    vector_row,
)
from pipeline.gallery.erase import erase_bare
from pipeline.gallery.records import (
    Enrolled,
    Enrolment,
    FaceRecord,
    NewFace,
    NewImage,
    face_record,
)
from pipeline.gallery.statements import (
    ID_TAKEN,
    INSERT_IMAGE,
    INSERT_VECTOR,
    RECORDS,
    SAME_PICTURE,
)
from pipeline.gallery.trash import discard, reclaim
from pipeline.secrets import DataKey
from pipeline.types import VectorModel


def enrol(
    connection: Connection, tenant_id: int, new: Enrolment, now: float,
    key: DataKey | None = None,
) -> Enrolled:
    """Enrol the faces of a picture, or find them as they were enrolled before; bind them
    to the named collections in either case. With a ``key`` vectors are encrypted.

    Raises ``FaceExists`` for a picture that is known when ``new.fresh``,
    ``PackMismatch``, ``BadVector``, ``CollectionNotFound``, ``TenantNotFound``.
    """
    (entered,) = enter(connection, tenant_id, [new], now, key)
    if isinstance(entered, FaceError):
        raise entered
    return Enrolled(_records(connection, entered.faces), entered.added)


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
        _change_face(connection, face_id, **face_columns(face))
        note_faces(writer, [face_id])
        connection.execute(delete(vectors).where(vectors.c.face_id == face_id))
        row = vector_row(writer, face_id, face.embedding, model, now)
        writer.note([connection.execute(INSERT_VECTOR, row).scalar_one()])
    return _records(connection, [face_id])[0]


# Pictures ----------------------------------------------------------------------


def _known(
    connection: Connection, tenant_id: int, image: NewImage
) -> Row[*tuple[Any, ...]] | None:
    """The stored image with the same bytes; of several one that has a face."""
    asked = {"tenant": tenant_id, "sha256": image.sha256, "image": image.image_id}
    return connection.execute(SAME_PICTURE, asked).one_or_none()


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
    return image_columns(image, image_id)


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
        forget_items(connection, [old.image_ref], now)
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
    occupy(
        writer.connection, known.id, image, bare=known.former_face_id is not None,
        passing=known.expires_at is not None,
    )
    if image.media_key != known.media_key:
        discard(writer.connection, writer.tenant_id, image.media_key, now)


# Faces -------------------------------------------------------------------------


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


def _records(connection: Connection, ids: Sequence[int]) -> tuple[FaceRecord, ...]:
    rows = connection.execute(RECORDS, {"ids": list(ids)})
    found = {row.id: face_record(row) for row in rows}
    return tuple(found[face_id] for face_id in ids)
