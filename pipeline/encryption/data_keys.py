"""The data keys of tenants whose data are encrypted at rest: created, found, destroyed."""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.config.settings import Settings
from pipeline.database.engine import change_rows, purge_deleted_data, read_row, read_rows, writing
from pipeline.database.schema import data_keys, tenants
from pipeline.encryption.data_key import DataKey
from pipeline.encryption.key_check import has_master_key
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault, open_vault
from pipeline.errors import InvalidParameter, TenantNotFound, WrongMasterKey

# Seconds for which a process caches a key, and so may use it after its destruction.
CACHE_S = 2.0


class KeyState(StrEnum):
    """The state of a tenant's key."""

    CONVERTING = "converting"
    """New data are encrypted, older ones not all of them yet."""
    ON = "on"
    DESTROYED = "destroyed"


_DESTROYED = {"wrapped": None, "state": KeyState.DESTROYED.value}

_FIND = (
    select(data_keys.c.wrapped, data_keys.c.state)
    .select_from(tenants)
    .outerjoin(data_keys, data_keys.c.tenant_id == tenants.c.id)
)


class TenantKeys:
    """The ``KeySource`` of a process; thread-safe. ``vault`` is called for the first key to
    decrypt: without encrypted tenants a process needs no master key."""

    def __init__(self, engine: Engine, vault: Callable[[], Vault]) -> None:
        self._engine = engine
        self._open_vault = vault
        self._vault: Vault | None = None
        self._cache: dict[int, tuple[float, DataKey | None]] = {}
        self._lock = threading.Lock()

    def data_key(self, tenant_id: int) -> DataKey | None:
        now = time.monotonic()
        with self._lock:
            until, key = self._cache.get(tenant_id, (0.0, None))
        if until > now:
            return key
        key = self._read(tenant_id)
        with self._lock:
            self._cache[tenant_id] = (now + CACHE_S, key)
        return key

    def _read(self, tenant_id: int) -> DataKey | None:
        row = read_row(self._engine, _FIND.where(tenants.c.id == tenant_id))
        if row is None or row.state == KeyState.DESTROYED:
            raise TenantNotFound
        if row.state is None:
            return None
        if self._vault is None:
            self._vault = self._open_vault()
        return DataKey(tenant_id, self._vault.decrypt(row.wrapped, data_key_owner(tenant_id)))


def open_keys(settings: Settings, engine: Engine) -> TenantKeys:
    """The tenants' keys under the configured master key. Without one, as the worker that fetches
    may be, the key of an encrypted tenant is ``WrongMasterKey``."""
    return TenantKeys(engine, lambda: _existing_vault(settings))


def _existing_vault(settings: Settings) -> Vault:
    # A fresh key file would decrypt nothing.
    if not has_master_key(settings):
        raise WrongMasterKey("This process has no master key, and the application is encrypted.")
    return open_vault(settings)


def data_key_owner(tenant_id: int) -> str:
    """The owner that a wrapped data key is bound to."""
    return f"data key of tenant {tenant_id}"


def add_key(
    connection: Connection, vault: Vault, tenant_id: int, state: KeyState, now: float
) -> None:
    """Give a tenant a fresh key. Raises ``IntegrityError`` when it has one."""
    wrapped = vault.encrypt(os.urandom(KEY_BYTES), data_key_owner(tenant_id))
    connection.execute(
        insert(data_keys).values(
            tenant_id=tenant_id, wrapped=wrapped, state=state.value, created_at=now
        )
    )


def begin_encrypting(engine: Engine, vault: Vault, tenant_id: int, now: float) -> None:
    """Give a tenant a key if it has none; data stored more than ``CACHE_S`` later are
    encrypted. Raises ``InvalidParameter`` when its key was destroyed."""
    try:
        with writing(engine, durable=True) as connection:
            add_key(connection, vault, tenant_id, KeyState.CONVERTING, now)
    except IntegrityError as error:
        if key_states(engine).get(tenant_id) is KeyState.DESTROYED:
            raise InvalidParameter("the tenant's key was destroyed") from error


def finish_encrypting(engine: Engine, tenant_id: int) -> None:
    """Record that all data of a tenant are encrypted."""
    change_rows(
        engine,
        update(data_keys)
        .where(data_keys.c.tenant_id == tenant_id, data_keys.c.wrapped.is_not(None))
        .values(state=KeyState.ON.value),
    )


