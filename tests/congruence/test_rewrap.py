"""Rotation of the master key: what is sealed moves over, what is recognised stays."""

from __future__ import annotations

import os
import threading

import pytest
from sqlalchemy import Engine, update

from pipeline.accounts.rewrap import PORTION, count_by_key, rewrap_all
from pipeline.accounts.tenants import TenantStore
from pipeline.database.engine import writing
from pipeline.database.schema import credentials
from pipeline.encryption.data_keys import TenantKeys
from pipeline.encryption.keyring import KEY_BYTES, FixedKeys
from pipeline.encryption.vault import UNMARKED, Vault
from pipeline.errors import ConfigurationError

OLD, NEW = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)


@pytest.fixture
def old(engine: Engine) -> TenantStore:
    return TenantStore(engine, Vault(OLD))


def test_everything_moves_to_the_new_key(old: TenantStore, engine: Engine) -> None:
    tenant = old.create("tenant", encrypted=True)
    signed, key, numbered = (
        old.issue_signed(tenant.id), old.issue_key(tenant.id), old.issue_apid(tenant.id)
    )
    again = old.rotate_signed(tenant.id, signed.app_id, 1000.0)
    data_key = TenantKeys(engine, lambda: Vault(OLD)).data_key(tenant.id)
    assert data_key is not None
    hidden = data_key.encrypt(b"data", "label")
    both = Vault(FixedKeys(NEW, OLD))

    assert rewrap_all(engine, both) == 4

    counts = count_by_key(engine, both)
    assert {name: set(found) for name, found in counts.items()} == {
        name: {both.key_ids()[0]}
        for name in ("secrets of applications", "former secrets", "data keys", "pepper")
    }
    assert rewrap_all(engine, both) == 0
    only = TenantStore(engine, Vault(NEW))
    found = only.signed(signed.app_id)
    assert found is not None
    assert {secret.app_secret for secret in found.secrets()} == {
        signed.app_secret, again.app_secret
    }
    assert only.by_key(key) == tenant
    assert only.by_apid(numbered.apid, numbered.kvalue) == tenant
    opened = TenantKeys(engine, lambda: Vault(NEW)).data_key(tenant.id)
    assert opened is not None
    assert opened.decrypt(hidden, "label") == b"data"
    with pytest.raises(ConfigurationError):
        TenantStore(engine, Vault(OLD)).by_key(key)


def test_what_names_no_key_moves_too(old: TenantStore, engine: Engine) -> None:
    issued = old.issue_signed(old.create("tenant").id)
    unmarked = Vault(OLD).encrypt(issued.app_secret, issued.app_id)[12:]
    with writing(engine) as connection:
        connection.execute(update(credentials).values(secret=unmarked))
    both = Vault(FixedKeys(NEW, OLD))
    assert count_by_key(engine, both)["secrets of applications"] == {UNMARKED: 1}
    assert rewrap_all(engine, both) == 1
    found = TenantStore(engine, Vault(NEW)).signed(issued.app_id)
    assert found is not None
    assert found.app_secret == issued.app_secret


def test_an_interrupted_run_is_ended_by_another(
    old: TenantStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = old.create("tenant")
    issued = [old.issue_signed(tenant.id) for _ in range(5)]
    monkeypatch.setattr("pipeline.accounts.rewrap.PORTION", 2)
    with writing(engine) as connection:  # of a key that nobody has
        connection.execute(
            update(credentials).where(credentials.c.public_id == issued[3].app_id)
            .values(secret=Vault(os.urandom(KEY_BYTES)).encrypt("x", issued[3].app_id))
        )
    both = Vault(FixedKeys(NEW, OLD))
    with pytest.raises(ConfigurationError):
        rewrap_all(engine, both)
    assert count_by_key(engine, both)["secrets of applications"][both.key_ids()[0]] == 2
    old.revoke(tenant.id, "signed", keep=issued[0].app_id)
    with writing(engine) as connection:
        connection.execute(
            credentials.delete().where(credentials.c.public_id == issued[3].app_id)
        )
    assert rewrap_all(engine, both) == 2
    assert PORTION > 2


def test_a_secret_that_is_rotated_meanwhile_is_not_brought_back(
    old: TenantStore, engine: Engine
) -> None:
    """Two that write the same rows at once: no secret is lost, none comes back."""
    tenant = old.create("tenant")
    issued = old.issue_signed(tenant.id)
    both = Vault(FixedKeys(NEW, OLD))
    stop = threading.Event()

    def keep_resealing() -> None:
        while not stop.is_set():
            rewrap_all(engine, both)

    thread = threading.Thread(target=keep_resealing)
    thread.start()
    try:
        stale = TenantStore(engine, Vault(FixedKeys(OLD, NEW)))
        for _ in range(20):
            fresh = stale.rotate_signed(tenant.id, issued.app_id, 0.0)
            found = stale.signed(issued.app_id)
            assert found is not None
            assert [secret.app_secret for secret in found.secrets()] == [fresh.app_secret]
    finally:
        stop.set()
        thread.join()
