"""The stores that commands about batches use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine

from infra.cli.database import open_database
from pipeline.accounts.model import Tenant
from pipeline.accounts.tenants import TenantStore
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.encryption.data_keys import open_keys
from pipeline.encryption.vault import open_vault
from pipeline.errors import ConfigurationError, TenantNotFound
from pipeline.gallery.collections import CollectionStore
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media


@dataclass(frozen=True, slots=True)
class BatchStores:
    settings: Settings
    engine: Engine
    media: MediaStore
    tenants: TenantStore
    batches: BatchStore
    collections: CollectionStore


def open_stores(settings: Settings) -> BatchStores:
    """Raises ``ConfigurationError``, ``DatabaseUnavailable``."""
    engine = open_database(settings)
    keys = open_keys(settings, engine)
    media = open_media(settings, keys)
    return BatchStores(
        settings, engine, media, TenantStore(engine, open_vault(settings)),
        BatchStore(engine, keys=keys), CollectionStore(engine, media),
    )


@contextmanager
def using_stores(settings: Settings) -> Iterator[BatchStores]:
    """The stores; they are closed at the end."""
    stores = open_stores(settings)
    try:
        yield stores
    finally:
        stores.engine.dispose()


def choose_tenant(stores: BatchStores, name: str | None, *, create: bool) -> Tenant:
    """The named application; without a name the only one. When there is none, ``create``
    allows creating that of the demonstration.

    Raises ``TenantNotFound``, and ``ConfigurationError`` when there are several.
    """
    if name is not None:
        return stores.tenants.by_name(name)
    enabled = [tenant for tenant in stores.tenants.all() if not tenant.disabled]
    if len(enabled) == 1:
        return enabled[0]
    if enabled:
        names = ", ".join(sorted(tenant.name for tenant in enabled)[:10])
        raise ConfigurationError(f"there are several applications; choose --tenant NAME: {names}")
    if not create:
        raise TenantNotFound("there is no application: create one with `faceline apps create NAME`")
    from infra.local.demo import TENANT, demo_credentials  # imports an HTTP client

    demo_credentials(stores.settings)
    return stores.tenants.by_name(TENANT)
