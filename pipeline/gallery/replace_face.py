"""Giving an enrolled face another picture, as part of the transaction that ends a job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, select, update

from pipeline.database.schema import faces, images, other_vectors, vectors
from pipeline.encryption.data_key import DataKey
from pipeline.errors import FaceNotFound
from pipeline.gallery.collections import log_face_changes
from pipeline.gallery.enrolment import check_model, check_vector
from pipeline.gallery.erase import erase_faceless_images, erase_item_details
from pipeline.gallery.known_images import KnownImages
from pipeline.gallery.records import EnrolmentRequest, FaceRecord, NewFace, NewImage, faces_by_id
from pipeline.gallery.rows import (
    INSERT_IMAGE,
    INSERT_VECTOR,
    face_columns,
    new_image_row,
    vector_row,
)
from pipeline.gallery.trash import discard, reclaim
from pipeline.gallery.writer import GalleryWriter, lock_tenant
from pipeline.types import VectorModel


def replace_face(
    connection: Connection, tenant_id: int, face_id: int, image: NewImage, face: NewFace,
    model: VectorModel, now: float, key: DataKey | None = None,
) -> FaceRecord:
    """Give a face another picture. Its ids and collections stay, and its name, too, when
    ``face.name`` is empty.

    Raises ``FaceNotFound`` (the face may have been deleted since the job began),
    ``PackMismatch``, ``BadVector``.
    """
    check_vector(face.embedding, model)
    writer = lock_tenant(connection, tenant_id, key)
    reclaim(connection, [image.media_key, face.face_key])
    old = _stored_face(connection, tenant_id, face_id)
    check_model(connection, tenant_id, model)
    if face.name:
        _update_face(connection, face_id, name=face.name)
    if old.sha256 == image.sha256:
        for fresh, stored in ((image.media_key, old.media_key), (face.face_key, old.face_key)):
            if fresh != stored:
                discard(connection, tenant_id, fresh, now)
    else:
        _move_to_image(writer, old, EnrolmentRequest(image, (face,), model), now)
        discard(connection, tenant_id, old.face_key, now)
        _update_face(connection, face_id, **face_columns(face))
        log_face_changes(writer, [face_id])
        for table in (vectors, other_vectors):
            connection.execute(delete(table).where(table.c.face_id == face_id))
        row = vector_row(writer, face_id, face.embedding, model, now)
        writer.log_changes([connection.execute(INSERT_VECTOR, row).scalar_one()])
    return faces_by_id(connection, [face_id])[0]


def _move_to_image(
    writer: GalleryWriter, old: Row[*tuple[Any, ...]], request: EnrolmentRequest, now: float
) -> None:
    """Attach a face to another image; the old one is deleted unless it has other faces."""
    connection, tenant_id, image = writer.connection, writer.tenant_id, request.image
    target, is_new = KnownImages(writer, [request]).place(request)
    others = exists().where(faces.c.image_ref == old.image_ref, faces.c.id != old.id)
    if is_new and not connection.execute(select(others)).scalar_one():
        # The description is the image's, not the file's.
        values = {**asdict(image), "image_id": target.image_id}
        del values["description"]
        connection.execute(update(images).where(images.c.id == old.image_ref).values(**values))
        erase_item_details(connection, [old.image_ref], now)
        discard(connection, tenant_id, old.media_key, now)
        return
    if is_new:
        row = new_image_row(tenant_id, image, target.image_id, now)
        target.id = connection.execute(INSERT_IMAGE, row).scalar_one()
    else:
        target.reuse(writer, image)
        if image.media_key != target.media_key:
            discard(connection, tenant_id, image.media_key, now)
    _update_face(connection, old.id, image_ref=target.id)
    erase_faceless_images(writer, images.c.id == old.image_ref, now)


def _stored_face(connection: Connection, tenant_id: int, face_id: int) -> Row[*tuple[Any, ...]]:
    row = connection.execute(
        select(faces.c.id, faces.c.image_ref, faces.c.face_key, images.c.sha256, images.c.media_key)
        .join(images, images.c.id == faces.c.image_ref)
        .where(faces.c.tenant_id == tenant_id, faces.c.id == face_id)
    ).one_or_none()
    if row is None:
        raise FaceNotFound
    return row


def _update_face(connection: Connection, face_id: int, **values: Any) -> None:
    connection.execute(update(faces).where(faces.c.id == face_id).values(**values))
