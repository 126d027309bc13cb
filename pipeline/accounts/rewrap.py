"""Bringing everything that is sealed under the current master key, and seeing what is not.

In small transactions, each row compared with what was read: processes that serve go on
meanwhile, and what was interrupted is done by another run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Engine, Row, Select, Table, select, update

from pipeline.accounts.key_fingerprints import FINGERPRINTED, PEPPER_OWNER
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, data_keys, former_secrets, peppers
from pipeline.encryption.data_keys import data_key_owner
from pipeline.encryption.vault import Vault

# Rows of one transaction: SQLite lets nobody else write for a few milliseconds.
PORTION = 100


@dataclass(frozen=True, slots=True)
class _EncryptedColumn:
    """A column of sealed values. ``query`` gives (key, sealed, what the owner is made of);
    a fingerprint is no sealed value."""

    name: str
    table: Table
    key: Column[int]
    column: Column[bytes]
    query: Select[*tuple[Any, ...]]
    owner: Callable[[Any], str]


_READ_AGAIN = credentials.c.kind.not_in(FINGERPRINTED)

_ENCRYPTED_COLUMNS = (
    _EncryptedColumn(
        "secrets of applications", credentials, credentials.c.id, credentials.c.secret,
        select(credentials.c.id, credentials.c.secret, credentials.c.public_id)
        .where(_READ_AGAIN),
        str,
    ),
    _EncryptedColumn(
        "former secrets", former_secrets, former_secrets.c.credential_id,
        former_secrets.c.secret,
        select(former_secrets.c.credential_id, former_secrets.c.secret, credentials.c.public_id)
        .join(credentials, credentials.c.id == former_secrets.c.credential_id)
        .where(_READ_AGAIN),
        str,
    ),
    _EncryptedColumn(
        "data keys", data_keys, data_keys.c.tenant_id, data_keys.c.wrapped,
        select(data_keys.c.tenant_id, data_keys.c.wrapped, data_keys.c.tenant_id)
        .where(data_keys.c.wrapped.is_not(None)),
        data_key_owner,
    ),
    _EncryptedColumn(
        "pepper", peppers, peppers.c.id, peppers.c.sealed,
        select(peppers.c.id, peppers.c.sealed, peppers.c.id),
        lambda _: PEPPER_OWNER,
    ),
)


def count_by_key(engine: Engine, vault: Vault) -> dict[str, Counter[str]]:
    """How many values of each place are sealed under which key (its id)."""
    return {
        place.name: Counter(
            vault.key_id(row[1]) for rows in _portions(engine, place) for row in rows
        )
        for place in _ENCRYPTED_COLUMNS
    }


def rewrap_all(engine: Engine, vault: Vault) -> int:
    """Seal under the current key what is under another; how many values it were.

    Raises ``ConfigurationError`` for a value that no known key opens; what was done by
    then stays done.
    """
    done = 0
    for place in _ENCRYPTED_COLUMNS:
        for rows in _portions(engine, place):
            old = [row for row in rows if not vault.is_current(row[1])]
            if old:
                done += _rewrap(engine, vault, place, old)
    return done


def _rewrap(
    engine: Engine, vault: Vault, place: _EncryptedColumn, rows: list[Row[*tuple[Any, ...]]]
) -> int:
    done = 0
    with writing(engine, durable=True) as connection:
        for key, sealed, about in rows:
            owner = place.owner(about)
            fresh = vault.encrypt(vault.decrypt(sealed, owner), owner)
            # Rotated or destroyed meanwhile: that counts.
            same = (place.key == key) & (place.column == sealed)
            changed = connection.execute(
                update(place.table).where(same).values({place.column: fresh})
            )
            done += changed.rowcount
    return done


def _portions(engine: Engine, place: _EncryptedColumn) -> Iterator[list[Row[*tuple[Any, ...]]]]:
    last = -1
    while True:
        query = place.query.where(place.key > last).order_by(place.key).limit(PORTION)
        with reading(engine) as connection:
            rows = list(connection.execute(query).all())
        if not rows:
            return
        yield rows
        last = rows[-1][0]
