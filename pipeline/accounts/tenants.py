"""Tenants, and with them their credentials."""

from __future__ import annotations

import msgspec
from sqlalchemy import ColumnElement, Engine, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.accounts.api_secret_credentials import ApiSecretCredentials, IssuedApiSecret
from pipeline.accounts.model import (
    CredentialEntry,
    IssuedApid,
    IssuedSigned,
    SharedSecret,
    SignedCredential,
    Tenant,
    TenantSettings,
    tenant_from_row,
)
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, data_keys, tenants
from pipeline.encryption.data_keys import KeyState, add_key
from pipeline.errors import CredentialNotFound, InvalidParameter, TenantNotFound
from pipeline.gallery.collections import create_default_collection
from pipeline.metering.limits import Limits, Permissions, limits_to_json, permissions_from_json

__all__ = [
    "CredentialEntry",
    "IssuedApiSecret",
    "IssuedApid",
    "IssuedSigned",
    "SharedSecret",
    "SignedCredential",
    "Tenant",
    "TenantSettings",
    "TenantStore",
    "readable_tenant_ids",
    "tenant_ids",
]


class TenantStore(ApiSecretCredentials):
    """Makes, finds, changes and disables tenants and credentials."""

    def create(
        self, name: str, settings: TenantSettings | None = None, *, encrypted: bool = False
    ) -> Tenant:
        """A new tenant, its data ``encrypted`` at rest under a key of its own or stored as
        they are. Raises ``InvalidParameter`` when the name is taken, empty or too long."""
        if not 0 < len(name) <= 128:
            raise InvalidParameter("a tenant's name has 1 to 128 characters")
        try:
            with writing(self._engine) as connection:
                row = connection.execute(
                    insert(tenants)
                    .values(
                        name=name, settings=settings or {}, disabled=False,
                        created_at=self._clock(),
                    )
                    .returning(*tenants.c)
                ).mappings().one()
                create_default_collection(connection, row["id"], row["created_at"])
                if encrypted:
                    add_key(connection, self._vault, row["id"], KeyState.ON, row["created_at"])
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
        with reading(self._engine) as connection:
            rows = connection.execute(select(*tenants.c).order_by(tenants.c.id)).mappings()
            return [tenant_from_row(row) for row in rows]

    def set_disabled(self, tenant_id: int, disabled: bool) -> None:
        """Raises ``TenantNotFound``."""
        self._update(tenant_id, disabled=disabled)

    def set_settings(self, tenant_id: int, settings: TenantSettings) -> None:
        """Raises ``TenantNotFound``."""
        self._update(tenant_id, settings=settings)

    def set_limits(self, tenant_id: int, limits: Limits) -> None:
        """What the tenant may use, from its next request on. Raises ``TenantNotFound``."""
        self._update(tenant_id, limits=limits_to_json(limits) or None)

    def set_permissions(self, tenant_id: int, permissions: Permissions) -> None:
        """What the tenant may do, from its next request on. Raises ``TenantNotFound``."""
        self._update(tenant_id, permissions=msgspec.to_builtins(permissions) or None)

    # -- credentials, whatever their kind -----------------------------------------

    def credentials(self, tenant_id: int) -> list[CredentialEntry]:
        """A tenant's credentials that are not disabled, expired ones too, oldest first."""
        mine = (credentials.c.tenant_id == tenant_id) & credentials.c.disabled.is_(False)
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(credentials).where(mine).order_by(credentials.c.id)
            ).all()
        return [
            CredentialEntry(
                row.kind, row.public_id, row.expires_at, permissions_from_json(row.permissions)
            )
            for row in rows
        ]

    def restrict(self, tenant_id: int, public_id: str, permissions: Permissions) -> None:
        """What may be done with one credential. Raises ``CredentialNotFound``."""
        kept = msgspec.to_builtins(permissions) or None
        self._change_credential(tenant_id, public_id, permissions=kept)

    def expire(self, tenant_id: int, public_id: str, at: float | None) -> None:
        """Let a credential end at an epoch second, or never. Raises
        ``CredentialNotFound``."""
        self._change_credential(tenant_id, public_id, expires_at=at)

    def _change_credential(self, tenant_id: int, public_id: str, **values: object) -> None:
        own = (credentials.c.tenant_id == tenant_id) & (credentials.c.public_id == public_id)
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(credentials).where(own, credentials.c.disabled.is_(False)).values(**values)
            ).rowcount
        if changed != 1:
            raise CredentialNotFound

    def _find(self, condition: ColumnElement[bool]) -> Tenant:
        with reading(self._engine) as connection:
            row = connection.execute(
                select(*tenants.c).where(condition)
            ).mappings().one_or_none()
        if row is None:
            raise TenantNotFound
        return tenant_from_row(row)

    def _update(self, tenant_id: int, **values: object) -> None:
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(tenants).where(tenants.c.id == tenant_id).values(**values)
            ).rowcount
        if changed != 1:
            raise TenantNotFound


def tenant_ids(engine: Engine) -> list[int]:
    """Every tenant's id, for work that needs no secret."""
    with reading(engine) as connection:
        return list(connection.execute(select(tenants.c.id).order_by(tenants.c.id)).scalars())


def readable_tenant_ids(engine: Engine) -> list[int]:
    """The id of every tenant whose data can be read: its key was not destroyed."""
    alive = or_(data_keys.c.state.is_(None), data_keys.c.state != KeyState.DESTROYED.value)
    query = (
        select(tenants.c.id)
        .outerjoin(data_keys, data_keys.c.tenant_id == tenants.c.id)
        .where(alive).order_by(tenants.c.id)
    )
    with reading(engine) as connection:
        return list(connection.execute(query).scalars())
