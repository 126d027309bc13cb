"""The statements of an enrolment, built once: building one costs as much as running it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    delete,
    exists,
    insert,
    select,
    update,
)
from sqlalchemy.sql.dml import ReturningInsert

from pipeline.database.schema import changes, discarded, faces, images, tenants, vectors

_TENANT: BindParameter[int] = bindparam("tenant")

LOCK_TENANT = (
    select(tenants.c.log_number, tenants.c.unnamed)
    .where(tenants.c.id == _TENANT)
    # FOR NO KEY UPDATE: rows that refer to the tenant, above all jobs, may be added meanwhile.
    .with_for_update(key_share=True)
)

# Executed with the columns to set beside the tenant.
UPDATE_TENANT = update(tenants).where(tenants.c.id == bindparam("tenant"))

INSERT_CHANGE = insert(changes)

SELECT_LAST_MODEL = (
    select(vectors.c.pack, vectors.c.model_sha256, vectors.c.dimension)
    .where(vectors.c.tenant_id == _TENANT)
    .order_by(vectors.c.label.desc()).limit(1)
)

SELECT_SAME_IMAGES = (
    select(
        images.c.id, images.c.sha256, images.c.image_id, images.c.media_key,
        images.c.former_face_id, images.c.expires_at,
    )
    .where(images.c.tenant_id == _TENANT, images.c.sha256.in_(bindparam("hashes", expanding=True)))
    .order_by(images.c.id)
)

SELECT_TAKEN_IDS = select(images.c.image_id).where(
    images.c.tenant_id == _TENANT, images.c.image_id.in_(bindparam("ids", expanding=True))
)

NAME_TAKEN = select(
    exists().where(faces.c.tenant_id == _TENANT, faces.c.name == bindparam("name"))
)

SELECT_FACES_OF_IMAGES = (
    select(faces.c.image_ref, vectors.c.face_id, vectors.c.dimension, vectors.c.vector)
    .join(faces, faces.c.id == vectors.c.face_id)
    .where(faces.c.image_ref.in_(bindparam("images", expanding=True)))
    .order_by(faces.c.id)
)

# For one row or many; the ids come in the order of the rows.
INSERT_IMAGE = insert(images).returning(images.c.id, sort_by_parameter_order=True)
INSERT_FACE = insert(faces).returning(faces.c.id, sort_by_parameter_order=True)
INSERT_VECTOR = insert(vectors).returning(vectors.c.label, sort_by_parameter_order=True)

RECLAIM = delete(discarded).where(discarded.c.media_key.in_(bindparam("keys", expanding=True)))


def insert_all(
    connection: Connection, statement: ReturningInsert[int],
    rows: Sequence[Mapping[str, Any]],
) -> list[int]:
    """Insert ``rows``; returns what the statement returns for each, in order."""
    if not rows:
        return []
    # A single row spares SQLAlchemy the search for batches.
    given = rows[0] if len(rows) == 1 else rows
    return list(connection.execute(statement, given).scalars())
