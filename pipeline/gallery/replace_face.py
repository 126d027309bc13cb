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
from pipeline.encryption.vault import DataKey
from pipeline.errors import FaceError, FaceExists, FaceNotFound
from pipeline.gallery.batch_items import erase_item_details
from pipeline.gallery.change_log import GalleryWriter, lock_tenant
from pipeline.gallery.collections import log_face_changes
from pipeline.gallery.enrolment import (
    check_model,
    check_vector,
    enrol_many,
    face_columns,
    image_columns,
    reuse_image,
    vector_row,
)
from pipeline.gallery.erase import erase_faceless_images
from pipeline.gallery.records import (
    EnrolmentRequest,
    EnrolmentResult,
    FaceRecord,
    NewFace,
    NewImage,
    face_from_row,
)
from pipeline.gallery.statements import (
    ID_TAKEN,
    INSERT_IMAGE,
    INSERT_VECTOR,
    SELECT_FACES_BY_ID,
    SELECT_SAME_IMAGE,
)
from pipeline.gallery.trash import discard, reclaim
from pipeline.types import VectorModel


def enrol(
    connection: Connection, tenant_id: int, new: EnrolmentRequest, now: float,
    key: DataKey | None = None,
) -> EnrolmentResult:
    """Enrol the faces of a picture, or find them as they were enrolled before; bind them
    to the named collections in either case. With a ``key`` vectors are encrypted.

    Raises ``FaceExists`` for a picture that is known when ``new.fresh``,
    ``PackMismatch``, ``BadVector``, ``CollectionNotFound``, ``TenantNotFound``.
    """
    (entered,) = enrol_many(connection, tenant_id, [new], now, key)
    if isinstance(entered, FaceError):
        raise entered
    return EnrolmentResult(_records(connection, entered.faces), entered.added)


def replace_face(
    connection: Connection, tenant_id: int, face_id: int, image: NewImage, face: NewFace,
    model: VectorModel, now: float, key: DataKey | None = None,
) -> FaceRecord:
    """Give a face another picture; its ids and its collections stay, and its name too
    when ``face.enrolled_name`` is empty.

    Raises ``FaceNotFound`` (it may have been deleted since the job began),
    ``PackMismatch``, ``BadVector``.
    """
    check_vector(face.embedding, model)
    writer = lock_tenant(connection, tenant_id, key)
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
        _move_to_image(writer, old, image, now)
        discard(connection, tenant_id, old.face_key, now)
        _change_face(connection, face_id, **face_columns(face))
        log_face_changes(writer, [face_id])
        connection.execute(delete(vectors).where(vectors.c.face_id == face_id))
        row = vector_row(writer, face_id, face.embedding, model, now)
        writer.log_changes([connection.execute(INSERT_VECTOR, row).scalar_one()])
    return _records(connection, [face_id])[0]


# Pictures ----------------------------------------------------------------------


def _known(
    connection: Connection, tenant_id: int, image: NewImage
) -> Row[*tuple[Any, ...]] | None:
    """The stored image with the same bytes; of several one that has a face."""
    asked = {"tenant": tenant_id, "sha256": image.sha256, "image": image.image_id}
    return connection.execute(SELECT_SAME_IMAGE, asked).one_or_none()


def _image_id_taken(connection: Connection, tenant_id: int, image_id: str) -> bool:
    asked = {"tenant": tenant_id, "image": image_id}
    return bool(connection.execute(ID_TAKEN, asked).scalar_one())


def _picture_values(connection: Connection, tenant_id: int, image: NewImage) -> dict[str, Any]:
    """The columns of a picture that is not stored yet."""
    image_id = image.image_id
    if _image_id_taken(connection, tenant_id, image_id):
        # Somebody chose, for another picture, the id that this one's bytes give.
        image_id = image.sha256
        if _image_id_taken(connection, tenant_id, image_id):
            raise FaceExists
    return image_columns(image, image_id)


def _insert_image(writer: GalleryWriter, image: NewImage, now: float) -> int:
    values = _picture_values(writer.connection, writer.tenant_id, image)
    image_ref: int = writer.connection.execute(
        INSERT_IMAGE,
        {
            "tenant_id": writer.tenant_id, "description": image.description, "created_at": now,
            **values,
        },
    ).scalar_one()
    return image_ref


def _move_to_image(
    writer: GalleryWriter, old: Row[*tuple[Any, ...]], image: NewImage, now: float
) -> None:
    """Hang a face onto another picture; the old one goes unless other faces are on it."""
    connection = writer.connection
    known = _known(connection, writer.tenant_id, image)
    others = exists().where(faces.c.image_ref == old.image_ref, faces.c.id != old.id)
    if known is None and not connection.execute(select(others)).scalar_one():
        values = _picture_values(connection, writer.tenant_id, image)
        connection.execute(update(images).where(images.c.id == old.image_ref).values(**values))
        erase_item_details(connection, [old.image_ref], now)
        discard(connection, writer.tenant_id, old.media_key, now)
        return
    if known is None:
        target = _insert_image(writer, image, now)
    else:
        target = known.id
        _reuse_image(writer, known, image, now)
    _change_face(connection, old.id, image_ref=target)
    erase_faceless_images(writer, images.c.id == old.image_ref, now)


def _reuse_image(
    writer: GalleryWriter, known: Row[*tuple[Any, ...]], image: NewImage, now: float
) -> None:
    """Use a stored picture again: it has a face now, and one object is enough."""
    reuse_image(
        writer.connection, known.id, image, faceless=known.former_face_id is not None,
        temporary=known.expires_at is not None,
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
    rows = connection.execute(SELECT_FACES_BY_ID, {"ids": list(ids)})
    found = {row.id: face_from_row(row) for row in rows}
    return tuple(found[face_id] for face_id in ids)
