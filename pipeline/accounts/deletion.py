"""Deleting a tenant with everything that is stored of it."""

from __future__ import annotations

from sqlalchemy import Engine, Table, delete, select, update

from pipeline import storage_keys
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, writing
from pipeline.database.schema import (
    changes,
    discarded,
    jobs,
    receipts,
    signed_requests,
    snapshots,
    tenants,
    webhooks,
)
from pipeline.deletions.journal import DeletionJournal
from pipeline.deletions.record import DeletionKind, begin_deletion
from pipeline.encryption.data_keys import KeyState, destroy_key, key_states
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.trash import UNREFERRED, discard
from pipeline.media.base import MediaStore

# Rows deleted in one transaction.
BLOCK = 5000


def delete_tenant(
    engine: Engine, media: MediaStore, tenant_id: int, clock: Clock | None = None,
    journal: DeletionJournal | None = None,
) -> str:
    """Delete a tenant: credentials, jobs, the gallery, every object. Returns the receipt's id.

    The journal knows of it before anything is gone, so that a restore never brings half of
    the tenant back. Its data key is destroyed first, so that encrypted data are unreadable at
    once. The tenant's row is deleted last: repeat the call after an interruption. Raises
    ``TenantNotFound``, ``MediaUnavailable``.
    """
    clock = database_clock(engine, clock)
    receipt_id = _receipt(engine, tenant_id, clock())
    if journal is not None:
        journal.try_write(tenant_id)
    destroy_key(engine, tenant_id)
    this = tenants.c.id == tenant_id
    change_rows(engine, update(tenants).where(this).values(disabled=True))
    # With their deliveries, and before the tenant's row is locked: ends of jobs lock them after it.
    _delete_rows(engine, webhooks, tenant_id)
    _delete_rows(engine, jobs, tenant_id)
    GalleryStore(engine, media, clock, journal).clear(tenant_id)
    for table in (changes, snapshots, signed_requests):
        _delete_rows(engine, table, tenant_id)
    _delete_objects(media, tenant_id)
    _delete_rows(engine, discarded, tenant_id)
    with writing(engine) as connection:
        connection.execute(
            update(receipts).where(receipts.c.id == receipt_id).values(deleted_at=clock())
        )
        connection.execute(delete(tenants).where(this))
        # A process that does not know yet may still store something for the tenant.
        discard(connection, tenant_id, storage_keys.tenant_prefix(tenant_id), clock())
    for table in UNREFERRED:
        _delete_rows(engine, table, tenant_id)
    _delete_objects(media, tenant_id)
    return receipt_id


def destroy_tenant_key(
    engine: Engine, tenant_id: int, clock: Clock | None = None,
    journal: DeletionJournal | None = None,
) -> bool:
    """Destroy a tenant's data key, so that no restore brings it back; False when it has none.
    Raises ``TenantNotFound``."""
    state = key_states(engine).get(tenant_id)
    if state is None or state is KeyState.DESTROYED:
        return False
    clock = database_clock(engine, clock)
    receipt_id = _receipt(engine, tenant_id, clock(), DeletionKind.KEY)
    if journal is not None:
        journal.try_write(tenant_id)
    destroy_key(engine, tenant_id)
    change_rows(
        engine, update(receipts).where(receipts.c.id == receipt_id).values(deleted_at=clock())
    )
    return True


def _receipt(
    engine: Engine, tenant_id: int, now: float, kind: DeletionKind = DeletionKind.APPLICATION
) -> str:
    """The receipt of the tenant's deletion, which an interrupted call may have begun."""
    begun = select(receipts.c.id).where(
        receipts.c.tenant_id == tenant_id, receipts.c.kind == kind.value,
        receipts.c.deleted_at.is_(None),
    )
    with writing(engine, durable=True) as connection:
        found = connection.execute(begun).scalars().first()
        if found is not None:
            return str(found)
        return begin_deletion(connection, tenant_id, now, kind, done=False).receipt_id


def _delete_rows(engine: Engine, table: Table, tenant_id: int) -> None:
    row_key = list(table.primary_key)[-1]
    mine = table.c.tenant_id == tenant_id
    some = select(row_key).where(mine).limit(BLOCK)
    while change_rows(engine, delete(table).where(mine, row_key.in_(some))):
        pass


def _delete_objects(media: MediaStore, tenant_id: int) -> None:
    for item in media.walk(storage_keys.tenant_prefix(tenant_id)):
        media.delete(item.key)
