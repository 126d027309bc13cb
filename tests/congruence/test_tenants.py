"""Tenants and credentials, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import Engine, insert, select, update

from pipeline.accounts.tenants import TenantStore, tenant_ids
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials, tenants
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault, fingerprint
from pipeline.errors import (
    BadCredentials,
    ConfigurationError,
    CredentialExpired,
    CredentialNotFound,
    InvalidParameter,
    TenantNotFound,
)
from tests.job_factory import Clock

PUBLIC_KEY = "0f" * 64

NOBODY = 2**40  # no tenant: numbers go on from test to test in one database


@pytest.fixture
def store(engine: Engine, clock: Clock) -> TenantStore:
    return TenantStore(engine, Vault(os.urandom(KEY_BYTES)), clock)


def test_a_tenant_is_found_again(store: TenantStore, engine: Engine) -> None:
    first = store.create("first", {"e_locations": "left_top"})
    second = store.create("第二")
    assert store.get(first.id) == store.by_name("first") == first
    assert first.settings == {"e_locations": "left_top"}
    assert store.all() == [first, second]
    assert tenant_ids(engine) == [first.id, second.id]


@pytest.mark.parametrize("name", ["", "x" * 129, "taken"])
def test_a_name_that_cannot_be_is_refused(store: TenantStore, name: str) -> None:
    store.create("taken")
    with pytest.raises(InvalidParameter):
        store.create(name)


def test_an_unknown_tenant(store: TenantStore) -> None:
    for work in (store.get, store.issue_signed, store.issue_key, store.issue_apid):
        with pytest.raises(TenantNotFound):
            work(NOBODY)
    with pytest.raises(TenantNotFound):
        store.by_name("nobody")
    with pytest.raises(TenantNotFound):
        store.set_disabled(NOBODY, True)
    with pytest.raises(TenantNotFound):
        store.set_settings(NOBODY, {})
    assert store.revoke(NOBODY, "signed") == 0
    assert store.public_ids(NOBODY) == []


def test_a_signed_credential_gives_its_secret_back(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued = store.issue_signed(tenant.id, PUBLIC_KEY)
    found = store.signed(issued.app_id)
    assert found is not None
    assert (found.tenant, found.app_secret) == (tenant, issued.app_secret)
    assert found.sm2_public_key == PUBLIC_KEY
    assert issued.app_secret not in repr(issued) + repr(found)


def test_a_key_names_its_tenant(store: TenantStore) -> None:
    tenant = store.create("tenant")
    key = store.issue_key(tenant.id)
    assert store.by_key(key) == tenant
    assert store.by_key(key[:-1]) is None
    assert store.by_key(key + "x") is None
    assert store.by_key(key[:12] + "\ud800") is None


def test_a_number_and_its_key_name_their_tenant(store: TenantStore) -> None:
    tenant = store.create("tenant")
    first, second = store.issue_apid(tenant.id), store.issue_apid(tenant.id)
    assert store.by_apid(first.apid, first.kvalue) == tenant
    for wrong in ("", first.kvalue[:-1], second.kvalue, "\ud800"):
        with pytest.raises(BadCredentials):
            store.by_apid(first.apid, wrong)
    for nobody in (0, -1, 1, 10**18, first.apid + 10**9):
        with pytest.raises(TenantNotFound):
            store.by_apid(nobody, first.kvalue)
    assert first.kvalue not in repr(first)


def test_a_revoked_number_and_one_of_a_disabled_tenant_are_unknown(store: TenantStore) -> None:
    tenant = store.create("tenant")
    old, new = store.issue_apid(tenant.id), store.issue_apid(tenant.id)
    assert store.revoke(tenant.id, "apid", keep=str(new.apid)) == 1
    with pytest.raises(TenantNotFound):
        store.by_apid(old.apid, old.kvalue)
    store.set_disabled(tenant.id, True)
    with pytest.raises(TenantNotFound):
        store.by_apid(new.apid, new.kvalue)


@pytest.mark.parametrize("text", ["", "x", "\x00", "\ud800", "' OR 1=1 --", "x" * 10_000, "密"])
def test_a_strangers_text_names_nobody(store: TenantStore, text: str) -> None:
    store.issue_key(store.create("tenant").id)
    assert store.signed(text) is None
    assert store.by_key(text) is None


def test_one_kind_does_not_pass_for_the_other(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued, key = store.issue_signed(tenant.id), store.issue_key(tenant.id)
    assert store.by_key(issued.app_id) is None
    assert store.signed(key[:12]) is None


def test_a_disabled_tenant_is_not_let_in(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued, key = store.issue_signed(tenant.id), store.issue_key(tenant.id)
    store.set_disabled(tenant.id, True)
    assert store.get(tenant.id).disabled
    assert store.signed(issued.app_id) is None
    assert store.by_key(key) is None
    store.set_disabled(tenant.id, False)
    assert store.signed(issued.app_id) is not None


def test_rotation_keeps_both_until_the_old_is_revoked(store: TenantStore) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    old, theirs = store.issue_signed(tenant.id), store.issue_signed(other.id)
    key = store.issue_key(tenant.id)
    new = store.issue_signed(tenant.id)
    assert store.signed(old.app_id) is not None
    assert store.revoke(tenant.id, "signed", keep=new.app_id) == 1
    assert store.signed(old.app_id) is None
    assert store.signed(new.app_id) is not None
    assert store.signed(theirs.app_id) is not None
    assert store.by_key(key) == tenant
    assert store.public_ids(tenant.id) == [("key", key[:12]), ("signed", new.app_id)]
    assert store.revoke(tenant.id, "signed") == 1
    assert store.signed(new.app_id) is None


def test_a_credential_expires(store: TenantStore, engine: Engine, clock: Clock) -> None:
    issued = store.issue_signed(store.create("tenant").id)
    with writing(engine) as connection:
        connection.execute(update(credentials).values(expires_at=clock.now + 10))
    assert store.signed(issued.app_id) is not None
    clock.forward(10)
    assert store.signed(issued.app_id) is None


def test_a_credential_keeps_its_name_and_has_two_live_secrets(
    store: TenantStore, clock: Clock
) -> None:
    tenant = store.create("tenant")
    first = store.issue_signed(tenant.id, PUBLIC_KEY)
    second = store.rotate_signed(tenant.id, first.app_id, 100.0, "1e" * 64)
    assert _live_secrets(store, first.app_id) == [
        (second.app_secret, "1e" * 64), (first.app_secret, PUBLIC_KEY)
    ]
    clock.forward(100)
    assert _live_secrets(store, first.app_id) == [(second.app_secret, "1e" * 64)]
    third = store.rotate_signed(tenant.id, first.app_id, 100.0)
    fourth = store.rotate_signed(tenant.id, first.app_id, 100.0)
    assert _live_secrets(store, first.app_id) == [
        (fourth.app_secret, None), (third.app_secret, None)
    ]
    assert store.revoke(tenant.id, "signed", keep=first.app_id) == 1
    assert _live_secrets(store, first.app_id) == [(fourth.app_secret, None)]
    fifth = store.rotate_signed(tenant.id, first.app_id, 0.0)
    assert _live_secrets(store, first.app_id) == [(fifth.app_secret, None)]


def _live_secrets(store: TenantStore, app_id: str) -> list[tuple[str, str | None]]:
    found = store.signed(app_id)
    assert found is not None
    return [(secret.app_secret, secret.sm2_public_key) for secret in found.secrets()]


def test_a_number_keeps_its_name_and_has_two_live_keys(
    store: TenantStore, clock: Clock
) -> None:
    tenant = store.create("tenant")
    first = store.issue_apid(tenant.id)
    second = store.rotate_apid(tenant.id, first.apid, 100.0)
    assert first.apid == second.apid
    for kvalue in (first.kvalue, second.kvalue):
        assert store.by_apid(first.apid, kvalue) == tenant
    clock.forward(100)
    assert store.by_apid(first.apid, second.kvalue) == tenant
    with pytest.raises(BadCredentials):
        store.by_apid(first.apid, first.kvalue)


def test_a_rotated_key_goes_on_for_a_while(store: TenantStore, clock: Clock) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    old, theirs = store.issue_key(tenant.id), store.issue_key(other.id)
    new = store.rotate_key(tenant.id, old[:12], 100.0)
    assert store.by_key(old) == store.by_key(new) == tenant
    assert store.retire(tenant.id, "key", 50.0, keep=new[:12]) == 1
    assert store.retire(tenant.id, "key", 80.0, keep=new[:12]) == 0
    clock.forward(50)
    with pytest.raises(CredentialExpired):
        store.by_key(old)
    assert store.by_key(f"{old[:-1]}!") is None
    assert store.public_ids(tenant.id) == [("key", new[:12])]
    assert store.by_key(new) == tenant
    assert store.by_key(theirs) == other


def test_only_a_live_credential_of_ones_own_is_rotated(store: TenantStore) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    signed, key = store.issue_signed(tenant.id), store.issue_key(tenant.id)
    numbered = store.issue_apid(tenant.id)
    for who in (other.id, NOBODY):
        with pytest.raises(CredentialNotFound):
            store.rotate_signed(who, signed.app_id, 1.0)
        with pytest.raises(CredentialNotFound):
            store.rotate_key(who, key[:12], 1.0)
        with pytest.raises(CredentialNotFound):
            store.rotate_apid(who, numbered.apid, 1.0)
    store.revoke(tenant.id, "signed")
    with pytest.raises(CredentialNotFound):
        store.rotate_signed(tenant.id, signed.app_id, 1.0)


def test_fingerprints_of_before_the_pepper_are_recognised(engine: Engine) -> None:
    """The pepper was made from the master key; rows of that time go on."""
    vault = Vault(os.urandom(KEY_BYTES))
    key = "a" * 43
    with writing(engine) as connection:
        tenant = connection.execute(
            insert(tenants)
            .values(name="old", settings={}, disabled=False, created_at=1.0)
            .returning(tenants.c.id)
        ).scalar_one()
        connection.execute(
            insert(credentials).values(
                tenant_id=tenant, kind="key", public_id=key[:12], disabled=False, created_at=1.0,
                secret=fingerprint(vault.first_pepper(), key),
            )
        )
    stores = [TenantStore(engine, vault) for _ in range(2)]
    for store in stores:
        found = store.by_key(key)
        assert found is not None
        assert found.id == tenant
    assert stores[0].by_key(stores[1].issue_key(tenant)) == found


def test_nothing_readable_is_kept(store: TenantStore, engine: Engine) -> None:
    tenant = store.create("tenant")
    issued, key = store.issue_signed(tenant.id), store.issue_key(tenant.id)
    with reading(engine) as connection:
        kept = [bytes(row.secret) for row in connection.execute(select(credentials.c.secret))]
    for secret in (issued.app_secret.encode(), bytes.fromhex(issued.app_secret), key.encode()):
        assert not any(secret in row for row in kept)


def test_another_master_key_says_so(store: TenantStore, engine: Engine) -> None:
    issued = store.issue_signed(store.create("tenant").id)
    other = TenantStore(engine, Vault(os.urandom(KEY_BYTES)))
    with pytest.raises(ConfigurationError, match="FACELINE_MASTER_KEY"):
        other.signed(issued.app_id)


def test_settings_are_replaced(store: TenantStore) -> None:
    tenant = store.create("tenant", {"a": 1})
    store.set_settings(tenant.id, {"b": 2})
    assert store.get(tenant.id).settings == {"b": 2}
