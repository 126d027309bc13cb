"""Tenants: creating, finding, changing, disabling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Engine, Row, Text, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.accounts.credentials import CredentialStore
from pipeline.accounts.model import Tenant, TenantSettings, tenant_from_row
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, read_rows, read_values, writing
from pipeline.database.schema import data_keys, tenants
from pipeline.encryption.data_keys import KeyState, add_key
from pipeline.encryption.vault import Vault
from pipeline.errors import InvalidParameter, TenantNotFound
from pipeline.gallery.collections import create_default_collection
from pipeline.identifiers import PATH_NAME_RULE, is_path_name
from pipeline.metering.limits import ALLOW_ALL, Limits, Permissions, limits_to_json


class TenantStore:
    """Every tenant, and their ``credentials``. ``clock`` gives epoch seconds (None: the
    database's)."""

    def __init__(
        self, engine: Engine, vault: Vault, clock: Clock | None = None
    ) -> None:
        self.credentials = CredentialStore(engine, vault, clock)
        self._engine = engine
        self._vault = vault
        self._clock = database_clock(engine, clock)

    def create(
        self, name: str, settings: TenantSettings | None = None, *, encrypted: bool = False
    ) -> Tenant:
        """A new tenant with the default collection. With ``encrypted`` it gets a key of its
        own, under which its data are stored. Raises ``InvalidParameter`` when the name is
        taken, empty or too long, or cannot stand in paths."""
        if not 0 < len(name) <= 128:
            raise InvalidParameter("a tenant's name has 1 to 128 characters")
        if not is_path_name(name):
            raise InvalidParameter(f"a tenant's name {PATH_NAME_RULE}, and has no controls")
        now = self._clock()
        try:
            with writing(self._engine) as connection:
                row = connection.execute(
                    insert(tenants)
                    .values(name=name, settings=settings or {}, disabled=False, created_at=now)
                    .returning(*tenants.c)
                ).mappings().one()
                create_default_collection(connection, row["id"], now)
                if encrypted:
                    add_key(connection, self._vault, row["id"], KeyState.ON, now)
        except IntegrityError as error:
            raise InvalidParameter(f"a tenant named {name!r} exists") from error
        return tenant_from_row(row)

    def get(self, tenant_id: int) -> Tenant:
        """Raises ``TenantNotFound``."""
        return self._find(tenants.c.id == tenant_id)

    def by_name(self, name: str) -> Tenant:
        """Raises ``TenantNotFound``."""
        return self._find(tenants.c.name == name)

    def all(self) -> list[Tenant]:
        """Every tenant, oldest first."""
        rows = read_rows(self._engine, select(*tenants.c).order_by(tenants.c.id))
        return [tenant_from_row(row._mapping) for row in rows]

    def has_setting(self, name: str, value: str) -> bool:
        """Whether any tenant has chosen ``value``."""
        mention = tenants.c.settings.cast(Text).contains(f'"{name}"', autoescape=True)
        chosen = read_values(self._engine, select(tenants.c.settings).where(mention))
        return any(settings.get(name) == value for settings in chosen)

    def page(self, after: int = 0, limit: int = 100) -> list[TenantSummary]:
        """Tenants in the order of their ids, those above ``after``."""
        query = (
            select(*tenants.c, data_keys.c.state.label("key_state"))
            .outerjoin(data_keys, data_keys.c.tenant_id == tenants.c.id)
            .where(tenants.c.id > after).order_by(tenants.c.id).limit(limit)
        )
        return [_summary(row) for row in read_rows(self._engine, query)]

    def summary(self, tenant_id: int) -> TenantSummary:
        """Raises ``TenantNotFound``."""
        found = self.page(tenant_id - 1, 1)
        if not found or found[0].tenant.id != tenant_id:
            raise TenantNotFound
        return found[0]

    def permissions(self, tenant: Tenant, credential: str | None = None) -> Permissions:
        """The permissions that an operator gave a tenant, or one of its credentials."""
        if credential is None:
            return tenant.permissions[0] if tenant.permissions else ALLOW_ALL
        found = {each.public_id: each.permissions for each in self.credentials.entries(tenant.id)}
        return found.get(credential, ALLOW_ALL)

    def set_disabled(self, tenant_id: int, disabled: bool) -> None:
        """Raises ``TenantNotFound``."""
        self._update(tenant_id, disabled=disabled)

    def set_settings(self, tenant_id: int, settings: TenantSettings) -> None:
        """Set the tenant's settings, from its next request on. Raises ``TenantNotFound``."""
        self._update(tenant_id, settings=settings)

    def set_limits(self, tenant_id: int, limits: Limits) -> None:
        """Set the tenant's limits, from its next request on. Raises ``TenantNotFound``."""
        self._update(tenant_id, limits=limits_to_json(limits) or None)

    def set_permissions(self, tenant_id: int, permissions: Permissions) -> None:
        """Set the tenant's permissions, from its next request on. Raises ``TenantNotFound``."""
        self._update(tenant_id, permissions=msgspec.to_builtins(permissions) or None)

    def _find(self, condition: ColumnElement[bool]) -> Tenant:
        row = read_row(self._engine, select(*tenants.c).where(condition))
        if row is None:
            raise TenantNotFound
        return tenant_from_row(row._mapping)

    def _update(self, tenant_id: int, **values: object) -> None:
        changed = update(tenants).where(tenants.c.id == tenant_id).values(**values)
        if change_rows(self._engine, changed) != 1:
            raise TenantNotFound


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """A tenant as an operator sees it. ``created_at``: epoch seconds; ``key_state`` is None where
    data are not encrypted under a key of the tenant's own."""

    tenant: Tenant
    created_at: float
    key_state: KeyState | None


def _summary(row: Row[*tuple[Any, ...]]) -> TenantSummary:
    state = None if row.key_state is None else KeyState(row.key_state)
    return TenantSummary(tenant_from_row(row._mapping), row.created_at, state)


def tenant_ids(engine: Engine) -> list[int]:
    """The id of every tenant."""
    return read_values(engine, select(tenants.c.id).order_by(tenants.c.id))


def tenant_names(engine: Engine) -> dict[int, str]:
    """The name of every tenant by its id."""
    rows = read_rows(engine, select(tenants.c.id, tenants.c.name))
    return {row.id: row.name for row in rows}


def readable_tenant_ids(engine: Engine) -> list[int]:
    """The id of every tenant whose key, if it has one, was not destroyed."""
    readable = or_(data_keys.c.state.is_(None), data_keys.c.state != KeyState.DESTROYED.value)
    query = (
        select(tenants.c.id)
        .outerjoin(data_keys, data_keys.c.tenant_id == tenants.c.id)
        .where(readable).order_by(tenants.c.id)
    )
    return read_values(engine, query)
