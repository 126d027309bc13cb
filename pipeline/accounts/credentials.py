"""Credentials: issuing, authenticating, rotating with two live secrets, revoking."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    bindparam,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pipeline.accounts.imported import ImportedCredential
from pipeline.accounts.kinds import API_KEY, SIGNING, CredentialKind
from pipeline.accounts.model import (
    CredentialEntry,
    IssuedCredential,
    SharedSecret,
    SigningCredential,
    Tenant,
    tenant_from_row,
)
from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, read_rows, read_values, writing
from pipeline.database.schema import credentials, former_secrets, tenants
from pipeline.encryption.key_fingerprints import KeyFingerprints
from pipeline.encryption.vault import Vault
from pipeline.errors import (
    BadCredentials,
    CredentialExpired,
    CredentialNotFound,
    InvalidParameter,
    TenantNotFound,
)
from pipeline.metering.limits import Permissions, permissions_from_json

PUBLIC_ID = re.compile("[A-Za-z0-9_-]{1,64}")


class CredentialStore:
    """The credentials of every tenant. ``clock`` gives epoch seconds (None: the database's)."""

    def __init__(
        self, engine: Engine, vault: Vault, clock: Clock | None = None
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._fingerprints = KeyFingerprints(engine, vault)
        self._clock = database_clock(engine, clock)

    def issue(
        self, tenant_id: int, kind: CredentialKind, sm2_public_key: str | None = None
    ) -> IssuedCredential:
        """A new credential; with the caller's SM2 public key (hex x||y) its SM2 signatures
        are accepted, too. Raises ``TenantNotFound``."""
        while True:
            issued = _fresh(kind)
            row = {
                "tenant_id": tenant_id, "kind": kind.name, "public_id": issued.public_id,
                "secret": self._stored(kind, issued), "readable": kind.readable,
                "sm2_public_key": sm2_public_key, "disabled": False, "created_at": self._clock(),
            }
            try:
                change_rows(self._engine, insert(credentials).values(**row))
            except IntegrityError:
                self._require_tenant(tenant_id)  # the tenant is there: the id was taken
            else:
                return issued

    def check_free(
        self, tenant: Tenant | None, brought: Sequence[ImportedCredential]
    ) -> None:
        """Raises ``InvalidParameter`` naming a credential that is taken: by another application,
        or by this one with another secret. ``tenant`` is None for one that is to be created."""
        for credential in brought:
            public_id = self._imported_id(credential)
            query = select(credentials).where(credentials.c.public_id == public_id)
            row = read_row(self._engine, query)
            if row is not None and not self._is_same(tenant, row._mapping, credential):
                owner = "another application"
                if tenant is not None and row.tenant_id == tenant.id:
                    owner = f"{tenant.name} itself, with another secret or revoked"
                raise InvalidParameter(f"{public_id} is taken by {owner}")

    def take_over(self, tenant: Tenant, brought: Sequence[ImportedCredential]) -> list[str]:
        """Add credentials that were issued elsewhere, all or none; those that are there already
        stay as they are. Returns their public ids. Raises ``InvalidParameter`` as
        ``check_free``."""
        self.check_free(tenant, brought)
        ids = [self._imported_id(credential) for credential in brought]
        there = {entry.public_id for entry in self.entries(tenant.id)}
        rows = [
            {
                "tenant_id": tenant.id, "kind": credential.kind.name, "public_id": public_id,
                "secret": self._stored(
                    credential.kind, IssuedCredential(public_id, credential.secret)
                ),
                "readable": credential.kind.readable, "disabled": False,
                "sm2_public_key": credential.sm2_public_key, "created_at": self._clock(),
            }
            for credential, public_id in zip(brought, ids, strict=True) if public_id not in there
        ]
        try:
            if rows:
                change_rows(self._engine, insert(credentials).values(rows))
        except IntegrityError as error:
            raise InvalidParameter("one of the credentials was taken just now") from error
        return ids

    def _is_same(
        self, tenant: Tenant | None, row: RowMapping, credential: ImportedCredential
    ) -> bool:
        """Whether a row is this very credential of the tenant, and live."""
        if tenant is None or row["tenant_id"] != tenant.id or row["disabled"]:
            return False
        if row["kind"] != credential.kind.name:
            return False
        if not credential.kind.readable:
            return self._fingerprints.matches(credential.secret, [row["secret"]])
        kept = self._vault.decrypt_text(row["secret"], row["public_id"])
        return hmac.compare_digest(kept.encode(), credential.secret.encode()) and (
            credential.sm2_public_key in (None, row["sm2_public_key"])
        )

    def _imported_id(self, credential: ImportedCredential) -> str:
        """The id of an imported credential. The beginning of a foreign API key may be the same
        for all keys of its issuer, or half of it: its fingerprint names it instead."""
        if credential.kind is not API_KEY:
            return credential.public_id
        return self._fingerprint_id(credential.secret)

    def _fingerprint_id(self, key: str) -> str:
        return f"imported-{self._fingerprints.fingerprint(key).hex()[:24]}"

    def rotate(
        self, tenant_id: int, kind: CredentialKind, public_id: str, keep_s: float,
        sm2_public_key: str | None = None,
    ) -> IssuedCredential:
        """A new secret for a credential; the present one is accepted for ``keep_s`` more
        seconds, an older one no longer. Where the id is part of the secret, a new credential
        with the same permissions takes its place. Raises ``CredentialNotFound``."""
        fresh = _fresh(kind)
        issued = fresh if kind.id_in_secret else IssuedCredential(public_id, fresh.secret)
        values: dict[str, object] = {
            "secret": self._stored(kind, issued), "sm2_public_key": sm2_public_key
        }
        with writing(self._engine) as connection:
            row = _own(connection, tenant_id, kind.name, public_id, self._clock())
            this = credentials.c.id == row["id"]
            if kind.id_in_secret:
                copied = {each.key: row[each.key] for each in credentials.c if each.key != "id"}
                values |= {"public_id": issued.public_id, "created_at": self._clock()}
                connection.execute(insert(credentials).values({**copied, **values}))
                self._end(connection, this, keep_s)
            else:
                self._keep_former(connection, row, keep_s)
                connection.execute(update(credentials).where(this).values(**values))
        return issued

    def _keep_former(self, connection: Connection, row: RowMapping, keep_s: float) -> None:
        connection.execute(
            delete(former_secrets).where(former_secrets.c.credential_id == row["id"])
        )
        if keep_s > 0:
            connection.execute(
                insert(former_secrets).values(
                    credential_id=row["id"], secret=row["secret"],
                    sm2_public_key=row["sm2_public_key"], until=self._clock() + keep_s,
                )
            )

    def _stored(self, kind: CredentialKind, issued: IssuedCredential) -> bytes:
        if kind.readable:
            return self._vault.encrypt(issued.secret, issued.public_id)
        return self._fingerprints.fingerprint(issued.secret)

    def authenticate(self, kind: CredentialKind, public_id: str, secret: str) -> Tenant:
        """The tenant of a credential whose secret is stored as a fingerprint.

        Raises ``TenantNotFound`` when no live credential has the id, ``BadCredentials`` for a
        wrong secret, ``CredentialExpired`` for the right secret of an expired credential.
        """
        found = self._find(kind, public_id)
        if found is None:
            self._check_expired(kind, public_id, secret)
            raise TenantNotFound("no such application")
        row, tenant = found
        if not self._fingerprints.matches(secret, [kept for kept, _ in _secrets(row)]):
            raise BadCredentials("wrong key")
        return tenant

    def by_api_key(self, key: str) -> Tenant | None:
        """The tenant of a live API key. Raises ``CredentialExpired``."""
        for public_id in (API_KEY.new_id(key), self._fingerprint_id(key)):
            with suppress(TenantNotFound, BadCredentials):
                return self.authenticate(API_KEY, public_id, key)
        return None

    def signing(self, public_id: str) -> SigningCredential | None:
        """The live credential that verifies the signatures of an id."""
        found = self._find(SIGNING, public_id)
        if found is None:
            return None
        row, tenant = found
        secrets = tuple(
            SharedSecret(self._vault.decrypt_text(secret, public_id), public_key)
            for secret, public_key in _secrets(row)
        )
        return SigningCredential(tenant, public_id, secrets)

    def _find(self, kind: CredentialKind, public_id: str) -> tuple[RowMapping, Tenant] | None:
        if PUBLIC_ID.fullmatch(public_id) is None:
            return None  # a stranger's text, which not every database stores
        values = {"kind": kind.name, "public_id": public_id, "now": self._clock()}
        found = read_row(self._engine, _FIND_WITH_TENANT, values)
        if found is None:
            return None
        row = found._mapping
        owner = {column.name: row[_OWNER + column.name] for column in tenants.c}
        return row, tenant_from_row(owner, row["permissions"])

    def _check_expired(self, kind: CredentialKind, public_id: str, secret: str) -> None:
        """Raises ``CredentialExpired`` for the right secret only: no other caller learns of the
        credential."""
        if PUBLIC_ID.fullmatch(public_id) is None:
            return
        expired = select(credentials.c.secret).where(
            credentials.c.kind == kind.name, credentials.c.public_id == public_id,
            credentials.c.disabled.is_(False), credentials.c.expires_at <= self._clock(),
        )
        kept = read_values(self._engine, expired)
        if kept and self._fingerprints.matches(secret, kept):
            raise CredentialExpired

    def revoke(self, tenant_id: int, kind: str, *, keep: str | None = None) -> int:
        """Disable a tenant's credentials of one kind, all but the public id ``keep``, and
        the former secret of that one; returns how many secrets end."""
        kept = select(credentials.c.id).where(
            credentials.c.tenant_id == tenant_id, credentials.c.kind == kind,
            credentials.c.disabled.is_(False),
        )
        with writing(self._engine) as connection:
            ended = self._end(connection, _others(tenant_id, kind, keep), 0.0)
            former = delete(former_secrets).where(former_secrets.c.credential_id.in_(kept))
            return ended + connection.execute(former).rowcount

    def revoke_one(self, tenant_id: int, public_id: str) -> None:
        """Disable a credential with its former secret. Raises ``CredentialNotFound``."""
        self._change(tenant_id, public_id, disabled=True)

    def retire(self, tenant_id: int, kind: str, keep_s: float, *, keep: str) -> int:
        """Let a tenant's credentials of one kind, all but the public id ``keep``, expire in
        ``keep_s`` seconds; returns how many."""
        with writing(self._engine) as connection:
            return self._end(connection, _others(tenant_id, kind, keep), keep_s)

    def restrict(self, tenant_id: int, public_id: str, permissions: Permissions) -> None:
        """Set the permissions of a credential. Raises ``CredentialNotFound``."""
        kept = msgspec.to_builtins(permissions) or None
        self._change(tenant_id, public_id, permissions=kept)

    def expire(self, tenant_id: int, public_id: str, at: float | None) -> None:
        """Let a credential expire at an epoch second, or never. Raises ``CredentialNotFound``."""
        self._change(tenant_id, public_id, expires_at=at)

    def _change(self, tenant_id: int, public_id: str, **values: object) -> None:
        own = (credentials.c.tenant_id == tenant_id) & (credentials.c.public_id == public_id)
        live = update(credentials).where(own, credentials.c.disabled.is_(False))
        if change_rows(self._engine, live.values(**values)) != 1:
            raise CredentialNotFound

    def _end(self, connection: Connection, chosen: ColumnElement[bool], keep_s: float) -> int:
        """Let the chosen live credentials end in ``keep_s`` seconds, or now."""
        now = self._clock()
        ending = update(credentials).where(chosen, _live(now))
        if keep_s <= 0:
            return connection.execute(ending.values(disabled=True)).rowcount
        until = now + keep_s
        longer = or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > until)
        return connection.execute(ending.where(longer).values(expires_at=until)).rowcount

    def public_ids(self, tenant_id: int) -> list[tuple[str, str]]:
        """(kind, public id) of a tenant's live credentials, oldest first."""
        now = self._clock()
        return [
            (entry.kind, entry.public_id) for entry in self.entries(tenant_id)
            if entry.expires_at is None or entry.expires_at > now
        ]

    def entries(self, tenant_id: int) -> list[CredentialEntry]:
        """A tenant's credentials that are not disabled, also expired ones, oldest first."""
        mine = (credentials.c.tenant_id == tenant_id) & credentials.c.disabled.is_(False)
        former = former_secrets.c.credential_id == credentials.c.id
        query = (
            select(*credentials.c, former_secrets.c.until.label("former_until"))
            .outerjoin(former_secrets, former & (former_secrets.c.until > self._clock()))
            .where(mine).order_by(credentials.c.id)
        )
        return [
            CredentialEntry(
                row.kind, row.public_id, row.expires_at, permissions_from_json(row.permissions),
                row.created_at, row.sm2_public_key is not None, row.former_until,
            )
            for row in read_rows(self._engine, query)
        ]

    def _require_tenant(self, tenant_id: int) -> None:
        if not read_values(self._engine, select(tenants.c.id).where(tenants.c.id == tenant_id)):
            raise TenantNotFound


def _fresh(kind: CredentialKind) -> IssuedCredential:
    secret = kind.new_secret()
    return IssuedCredential(kind.new_id(secret), secret)


def _live(now: float | BindParameter[float]) -> ColumnElement[bool]:
    later = or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > now)
    return credentials.c.disabled.is_(False) & later


