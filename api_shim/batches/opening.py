"""Opens batches whose sources the service reads itself."""

from __future__ import annotations

from pipeline import errors, storage_keys
from pipeline.accounts.model import Tenant
from pipeline.batches.model import Batch, BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.media.base import MediaStore


def open_batch(
    batches: BatchStore, tenant: Tenant, fingerprint: str, source: str, options: BatchOptions
) -> tuple[Batch, bool]:
    """(the new batch, True), or (the earlier one of the fingerprint, False). Raises
    ``IdempotencyConflict`` if the earlier request differs."""
    batch, created = batches.open(tenant.id, fingerprint, source, options)
    if not created and (batch.source, batch.options) != (source, options):
        raise errors.IdempotencyConflict
    return batch, created


def store_source(media: MediaStore, tenant: Tenant, fingerprint: str, data: bytes) -> str:
    """Store a list or an archive for its batch; its key. Upkeep sweeps one that becomes no
    batch. Raises ``MediaUnavailable``."""
    key = storage_keys.list_media(tenant.id, fingerprint, media.name(tenant.id, data))
    media.put(key, data)
    return key
