"""Rotation of the master key: encrypted values are rewrapped, fingerprints stay."""

from __future__ import annotations

import os
import threading

import pyotp
import pytest
from sqlalchemy import Engine, select, update

from pipeline.accounts.kinds import API_KEY, NUMBER_AND_KEY, SIGNING
from pipeline.accounts.tenants import TenantStore
from pipeline.database.clock import database_time
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, webhooks
from pipeline.deletions.signing import signing_key
from pipeline.encryption.data_keys import TenantKeys
from pipeline.encryption.keyring import KEY_BYTES, FixedKeys
from pipeline.encryption.rewrap import PAGE_ROWS, count_by_key, rewrap_all
from pipeline.encryption.vault import Vault, webhook_secret_owner
from pipeline.errors import ConfigurationError
from pipeline.operators.model import OperatorRole
from pipeline.operators.passwords import STEP_S, new_secret
from pipeline.operators.sign_in import SignIn
from pipeline.operators.store import OperatorStore
from pipeline.webhooks.store import WebhookStore

OLD, NEW = os.urandom(KEY_BYTES), os.urandom(KEY_BYTES)


@pytest.fixture
def old(engine: Engine) -> TenantStore:
    return TenantStore(engine, Vault(OLD))


def test_everything_moves_to_the_new_key(old: TenantStore, engine: Engine) -> None:
    tenant = old.create("tenant", encrypted=True)
    signed, key, numbered = (
        old.credentials.issue(tenant.id, kind) for kind in (SIGNING, API_KEY, NUMBER_AND_KEY)
    )
    again = old.credentials.rotate(tenant.id, SIGNING, signed.public_id, 1000.0)
    hooks = WebhookStore(engine, Vault(OLD))
    hook, first = hooks.add(tenant.id, "https://receiver.example/")
    second = hooks.rotate(tenant.id, hook.id, 1000.0)
    data_key = TenantKeys(engine, lambda: Vault(OLD)).data_key(tenant.id)
    assert data_key is not None
    hidden = data_key.encrypt(b"data", "label")
    signing = signing_key(engine, Vault(OLD))
    operator = OperatorStore(engine).create("ada", OperatorRole.VIEWER, sees_faces=False)
    codes, start = new_secret(), database_time(engine)
    now = pyotp.TOTP(codes).at(int(start))
    SignIn(engine, Vault(OLD), lambda: start).start_codes(operator, "", codes, now)
    both = Vault(FixedKeys(NEW, OLD))

    assert rewrap_all(engine, both) == 8

    counts = count_by_key(engine, both)
    assert {name: set(found) for name, found in counts.items()} == {
        name: {both.key_ids()[0]}
        for name in (
            "secrets of applications", "former secrets", "data keys", "pepper",
            "secrets of webhooks", "former secrets of webhooks",
            "signing key", "secrets of one-time codes",
        )
    }
    with reading(engine) as connection:
        row = connection.execute(select(webhooks)).one()
    owner = webhook_secret_owner(hook.id)
    kept = [Vault(NEW).decrypt_text(each, owner) for each in (row.secret, row.former_secret)]
    assert kept == [second, first]
    later = start + STEP_S
    SignIn(engine, Vault(NEW), lambda: later).check_code(
        operator.id, pyotp.TOTP(codes).at(int(later))
    )
    assert rewrap_all(engine, both) == 0
    only = TenantStore(engine, Vault(NEW))
    found = only.credentials.signing(signed.public_id)
    assert found is not None
    assert {secret.secret for secret in found.secrets} == {
        signed.secret, again.secret
    }
    assert only.credentials.by_api_key(key.secret) == tenant
    authenticate = only.credentials.authenticate
    assert authenticate(NUMBER_AND_KEY, numbered.public_id, numbered.secret) == tenant
    opened = TenantKeys(engine, lambda: Vault(NEW)).data_key(tenant.id)
    assert opened is not None
    assert opened.decrypt(hidden, "label") == b"data"
    assert signing_key(engine, Vault(NEW)).public_key == signing.public_key
    with pytest.raises(ConfigurationError):
        TenantStore(engine, Vault(OLD)).credentials.by_api_key(key.secret)


def test_an_interrupted_run_is_ended_by_another(
    old: TenantStore, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = old.create("tenant")
    issued = [old.credentials.issue(tenant.id, SIGNING) for _ in range(5)]
    monkeypatch.setattr("pipeline.encryption.rewrap.PAGE_ROWS", 2)
    with writing(engine) as connection:  # of a key that is not configured
        connection.execute(
            update(credentials).where(credentials.c.public_id == issued[3].public_id)
            .values(secret=Vault(os.urandom(KEY_BYTES)).encrypt("x", issued[3].public_id))
        )
    both = Vault(FixedKeys(NEW, OLD))
    with pytest.raises(ConfigurationError):
        rewrap_all(engine, both)
    assert count_by_key(engine, both)["secrets of applications"][both.key_ids()[0]] == 2
    old.credentials.revoke(tenant.id, SIGNING.name, keep=issued[0].public_id)
    with writing(engine) as connection:
        connection.execute(
            credentials.delete().where(credentials.c.public_id == issued[3].public_id)
        )
    assert rewrap_all(engine, both) == 2
    assert PAGE_ROWS > 2


def test_a_secret_that_is_rotated_meanwhile_is_not_brought_back(
    old: TenantStore, engine: Engine
) -> None:
    """Two that write the same rows at once: no secret is lost, none comes back."""
    tenant = old.create("tenant")
    issued = old.credentials.issue(tenant.id, SIGNING)
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
            fresh = stale.credentials.rotate(tenant.id, SIGNING, issued.public_id, 0.0)
            found = stale.credentials.signing(issued.public_id)
            assert found is not None
            assert [secret.secret for secret in found.secrets] == [fresh.secret]
    finally:
        stop.set()
        thread.join()
