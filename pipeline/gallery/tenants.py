"""Tenants and the credentials that name them."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, tenants
from pipeline.errors import BadCredentials, InvalidParameter, TenantNotFound
from pipeline.gallery.collections import make_default
from pipeline.secrets import Vault

TenantSettings = dict[str, Any]  # JSON

KEY_PREFIX_LENGTH = 12  # characters of an API key that find its row; the rest is secret
KEY_BYTES = 32
# Numbers of applications (dialect a): nine digits, so that every client's integer holds
# them, and random ones, so that a gap tells nobody how many there are.
FIRST_APID, LAST_APID = 100_000_000, 999_999_999

PUBLIC_ID = re.compile("[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tenant:
    """An application. ``settings`` are its own choices, for instance
    ``{"e_locations": "left_top"}``."""

    id: int
    name: str
    settings: TenantSettings
    disabled: bool


@dataclass(frozen=True, slots=True)
class SignedCredential:
    """What verifies a signed request: the shared secret and, for SM2, the caller's
    public key (hex of x||y, 128 digits)."""

    tenant: Tenant
    app_id: str
    app_secret: str = field(repr=False)
    sm2_public_key: str | None


@dataclass(frozen=True, slots=True)
class IssuedSigned:
    """A fresh credential, shown once."""

    app_id: str
    app_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class IssuedApid:
    """A fresh credential, shown once."""

    apid: int
    kvalue: str = field(repr=False)


class TenantStore:
    """Makes, finds, changes and disables tenants and credentials."""

    def __init__(
        self, engine: Engine, vault: Vault, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = clock

    # -- tenants ------------------------------------------------------------------

    def create(self, name: str, settings: TenantSettings | None = None) -> Tenant:
        """Raises ``InvalidParameter`` when the name is taken, empty or too long."""
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
                make_default(connection, row["id"], row["created_at"])
        except IntegrityError as error:
            raise InvalidParameter(f"a tenant named {name!r} exists") from error
        return _tenant(row)

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
            return [_tenant(row) for row in rows]

    def set_disabled(self, tenant_id: int, disabled: bool) -> None:
        """Raises ``TenantNotFound``."""
        self._update(tenant_id, disabled=disabled)

    def set_settings(self, tenant_id: int, settings: TenantSettings) -> None:
        """Raises ``TenantNotFound``."""
        self._update(tenant_id, settings=settings)

    def _find(self, condition: ColumnElement[bool]) -> Tenant:
        with reading(self._engine) as connection:
            row = connection.execute(
                select(*tenants.c).where(condition)
            ).mappings().one_or_none()
        if row is None:
            raise TenantNotFound
        return _tenant(row)

    def _update(self, tenant_id: int, **values: object) -> None:
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(tenants).where(tenants.c.id == tenant_id).values(**values)
            ).rowcount
        if changed != 1:
            raise TenantNotFound

    # -- signed requests (dialect e) ----------------------------------------------

    def issue_signed(self, tenant_id: int, sm2_public_key: str | None = None) -> IssuedSigned:
        """A new appId and appSecret; with the caller's SM2 public key (hex x||y) his
        SM2 signatures are accepted too. Raises ``TenantNotFound``."""
        issued = IssuedSigned(
            app_id=secrets.token_hex(16).upper(), app_secret=secrets.token_hex(16).upper()
        )
        self._insert(
            tenant_id, "signed", issued.app_id,
            self._vault.seal(issued.app_secret, issued.app_id), sm2_public_key,
        )
        return issued

    def signed(self, app_id: str) -> SignedCredential | None:
        """The live credential of an appId; None when there is none."""
        found = self._credential("signed", app_id)
        if found is None:
            return None
        row, tenant = found
        return SignedCredential(
            tenant=tenant,
            app_id=app_id,
            app_secret=self._vault.open(row["secret"], app_id),
            sm2_public_key=row["sm2_public_key"],
        )

    # -- API keys -----------------------------------------------------------------

    def issue_key(self, tenant_id: int) -> str:
        """A new API key; only its fingerprint is kept. Raises ``TenantNotFound``."""
        key = secrets.token_urlsafe(KEY_BYTES)
        self._insert(
            tenant_id, "key", key[:KEY_PREFIX_LENGTH], self._vault.fingerprint(key), None
        )
        return key

    def by_key(self, key: str) -> Tenant | None:
        """The tenant of a live API key."""
        found = self._credential("key", key[:KEY_PREFIX_LENGTH])
        if found is None:
            return None
        row, tenant = found
        return tenant if self._vault.recognises(key, row["secret"]) else None

    # -- numbers with a key (dialect a) -------------------------------------------

    def issue_apid(self, tenant_id: int) -> IssuedApid:
        """A new Apid and Kvalue; of the latter only the fingerprint is kept. Raises
        ``TenantNotFound``."""
        self.get(tenant_id)
        kvalue = secrets.token_urlsafe(KEY_BYTES)
        while True:
            apid = FIRST_APID + secrets.randbelow(LAST_APID - FIRST_APID + 1)
            try:
                self._insert(
                    tenant_id, "apid", str(apid), self._vault.fingerprint(kvalue), None
                )
            except TenantNotFound:
                self.get(tenant_id)  # the tenant is there: the number was taken
                continue
            return IssuedApid(apid, kvalue)

    def by_apid(self, apid: int, kvalue: str) -> Tenant:
        """The tenant of a live Apid. Raises ``TenantNotFound`` for any other number,
        ``BadCredentials`` for a wrong Kvalue."""
        found = self._credential("apid", str(apid))
        if found is None:
            raise TenantNotFound("no such application")
        row, tenant = found
        if not self._vault.recognises(kvalue, row["secret"]):
            raise BadCredentials("wrong key")
        return tenant

    def revoke(self, tenant_id: int, kind: str, *, keep: str | None = None) -> int:
        """Disable a tenant's credentials of one kind, all but the public id ``keep``;
        how many were disabled."""
        with writing(self._engine) as connection:
            return connection.execute(
                update(credentials)
                .where(
                    credentials.c.tenant_id == tenant_id,
                    credentials.c.kind == kind,
                    credentials.c.public_id != (keep or ""),
                    credentials.c.disabled.is_(False),
                )
                .values(disabled=True)
            ).rowcount

    def public_ids(self, tenant_id: int) -> list[tuple[str, str]]:
        """(kind, public id) of a tenant's live credentials, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(credentials.c.kind, credentials.c.public_id)
                .where(credentials.c.tenant_id == tenant_id, credentials.c.disabled.is_(False))
                .order_by(credentials.c.id)
            )
            return [(row.kind, row.public_id) for row in rows]

    def _insert(
        self, tenant_id: int, kind: str, public_id: str, secret: bytes, sm2_public_key: str | None
    ) -> None:
        try:
            with writing(self._engine) as connection:
                connection.execute(
                    insert(credentials).values(
                        tenant_id=tenant_id, kind=kind, public_id=public_id, secret=secret,
                        sm2_public_key=sm2_public_key, disabled=False, created_at=self._clock(),
                    )
                )
        except IntegrityError as error:
            raise TenantNotFound from error

    def _credential(self, kind: str, public_id: str) -> tuple[RowMapping, Tenant] | None:
        if PUBLIC_ID.fullmatch(public_id) is None:
            return None  # a stranger's text, which not every database would take
        with reading(self._engine) as connection:
            row = _live_credential(connection, kind, public_id, self._clock())
            if row is None:
                return None
            owner = connection.execute(
                select(*tenants.c).where(
                    tenants.c.id == row["tenant_id"], tenants.c.disabled.is_(False)
                )
            ).mappings().one_or_none()
        return None if owner is None else (row, _tenant(owner))


def tenant_ids(engine: Engine) -> list[int]:
    """Every tenant's id, for work that needs no secret."""
    with reading(engine) as connection:
        return list(connection.execute(select(tenants.c.id).order_by(tenants.c.id)).scalars())


def _live_credential(
    connection: Connection, kind: str, public_id: str, now: float
) -> RowMapping | None:
    row = connection.execute(
        select(*credentials.c).where(
            credentials.c.kind == kind,
            credentials.c.public_id == public_id,
            credentials.c.disabled.is_(False),
        )
    ).mappings().one_or_none()
    if row is None or (row["expires_at"] is not None and row["expires_at"] <= now):
        return None
    return row


def _tenant(row: RowMapping) -> Tenant:
    return Tenant(
        id=row["id"], name=row["name"], settings=row["settings"], disabled=row["disabled"]
    )
