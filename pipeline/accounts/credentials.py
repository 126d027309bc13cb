"""Credentials: issued, recognised, rotated with two live secrets, revoked."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    delete,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pipeline.accounts.key_fingerprints import KeyFingerprints
from pipeline.accounts.model import (
    IssuedApid,
    IssuedSigned,
    SharedSecret,
    SignedCredential,
    Tenant,
    tenant_from_row,
)
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, former_secrets, tenants
from pipeline.encryption.vault import Vault
from pipeline.errors import (
    BadCredentials,
    CredentialExpired,
    CredentialNotFound,
    TenantNotFound,
)

KEY_PREFIX_LENGTH = 12  # characters of an API key that find its row; the rest is secret
KEY_BYTES = 32
# Numbers of applications (dialect a): nine digits, so that every client's integer holds
# them, and random ones, so that a gap tells nobody how many there are.
FIRST_APID, LAST_APID = 100_000_000, 999_999_999

PUBLIC_ID = re.compile("[A-Za-z0-9_-]{1,64}")


class CredentialStore:
    """The credentials of every tenant. ``clock`` gives epoch seconds."""

    def __init__(
        self, engine: Engine, vault: Vault, clock: Callable[[], float] = time.time
    ) -> None:
        self._engine = engine
        self._vault = vault
        self._fingerprints = KeyFingerprints(engine, vault)
        self._clock = clock

    # -- signed requests (dialect e) ----------------------------------------------

    def issue_signed(self, tenant_id: int, sm2_public_key: str | None = None) -> IssuedSigned:
        """A new appId and appSecret; with the caller's SM2 public key (hex x||y) his
        SM2 signatures are accepted too. Raises ``TenantNotFound``."""
        issued = IssuedSigned(secrets.token_hex(16).upper(), _new_app_secret())
        self._insert(
            tenant_id, "signed", issued.app_id,
            self._vault.encrypt(issued.app_secret, issued.app_id), sm2_public_key,
        )
        return issued

    def rotate_signed(
        self, tenant_id: int, app_id: str, keep_s: float, sm2_public_key: str | None = None
    ) -> IssuedSigned:
        """A new appSecret for an appId; the present one goes on for ``keep_s`` seconds.
        Raises ``CredentialNotFound``."""
        issued = IssuedSigned(app_id, _new_app_secret())
        sealed = self._vault.encrypt(issued.app_secret, app_id)
        self._replace(tenant_id, "signed", app_id, keep_s, sealed, sm2_public_key)
        return issued

    def signed(self, app_id: str) -> SignedCredential | None:
        """The live credential of an appId; None when there is none."""
        found = self._credential("signed", app_id)
        if found is None:
            return None
        row, tenant = found
        former = None
        if row["former_secret"] is not None:
            former = SharedSecret(
                self._vault.decrypt_text(row["former_secret"], app_id), row["former_sm2_public_key"]
            )
        return SignedCredential(
            tenant=tenant,
            app_id=app_id,
            app_secret=self._vault.decrypt_text(row["secret"], app_id),
            sm2_public_key=row["sm2_public_key"],
            former=former,
        )

    # -- API keys -----------------------------------------------------------------

    def issue_key(self, tenant_id: int) -> str:
        """A new API key; only its fingerprint is kept. Raises ``TenantNotFound``."""
        key = secrets.token_urlsafe(KEY_BYTES)
        self._insert(
            tenant_id, "key", key[:KEY_PREFIX_LENGTH], self._fingerprints.fingerprint(key), None
        )
        return key

    def rotate_key(self, tenant_id: int, prefix: str, keep_s: float) -> str:
        """A new API key with the rights of the one that begins with ``prefix``, which
        goes on for ``keep_s`` seconds. Raises ``CredentialNotFound``."""
        key = secrets.token_urlsafe(KEY_BYTES)
        fresh = {
            "public_id": key[:KEY_PREFIX_LENGTH],
            "secret": self._fingerprints.fingerprint(key),
            "created_at": self._clock(),
        }
        with writing(self._engine) as connection:
            row = _own(connection, tenant_id, "key", prefix, self._clock())
            kept = {column.key: row[column.key] for column in credentials.c if column.key != "id"}
            connection.execute(insert(credentials).values({**kept, **fresh}))
            self._end(connection, credentials.c.id == row["id"], keep_s)
        return key

    def by_key(self, key: str) -> Tenant | None:
        """The tenant of a live API key. Raises ``CredentialExpired`` when its time is
        over."""
        prefix = key[:KEY_PREFIX_LENGTH]
        found = self._credential("key", prefix)
        if found is None:
            self._check_expired("key", prefix, key)
            return None
        row, tenant = found
        return tenant if self._recognised(key, row) else None

    # -- numbers with a key (dialect a) -------------------------------------------

    def issue_apid(self, tenant_id: int) -> IssuedApid:
        """A new Apid and Kvalue; of the latter only the fingerprint is kept. Raises
        ``TenantNotFound``."""
        self._require(tenant_id)
        kvalue = secrets.token_urlsafe(KEY_BYTES)
        while True:
            apid = FIRST_APID + secrets.randbelow(LAST_APID - FIRST_APID + 1)
            try:
                self._insert(
                    tenant_id, "apid", str(apid), self._fingerprints.fingerprint(kvalue), None
                )
            except TenantNotFound:
                self._require(tenant_id)  # the tenant is there: the number was taken
                continue
            return IssuedApid(apid, kvalue)

    def rotate_apid(self, tenant_id: int, apid: int, keep_s: float) -> IssuedApid:
        """A new Kvalue for an Apid; the present one goes on for ``keep_s`` seconds.
        Raises ``CredentialNotFound``."""
        issued = IssuedApid(apid, secrets.token_urlsafe(KEY_BYTES))
        mark = self._fingerprints.fingerprint(issued.kvalue)
        self._replace(tenant_id, "apid", str(apid), keep_s, mark, None)
        return issued

    def by_apid(self, apid: int, kvalue: str) -> Tenant:
        """The tenant of a live Apid. Raises ``TenantNotFound`` for any other number,
        ``BadCredentials`` for a wrong Kvalue, ``CredentialExpired`` when its time is
        over."""
        found = self._credential("apid", str(apid))
        if found is None:
            self._check_expired("apid", str(apid), kvalue)
            raise TenantNotFound("no such application")
        row, tenant = found
        if not self._recognised(kvalue, row):
            raise BadCredentials("wrong key")
        return tenant

    # -- ending, listing ----------------------------------------------------------

    def revoke(self, tenant_id: int, kind: str, *, keep: str | None = None) -> int:
        """Disable a tenant's credentials of one kind, all but the public id ``keep``, and
        the former secret of that one; how many secrets it were."""
        with writing(self._engine) as connection:
            return self._end(
                connection, _others(tenant_id, kind, keep), 0.0
            ) + _forget_former(connection, tenant_id, kind)

    def retire(self, tenant_id: int, kind: str, keep_s: float, *, keep: str) -> int:
        """Let a tenant's credentials of one kind, all but the public id ``keep``, end in
        ``keep_s`` seconds; how many."""
        with writing(self._engine) as connection:
            return self._end(connection, _others(tenant_id, kind, keep), keep_s)

    def public_ids(self, tenant_id: int) -> list[tuple[str, str]]:
        """(kind, public id) of a tenant's live credentials, oldest first."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(credentials.c.kind, credentials.c.public_id)
                .where(credentials.c.tenant_id == tenant_id, _live(self._clock()))
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

    def _replace(
        self, tenant_id: int, kind: str, public_id: str, keep_s: float, secret: bytes,
        sm2_public_key: str | None,
    ) -> None:
        """Give a credential another secret; the present one becomes the former one, and
        the one before that ends."""
        with writing(self._engine) as connection:
            row = _own(connection, tenant_id, kind, public_id, self._clock())
            former = former_secrets.c.credential_id == row["id"]
            connection.execute(delete(former_secrets).where(former))
            if keep_s > 0:
                connection.execute(
                    insert(former_secrets).values(
                        credential_id=row["id"], secret=row["secret"],
                        sm2_public_key=row["sm2_public_key"], until=self._clock() + keep_s,
                    )
                )
            connection.execute(
                update(credentials)
                .where(credentials.c.id == row["id"])
                .values(secret=secret, sm2_public_key=sm2_public_key)
            )

    def _end(self, connection: Connection, chosen: ColumnElement[bool], keep_s: float) -> int:
        """Let the chosen live credentials end in ``keep_s`` seconds, or now."""
        now = self._clock()
        ending = update(credentials).where(chosen, _live(now))
        if keep_s <= 0:
            return connection.execute(ending.values(disabled=True)).rowcount
        until = now + keep_s
        longer = or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > until)
        return connection.execute(ending.where(longer).values(expires_at=until)).rowcount

    def _recognised(self, secret: str, row: RowMapping) -> bool:
        kept = [row["secret"]]
        if row["former_secret"] is not None:
            kept.append(row["former_secret"])
        return self._fingerprints.matches(secret, kept)

    def _credential(self, kind: str, public_id: str) -> tuple[RowMapping, Tenant] | None:
        if PUBLIC_ID.fullmatch(public_id) is None:
            return None  # a stranger's text, which not every database would take
        with reading(self._engine) as connection:
            row = connection.execute(
                _one_of(kind, public_id, self._clock())
            ).mappings().one_or_none()
            if row is None:
                return None
            owner = connection.execute(
                select(*tenants.c).where(
                    tenants.c.id == row["tenant_id"], tenants.c.disabled.is_(False)
                )
            ).mappings().one_or_none()
        return None if owner is None else (row, tenant_from_row(owner, row["permissions"]))

    def _check_expired(self, kind: str, public_id: str, secret: str) -> None:
        """Raises ``CredentialExpired`` for the right secret of a credential whose time is
        over: nobody else learns of it."""
        if PUBLIC_ID.fullmatch(public_id) is None:
            return
        over = select(credentials.c.secret).where(
            credentials.c.kind == kind,
            credentials.c.public_id == public_id,
            credentials.c.disabled.is_(False),
            credentials.c.expires_at <= self._clock(),
        )
        with reading(self._engine) as connection:
            kept = connection.execute(over).scalar_one_or_none()
        if kept is not None and self._fingerprints.matches(secret, [kept]):
            raise CredentialExpired

    def _require(self, tenant_id: int) -> None:
        with reading(self._engine) as connection:
            there = connection.execute(select(tenants.c.id).where(tenants.c.id == tenant_id))
            if there.one_or_none() is None:
                raise TenantNotFound


