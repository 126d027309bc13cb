"""Deleting a tenant with everything that is stored of it."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Engine, Table, delete, select, update

from pipeline import storage_keys
from pipeline.database.engine import change_rows, writing
from pipeline.database.schema import (
    changes,
    discarded,
    jobs,
    signed_requests,
    snapshots,
    tenants,
    webhooks,
)
from pipeline.encryption.data_keys import destroy_key
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.trash import UNREFERRED, discard
from pipeline.media.base import MediaStore

# Rows deleted in one transaction.
BLOCK = 5000


def delete_tenant(
    engine: Engine, media: MediaStore, tenant_id: int, clock: Callable[[], float] = time.time
) -> None:
    """Delete a tenant: credentials, jobs, the gallery, every object.

    Its data key is destroyed first, so that encrypted data are unreadable at once. The
    tenant's row is deleted last: repeat the call after an interruption. Raises
    ``TenantNotFound``, ``MediaUnavailable``.
    """
    destroy_key(engine, tenant_id)
    this = tenants.c.id == tenant_id
    change_rows(engine, update(tenants).where(this).values(disabled=True))
    # With their deliveries, and before the tenant's row is locked: ends of jobs lock them after it.
    _delete_rows(engine, webhooks, tenant_id)
    _delete_rows(engine, jobs, tenant_id)
    GalleryStore(engine, media, clock).clear(tenant_id)
    for table in (changes, snapshots, signed_requests):
        _delete_rows(engine, table, tenant_id)
    _delete_objects(media, tenant_id)
    _delete_rows(engine, discarded, tenant_id)
    with writing(engine) as connection:
        connection.execute(delete(tenants).where(this))
        # A process that does not know yet may still store something for the tenant.
        discard(connection, tenant_id, storage_keys.tenant_prefix(tenant_id), clock())
    for table in UNREFERRED:
        _delete_rows(engine, table, tenant_id)
    _delete_objects(media, tenant_id)


def _delete_rows(engine: Engine, table: Table, tenant_id: int) -> None:
    row_key = list(table.primary_key)[-1]
    mine = table.c.tenant_id == tenant_id
    some = select(row_key).where(mine).limit(BLOCK)
    while change_rows(engine, delete(table).where(mine, row_key.in_(some))):
        pass


def _delete_objects(media: MediaStore, tenant_id: int) -> None:
    for item in media.walk(storage_keys.tenant_prefix(tenant_id)):
        media.delete(item.key)
