"""Pictures that are stored for a while, without a face.

They are rows of ``images`` with an ``expires_at``. Enrolling the same picture makes the row
permanent.
"""

from __future__ import annotations

import uuid

from sqlalchemy import Connection, select, update

from pipeline.database.schema import images
from pipeline.gallery.image_ids import hex_spelling
from pipeline.gallery.records import NewImage
from pipeline.gallery.rows import new_image_row
from pipeline.gallery.statements import INSERT_IMAGE
from pipeline.gallery.trash import discard, reclaim
from pipeline.gallery.writer import lock_tenant


def store_temporarily(
    connection: Connection, tenant_id: int, image: NewImage, until: float, now: float
) -> str:
    """Store a picture until the moment ``until``, or extend its time when it is stored
    already; returns its id. Part of the transaction that ends a job.

    Raises ``TenantNotFound``.
    """
    lock_tenant(connection, tenant_id)
    reclaim(connection, [image.media_key])
    # A caller may have chosen, for another picture, the id that these bytes give.
    candidates = (
        image.image_id, hex_spelling(image.image_id), image.sha256[:32], uuid.uuid4().hex
    )
    rows = connection.execute(
        select(
            images.c.id, images.c.image_id, images.c.sha256, images.c.media_key,
            images.c.expires_at,
        ).where(images.c.tenant_id == tenant_id, images.c.image_id.in_(candidates))
    )
    stored = {row.image_id: row for row in rows}
    same = next((row for row in stored.values() if row.sha256 == image.sha256), None)
    if same is None:
        image_id = next(name for name in candidates if name not in stored)
        row = new_image_row(tenant_id, image, image_id, now)
        connection.execute(INSERT_IMAGE, {**row, "expires_at": until})
        return image_id
    if same.expires_at is not None:
        connection.execute(
            update(images).where(images.c.id == same.id)
            .values(expires_at=max(same.expires_at, until))
        )
    if same.media_key != image.media_key:
        discard(connection, tenant_id, image.media_key, now)
    return str(same.image_id)