def _live(now: float) -> ColumnElement[bool]:
    later = or_(credentials.c.expires_at.is_(None), credentials.c.expires_at > now)
    return credentials.c.disabled.is_(False) & later


def _one_of(kind: str, public_id: str, now: float) -> Select[*tuple[Any, ...]]:
    """The live credential of a public id, with its former secret while that is live."""
    former = (former_secrets.c.credential_id == credentials.c.id) & (former_secrets.c.until > now)
    return select(
        *credentials.c,
        former_secrets.c.secret.label("former_secret"),
        former_secrets.c.sm2_public_key.label("former_sm2_public_key"),
    ).outerjoin(former_secrets, former).where(
        credentials.c.kind == kind, credentials.c.public_id == public_id, _live(now)
    )


def _own(
    connection: Connection, tenant_id: int, kind: str, public_id: str, now: float
) -> RowMapping:
    mine = _one_of(kind, public_id, now).where(credentials.c.tenant_id == tenant_id)
    row = connection.execute(mine).mappings().one_or_none()
    if row is None:
        raise CredentialNotFound
    return row


def _others(tenant_id: int, kind: str, keep: str | None) -> ColumnElement[bool]:
    mine = (credentials.c.tenant_id == tenant_id) & (credentials.c.kind == kind)
    return mine & (credentials.c.public_id != (keep or ""))


def _forget_former(connection: Connection, tenant_id: int, kind: str) -> int:
    mine = select(credentials.c.id).where(
        credentials.c.tenant_id == tenant_id, credentials.c.kind == kind,
        credentials.c.disabled.is_(False),
    )
    gone = delete(former_secrets).where(former_secrets.c.credential_id.in_(mine))
    return connection.execute(gone).rowcount


def _new_app_secret() -> str:
    return secrets.token_hex(16).upper()
