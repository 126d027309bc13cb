"""The statements of an enrolment, built once: putting one together anew costs as much as
running it."""

from __future__ import annotations

from sqlalchemy import BindParameter, bindparam, delete, exists, insert, select, update

from pipeline.database.schema import changes, discarded, faces, images, tenants, vectors
from pipeline.gallery.records import FACES

_TENANT: BindParameter[int] = bindparam("tenant")

TAKE = (
    select(tenants.c.log_number, tenants.c.unnamed)
    .where(tenants.c.id == _TENANT)
    # NO KEY: rows that name the tenant may be added meanwhile, jobs above all.
    .with_for_update(key_share=True)
)

# Executed with the columns to set beside the name.
SET_TENANT = update(tenants).where(tenants.c.id == bindparam("tenant"))

INSERT_CHANGE = insert(changes)

LAST_MODEL = (
    select(vectors.c.pack, vectors.c.model_sha256, vectors.c.dimension)
    .where(vectors.c.tenant_id == _TENANT)
    .order_by(vectors.c.label.desc()).limit(1)
)

_KNOWN = select(
    images.c.id, images.c.media_key, images.c.former_face_id, images.c.expires_at
).where(images.c.tenant_id == _TENANT, images.c.sha256 == bindparam("sha256"))

# The stored image with the same bytes; of several one that has a face, then the one
# under the same id.
SAME_PICTURE = (
    _KNOWN.order_by(
        images.c.expires_at.is_not(None),
        images.c.former_face_id.is_not(None),
        (images.c.image_id == bindparam("image")).desc(),
        images.c.id,
    )
    .limit(1)
)

# The same with this id, when it is only stored for a while.
PASSING_PICTURE = _KNOWN.where(
    images.c.image_id == bindparam("image"), images.c.expires_at.is_not(None)
)

ID_TAKEN = select(
    exists().where(images.c.tenant_id == _TENANT, images.c.image_id == bindparam("image"))
)

NAME_TAKEN = select(
    exists().where(faces.c.tenant_id == _TENANT, faces.c.name == bindparam("name"))
)

INSERT_IMAGE = insert(images).returning(images.c.id)
INSERT_FACE = insert(faces).returning(faces.c.id)
INSERT_VECTOR = insert(vectors).returning(vectors.c.label)

RECORDS = FACES.where(faces.c.id.in_(bindparam("ids", expanding=True)))

RECLAIM = delete(discarded).where(discarded.c.media_key.in_(bindparam("keys", expanding=True)))
