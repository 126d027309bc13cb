"""The lock on a tenant's gallery, under which changes are made and numbered."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import OperationalError

from pipeline.circuit_breaker import CircuitBreaker
from pipeline.database.many_rows import Rows, insert_rows
from pipeline.database.schema import changes, tenants, vectors
from pipeline.deletions.record import DeletionRecord
from pipeline.encryption.data_key import DataKey
from pipeline.errors import GalleryBusy, TenantNotFound
from pipeline.types import VectorModel

logger = logging.getLogger(__name__)

# PostgreSQL's code for a lock that was not granted in time.
LOCK_NOT_AVAILABLE = "55P03"

# Built once: building a statement costs as much as running it.
_TENANT: BindParameter[int] = bindparam("tenant")
_FIND_TENANT = select(tenants.c.log_number, tenants.c.unnamed).where(tenants.c.id == _TENANT)
# FOR NO KEY UPDATE: rows that refer to the tenant may be added meanwhile.
_LOCK_FREE_TENANT = _FIND_TENANT.with_for_update(key_share=True, skip_locked=True)
_LOCK_TENANT = _FIND_TENANT.with_for_update(key_share=True)

# Seconds to wait for the present holder of a gallery: the longest of our own transactions takes
# about one. A gallery that somebody holds for longer is known as held for a while, and each
# try waits for a moment only, so that a worker goes on with the jobs of others.
WAIT_S = 2.0
HELD_WAIT_S = 0.05
HELD_KNOWN_S = 10.0

_held: dict[int, CircuitBreaker] = {}

# Executed with the columns to set beside the tenant.
_UPDATE_TENANT = update(tenants).where(tenants.c.id == _TENANT)

_LAST_NUMBER = select(tenants.c.log_number).where(tenants.c.id == bindparam("tenant"))

_SELECT_LAST_MODEL = (
    select(vectors.c.pack, vectors.c.model_sha256, vectors.c.dimension)
    .where(vectors.c.tenant_id == _TENANT)
    .order_by(vectors.c.label.desc()).limit(1)
)


@dataclass(slots=True)
class GalleryWriter:
    """The right to change one tenant's gallery until the transaction ends.

    Every writer locks the tenant's row first. So writers of one tenant follow each other,
    each reads the result of the one before, and none deadlock. Submitting a job needs no lock.
    """

    connection: Connection
    tenant_id: int
    number: int
    unnamed: int
    key: DataKey | None = None
    """Encrypts the vectors of the gallery."""
    deletion: DeletionRecord | None = None
    """The receipt of what this transaction deletes, once it does (``erase.py``)."""

    def log_changes(
        self, labels: Iterable[int], new: Mapping[Table, Rows] | None = None
    ) -> None:
        """Record a change of each label under the next numbers, with the same statement that
        inserts the rows ``new``, as ``insert_rows`` takes them."""
        rows = [
            {"tenant_id": self.tenant_id, "number": self.number + place, "label": label}
            for place, label in enumerate(labels, 1)
        ]
        insert_rows(self.connection, {**(new or {}), changes: rows})
        if rows:
            self._advance(len(rows))

    def log_changes_of(self, labels: Select[int]) -> None:
        """Record a change of each label that a query finds, in one statement."""
        chosen = labels.subquery()
        label = chosen.c[0]
        place = func.row_number().over(order_by=label)
        inserted = self.connection.execute(
            insert(changes).from_select(
                ["tenant_id", "number", "label"],
                select(literal(self.tenant_id), literal(self.number) + place, label),
            ),
            execution_options={"preserve_rowcount": True},
        )
        if inserted.rowcount:
            self._advance(inserted.rowcount)

    def _advance(self, steps: int) -> None:
        self.number += steps
        self._update(log_number=self.number)

    def next_default_name(self) -> int:
        """The next N for a name ``IDN``."""
        self.unnamed += 1
        self._update(unnamed=self.unnamed)
        return self.unnamed - 1

    def _update(self, **values: int) -> None:
        self.connection.execute(_UPDATE_TENANT, {"tenant": self.tenant_id, **values})


def lock_tenant(
    connection: Connection, tenant_id: int, key: DataKey | None = None
) -> GalleryWriter:
    """Lock a tenant's gallery, once the present holder's transaction has ended.
    ``connection`` is in a transaction that writes. Raises ``TenantNotFound``, ``GalleryBusy``
    when somebody holds it for long."""
    row = connection.execute(_LOCK_FREE_TENANT, {"tenant": tenant_id}).one_or_none()
    if row is None:
        row = _wait_for_tenant(connection, tenant_id)
    if row is None:
        raise TenantNotFound
    return GalleryWriter(connection, tenant_id, row.log_number, row.unnamed, key)


def _wait_for_tenant(connection: Connection, tenant_id: int) -> Row[int, int] | None:
    """The row of a tenant that somebody else has locked, or None when it does not exist."""
    if connection.dialect.name != "postgresql":
        return None
    from pipeline.database.postgres import lock_limit

    held = _held.setdefault(tenant_id, CircuitBreaker(HELD_KNOWN_S))
    wait_s = HELD_WAIT_S if held.is_open() else WAIT_S
    try:
        with lock_limit(connection, wait_s):
            row = connection.execute(_LOCK_TENANT, {"tenant": tenant_id}).one_or_none()
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise
        if held.record_failure():
            logger.warning(
                "A gallery is locked for long: a change of it waits",
                extra={"action": "gallery_held", "tenant": tenant_id},
            )
        raise GalleryBusy from error
    held.record_success()
    return row


def last_number(connection: Connection, tenant_id: int) -> int:
    """The number of the tenant's last change; 0 before the first, and for no tenant."""
    return connection.execute(_LAST_NUMBER, {"tenant": tenant_id}).scalar_one_or_none() or 0


def last_model(connection: Connection, tenant_id: int) -> VectorModel | None:
    """The model of the tenant's vectors; None while there are none."""
    row = connection.execute(_SELECT_LAST_MODEL, {"tenant": tenant_id}).one_or_none()
    return None if row is None else VectorModel(row.pack, row.model_sha256, row.dimension)
