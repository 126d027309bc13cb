"""Encrypts every stored secret again under the current master key.

Works in small transactions and updates a row only if it still holds the value read, so that
the service goes on meanwhile and an interrupted run is completed by another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Engine, Row, Select, select, update

from pipeline.database.engine import writing
from pipeline.database.keyset import read_pages
from pipeline.database.schema import (
    credentials,
    data_keys,
    former_secrets,
    operators,
    peppers,
    signing_keys,
    webhooks,
)
from pipeline.encryption.data_keys import data_key_owner
from pipeline.encryption.key_fingerprints import PEPPER_OWNER
from pipeline.encryption.vault import Vault, codes_secret_owner, webhook_secret_owner

SIGNING_KEY_OWNER = "signing key"

# Rows of one transaction: SQLite blocks other writers for a few milliseconds.
PAGE_ROWS = 100


@dataclass(frozen=True, slots=True)
class _EncryptedColumn:
    """A column of encrypted values. ``query`` selects ``key``, ``column`` and what ``owner``
    makes the value's owner from."""

    name: str
    key: Column[int]
    column: Column[bytes]
    query: Select[*tuple[Any, ...]]
    owner: Callable[[Any], str]


_ENCRYPTED_COLUMNS = (
    _EncryptedColumn(
        "secrets of applications", credentials.c.id, credentials.c.secret,
        select(credentials.c.id, credentials.c.secret, credentials.c.public_id)
        .where(credentials.c.readable),
        str,
    ),
    _EncryptedColumn(
        "former secrets", former_secrets.c.credential_id, former_secrets.c.secret,
        select(former_secrets.c.credential_id, former_secrets.c.secret, credentials.c.public_id)
        .join(credentials, credentials.c.id == former_secrets.c.credential_id)
        .where(credentials.c.readable),
        str,
    ),
    _EncryptedColumn(
        "secrets of one-time codes", operators.c.id, operators.c.totp_secret,
        select(operators.c.id, operators.c.totp_secret, operators.c.id.label("owner"))
        .where(operators.c.totp_secret.is_not(None)),
        codes_secret_owner,
    ),
    _EncryptedColumn(
        "data keys", data_keys.c.tenant_id, data_keys.c.wrapped,
        select(data_keys.c.tenant_id, data_keys.c.wrapped, data_keys.c.tenant_id.label("owner"))
        .where(data_keys.c.wrapped.is_not(None)),
        data_key_owner,
    ),
    _EncryptedColumn(
        "pepper", peppers.c.id, peppers.c.encrypted,
        select(peppers.c.id, peppers.c.encrypted, peppers.c.id.label("owner")),
        lambda _: PEPPER_OWNER,
    ),
    _EncryptedColumn(
        "signing key", signing_keys.c.id, signing_keys.c.encrypted,
        select(signing_keys.c.id, signing_keys.c.encrypted, signing_keys.c.id.label("owner")),
        lambda _: SIGNING_KEY_OWNER,
    ),
    *(
        _EncryptedColumn(
            name, webhooks.c.id, column,
            select(webhooks.c.id, column, webhooks.c.id.label("owner"))
            .where(column.is_not(None)),
            webhook_secret_owner,
        )
        for name, column in (
            ("secrets of webhooks", webhooks.c.secret),
            ("former secrets of webhooks", webhooks.c.former_secret),
        )
    ),
)


def count_by_key(engine: Engine, vault: Vault) -> dict[str, Counter[str]]:
    """How many values of each column are encrypted under which master key (its id)."""
    return {
        each.name: Counter(
            vault.key_id(row[1])
            for rows in read_pages(engine, each.query, each.key, PAGE_ROWS) for row in rows
        )
        for each in _ENCRYPTED_COLUMNS
    }


def rewrap_all(engine: Engine, vault: Vault) -> int:
    """Encrypt under the current key all values under other keys; returns their number.

    Raises ``ConfigurationError`` for a value that no known key decrypts; values that were
    done by then stay done.
    """
    done = 0
    for each in _ENCRYPTED_COLUMNS:
        for rows in read_pages(engine, each.query, each.key, PAGE_ROWS):
            outdated = [row for row in rows if not vault.is_current(row[1])]
            if outdated:
                done += _rewrap(engine, vault, each, outdated)
    return done


def _rewrap(
    engine: Engine, vault: Vault, each: _EncryptedColumn, rows: Sequence[Row[*tuple[Any, ...]]]
) -> int:
    done = 0
    with writing(engine, durable=True) as connection:
        for key, encrypted, named in rows:
            owner = each.owner(named)
            fresh = vault.encrypt(vault.decrypt(encrypted, owner), owner)
            # A value that was rotated or destroyed meanwhile stays as it is.
            unchanged = (each.key == key) & (each.column == encrypted)
            done += connection.execute(
                update(each.column.table).where(unchanged).values({each.column: fresh})
            ).rowcount
    return done