# The live credential of a public id, with its former secret while that is accepted. Built
# once: every request asks.
_FIND = (
    select(
        *credentials.c,
        former_secrets.c.secret.label("former_secret"),
        former_secrets.c.sm2_public_key.label("former_sm2_public_key"),
    )
    .outerjoin(
        former_secrets,
        (former_secrets.c.credential_id == credentials.c.id)
        & (former_secrets.c.until > bindparam("now")),
    )
    .where(
        credentials.c.kind == bindparam("kind"),
        credentials.c.public_id == bindparam("public_id"), _live(bindparam("now")),
    )
)

# The same with the columns of its tenant, which is not disabled, under this prefix.
_OWNER = "owner_"
_FIND_WITH_TENANT = (
    _FIND.add_columns(*(column.label(_OWNER + column.name) for column in tenants.c))
    .join(tenants, tenants.c.id == credentials.c.tenant_id)
    .where(tenants.c.disabled.is_(False))
)


def _secrets(row: RowMapping) -> list[tuple[bytes, str | None]]:
    """The secrets of a live credential, the newest first, each with its SM2 public key."""
    former = (row["former_secret"], row["former_sm2_public_key"])
    return [(row["secret"], row["sm2_public_key"]), *([former] if former[0] is not None else [])]


def _own(
    connection: Connection, tenant_id: int, kind: str, public_id: str, now: float
) -> RowMapping:
    own = _FIND.where(credentials.c.tenant_id == tenant_id)
    values = {"kind": kind, "public_id": public_id, "now": now}
    row = connection.execute(own, values).mappings().one_or_none()
    if row is None:
        raise CredentialNotFound
    return row


def _others(tenant_id: int, kind: str, keep: str | None) -> ColumnElement[bool]:
    mine = (credentials.c.tenant_id == tenant_id) & (credentials.c.kind == kind)
    return mine & (credentials.c.public_id != (keep or ""))
