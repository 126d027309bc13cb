"""What can be wrong with an enrolment before its first picture is read."""

from __future__ import annotations

from collections.abc import Callable

from infra.cli.batches.stores import BatchStores
from pipeline.accounts.model import Tenant
from pipeline.database.engine import reading
from pipeline.errors import (
    CollectionExists,
    CollectionLimit,
    CollectionNotFound,
    PackMismatch,
)
from pipeline.gallery.writer import last_model
from pipeline.sessions import registry

MAX_KEY_BYTES = 32  # bytes of a collection's key, as document b has it


def check_pack(stores: BatchStores, tenant: Tenant) -> None:
    """Raises ``PackMismatch`` when the models on this machine, which are to enrol, are not
    those of the gallery; ``PackMissing`` when there are none."""
    pack = registry.choose(stores.settings)
    with reading(stores.engine) as connection:
        there = last_model(connection, tenant.id)
    if there is not None and there.pack != pack.name:
        raise PackMismatch(
            f"The gallery of {tenant.name!r} was made with the pack {there.pack!r} and "
            f"{pack.name!r} is served. Serve {there.pack!r} with FACELINE_PACK, or enrol for an "
            "application of its own"
        )


def collection_creator(
    stores: BatchStores, tenant: Tenant, default: str, *, create: bool
) -> Callable[[str], None]:
    """What is told every collection that items name, when it comes the first time. Raises
    ``CollectionNotFound`` at once when the ``default`` is not there and may not be made."""
    there = {found.key for found, _ in stores.collections.all(tenant.id)}

    def met(key: str) -> None:
        if not create or not key or key in there or len(key.encode()) > MAX_KEY_BYTES:
            return
        there.add(key)
        try:
            stores.collections.create(tenant.id, key, name="")
        except (CollectionExists, CollectionLimit):
            return  # the items say so

    if default and default not in there and not create:
        raise CollectionNotFound(
            f"{tenant.name!r} has no group {default!r}: --create-collections makes it. There are: "
            f"{', '.join(sorted(there)[:10])}"
        )
    met(default)
    return met
