"""Pictures that are stored for a while, without a face (document c's cloud images).

They are rows of ``images`` like all others, under the id that the bytes give; what makes
them pass is ``expires_at``. An enrolment of the same picture takes the row over and makes
it permanent.
"""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from typing import Any

from sqlalchemy import Connection, Row, select, update

from pipeline.database.schema import images
from pipeline.gallery.change_log import lock_tenant
from pipeline.gallery.records import NewImage
from pipeline.gallery.statements import INSERT_IMAGE
from pipeline.gallery.trash import discard, reclaim

_BASE64 = re.compile("[A-Za-z0-9_-]{22}==")
_HEX = re.compile("[0-9a-f]{32}")


def default_image_id(data: bytes) -> str:
    """Document b, 1.1: URL-safe Base64 of the file's MD5."""
    digest = hashlib.md5(data, usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).decode()


def cloud_id(image_id: str) -> str:
    """The id by which document c names a stored picture: b's 16 bytes as 32 hex digits,
    any other id as it is."""
    if _BASE64.fullmatch(image_id) is None:
        return image_id
    return base64.urlsafe_b64decode(image_id).hex()


def image_ids(named: str) -> tuple[str, ...]:
    """The ids that a stored picture may have which a caller of document c names so."""
    if _HEX.fullmatch(named) is None:
        return (named,)
    return named, base64.urlsafe_b64encode(bytes.fromhex(named)).decode()


def store_temporarily(
    connection: Connection, tenant_id: int, image: NewImage, until: float, now: float
) -> str:
    """Store a picture until the moment ``until``, or let it live until then when it is
    stored already; its id in document c. Part of the transaction that ends a job.

    Raises ``TenantNotFound``.
    """
    lock_tenant(connection, tenant_id)
    reclaim(connection, [image.media_key])
    # Somebody may have chosen, for another picture, the id that this one's bytes give.
    wanted = (
        image.image_id, cloud_id(image.image_id), image.sha256[:32], uuid.uuid4().hex
    )
    there = _named(connection, tenant_id, wanted)
    same = next((row for row in there.values() if row.sha256 == image.sha256), None)
    if same is None:
        image_id = next(name for name in wanted if name not in there)
        _insert(connection, tenant_id, image, image_id, until, now)
        return cloud_id(image_id)
    if same.expires_at is not None:
        connection.execute(
            update(images).where(images.c.id == same.id)
            .values(expires_at=max(same.expires_at, until))
        )
    if same.media_key != image.media_key:
        discard(connection, tenant_id, image.media_key, now)
    return cloud_id(same.image_id)


def _named(
    connection: Connection, tenant_id: int, wanted: tuple[str, ...]
) -> dict[str, Row[*tuple[Any, ...]]]:
    rows = connection.execute(
        select(
            images.c.id, images.c.image_id, images.c.sha256, images.c.media_key,
            images.c.expires_at,
        ).where(images.c.tenant_id == tenant_id, images.c.image_id.in_(wanted))
    )
    return {row.image_id: row for row in rows}


def _insert(
    connection: Connection, tenant_id: int, image: NewImage, image_id: str, until: float,
    now: float,
) -> None:
    connection.execute(
        INSERT_IMAGE,
        {
            "tenant_id": tenant_id, "image_id": image_id, "sha256": image.sha256,
            "media_key": image.media_key, "size": image.size, "width": image.width,
            "height": image.height, "format": image.format,
            "description": image.description, "created_at": now, "expires_at": until,
        },
    )
