"""The stores that commands about batches use."""

from __future__ import annotations

from infra.cli.database import Stores
from pipeline.accounts.model import Tenant
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError, TenantNotFound
from pipeline.gallery.collections import CollectionStore


class BatchStores(Stores):
    """The stores, and those of batches and collections, which are open from the start.
    Raises ``ConfigurationError``, ``DatabaseUnavailable``."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self.batches = BatchStore(self.engine, keys=self.keys)
        self.collections = CollectionStore(self.engine, self.media)

    def close(self) -> None:
        self.engine.dispose()


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