def destroy_key(engine: Engine, tenant_id: int) -> bool:
    """Destroy a tenant's key and disable the tenant; False when it has none.

    Data encrypted under the key become unreadable: for running processes ``CACHE_S`` later,
    and from the database's files at once, as the key is overwritten there.
    """
    with writing(engine, durable=True) as connection:
        destroyed = connection.execute(
            update(data_keys)
            .where(data_keys.c.tenant_id == tenant_id, data_keys.c.wrapped.is_not(None))
            .values(**_DESTROYED)
        )
        if destroyed.rowcount == 0:
            return False
        connection.execute(update(tenants).where(tenants.c.id == tenant_id).values(disabled=True))
    purge_deleted_data(engine, data_keys)
    return True


def key_states(engine: Engine) -> dict[int, KeyState]:
    """The state of each tenant that has or had a key."""
    rows = read_rows(engine, select(data_keys.c.tenant_id, data_keys.c.state))
    return {row.tenant_id: KeyState(row.state) for row in rows}


@dataclass(frozen=True, slots=True)
class SavedKey:
    """A tenant's wrapped key, saved apart from the backups of the database."""

    tenant_id: int
    wrapped: bytes
    state: str
    created_at: float


def saved_keys(engine: Engine) -> list[SavedKey]:
    """Every key that was not destroyed."""
    kept = select(
        data_keys.c.tenant_id, data_keys.c.wrapped, data_keys.c.state, data_keys.c.created_at
    ).where(data_keys.c.wrapped.is_not(None)).order_by(data_keys.c.tenant_id)
    return [SavedKey(*row) for row in read_rows(engine, kept)]


def encode_saved_keys(kept: Iterable[SavedKey]) -> str:
    """Keys as lines of JSON, encrypted as they are."""
    return "".join(
        json.dumps({
            "tenant": key.tenant_id, "key": base64.b64encode(key.wrapped).decode(),
            "state": key.state, "created_at": key.created_at,
        }) + "\n"
        for key in kept
    )


def decode_saved_keys(text: str) -> list[SavedKey]:
    """The keys in a text of ``encode_saved_keys``. Raises ``InvalidParameter``."""
    try:
        found = [json.loads(line) for line in text.splitlines()]
        return [
            SavedKey(
                int(values["tenant"]), base64.b64decode(values["key"]), str(values["state"]),
                float(values["created_at"]),
            )
            for values in found
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidParameter("that is not a file of keys") from error


def restore_keys(engine: Engine, vault: Vault, saved: Iterable[SavedKey]) -> int:
    """Put keys back into a database that was restored without them; returns how many were
    missing. Present keys stay. Raises ``ConfigurationError`` for a key that no master key
    decrypts, and then changes nothing."""
    with writing(engine, durable=True) as connection:
        return restore_keys_within(connection, vault, saved)


def restore_keys_within(connection: Connection, vault: Vault, saved: Iterable[SavedKey]) -> int:
    """``restore_keys`` as part of a transaction that writes."""
    restored = 0
    for key in saved:
        vault.decrypt(key.wrapped, data_key_owner(key.tenant_id))
        row = connection.execute(_FIND.where(tenants.c.id == key.tenant_id)).one_or_none()
        if row is None or row.wrapped is not None:
            continue  # deleted before the backup was made, or present
        values: dict[str, object] = {"wrapped": key.wrapped, "state": key.state}
        if row.state is None:
            values |= {"tenant_id": key.tenant_id, "created_at": key.created_at}
            connection.execute(insert(data_keys).values(**values))
        else:
            mine = data_keys.c.tenant_id == key.tenant_id
            connection.execute(update(data_keys).where(mine).values(**values))
        restored += 1
    return restored


def remove_keys(engine: Engine) -> int:
    """Remove every key from a copy of the database that becomes a backup; returns how many.
    Encrypted data cannot be read with it until ``restore_keys``."""
    kept = update(data_keys).where(data_keys.c.wrapped.is_not(None))
    removed = change_rows(engine, kept.values(**_DESTROYED), durable=True)
    purge_deleted_data(engine, data_keys)
    return removed
