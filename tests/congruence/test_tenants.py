"""Tenants and credentials, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import Engine, select, update

from pipeline.accounts.kinds import API_KEY, ID_AND_SECRET, NUMBER_AND_KEY, SIGNING
from pipeline.accounts.tenants import TenantStore, tenant_ids
from pipeline.database.engine import reading, writing
from pipeline.database.schema import credentials
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
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
    with pytest.raises(TenantNotFound):
        store.get(NOBODY)
    for kind in (SIGNING, API_KEY, NUMBER_AND_KEY, ID_AND_SECRET):
        with pytest.raises(TenantNotFound):
            store.credentials.issue(NOBODY, kind)
    with pytest.raises(TenantNotFound):
        store.by_name("nobody")
    with pytest.raises(TenantNotFound):
        store.set_disabled(NOBODY, True)
    assert store.credentials.revoke(NOBODY, SIGNING.name) == 0
    assert store.credentials.public_ids(NOBODY) == []


def test_a_signed_credential_gives_its_secret_back(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued = store.credentials.issue(tenant.id, SIGNING, PUBLIC_KEY)
    found = store.credentials.signing(issued.public_id)
    assert found is not None
    assert (found.tenant, found.secrets[0].secret) == (tenant, issued.secret)
    assert found.secrets[0].sm2_public_key == PUBLIC_KEY
    assert issued.secret not in repr(issued) + repr(found)


def test_a_key_names_its_tenant(store: TenantStore) -> None:
    tenant = store.create("tenant")
    key = store.credentials.issue(tenant.id, API_KEY).secret
    assert store.credentials.by_api_key(key) == tenant
    assert store.credentials.by_api_key(key[:-1]) is None
    assert store.credentials.by_api_key(key + "x") is None
    assert store.credentials.by_api_key(key[:12] + "\ud800") is None


def test_a_number_and_its_key_name_their_tenant(store: TenantStore) -> None:
    tenant = store.create("tenant")
    first = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    second = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    assert store.credentials.authenticate(NUMBER_AND_KEY, first.public_id, first.secret) == tenant
    for wrong in ("", first.secret[:-1], second.secret, "\ud800"):
        with pytest.raises(BadCredentials):
            store.credentials.authenticate(NUMBER_AND_KEY, first.public_id, wrong)
    for nobody in (0, -1, 1, 10**18, int(first.public_id) + 10**9):
        with pytest.raises(TenantNotFound):
            store.credentials.authenticate(NUMBER_AND_KEY, str(nobody), first.secret)
    assert first.secret not in repr(first)


def test_a_revoked_number_and_one_of_a_disabled_tenant_are_unknown(store: TenantStore) -> None:
    tenant = store.create("tenant")
    old = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    new = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    assert store.credentials.revoke(tenant.id, NUMBER_AND_KEY.name, keep=new.public_id) == 1
    with pytest.raises(TenantNotFound):
        store.credentials.authenticate(NUMBER_AND_KEY, old.public_id, old.secret)
    store.set_disabled(tenant.id, True)
    with pytest.raises(TenantNotFound):
        store.credentials.authenticate(NUMBER_AND_KEY, new.public_id, new.secret)


@pytest.mark.parametrize("text", ["", "x", "\x00", "\ud800", "' OR 1=1 --", "x" * 10_000, "密"])
def test_a_strangers_text_names_nobody(store: TenantStore, text: str) -> None:
    store.credentials.issue(store.create("tenant").id, API_KEY)
    assert store.credentials.signing(text) is None
    assert store.credentials.by_api_key(text) is None


def test_one_kind_does_not_pass_for_the_other(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued = store.credentials.issue(tenant.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    assert store.credentials.by_api_key(issued.public_id) is None
    assert store.credentials.signing(key[:12]) is None


def test_a_disabled_tenant_is_not_let_in(store: TenantStore) -> None:
    tenant = store.create("tenant")
    issued = store.credentials.issue(tenant.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    store.set_disabled(tenant.id, True)
    assert store.get(tenant.id).disabled
    assert store.credentials.signing(issued.public_id) is None
    assert store.credentials.by_api_key(key) is None
    store.set_disabled(tenant.id, False)
    assert store.credentials.signing(issued.public_id) is not None


def test_rotation_keeps_both_until_the_old_is_revoked(store: TenantStore) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    old = store.credentials.issue(tenant.id, SIGNING)
    theirs = store.credentials.issue(other.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    new = store.credentials.issue(tenant.id, SIGNING)
    assert store.credentials.signing(old.public_id) is not None
    assert store.credentials.revoke(tenant.id, SIGNING.name, keep=new.public_id) == 1
    assert store.credentials.signing(old.public_id) is None
    assert store.credentials.signing(new.public_id) is not None
    assert store.credentials.signing(theirs.public_id) is not None
    assert store.credentials.by_api_key(key) == tenant
    left = [(API_KEY.name, key[:12]), (SIGNING.name, new.public_id)]
    assert store.credentials.public_ids(tenant.id) == left
    assert store.credentials.revoke(tenant.id, SIGNING.name) == 1
    assert store.credentials.signing(new.public_id) is None


def test_a_credential_expires(store: TenantStore, engine: Engine, clock: Clock) -> None:
    issued = store.credentials.issue(store.create("tenant").id, SIGNING)
    with writing(engine) as connection:
        connection.execute(update(credentials).values(expires_at=clock.now + 10))
    assert store.credentials.signing(issued.public_id) is not None
    clock.forward(10)
    assert store.credentials.signing(issued.public_id) is None


def test_a_credential_keeps_its_name_and_has_two_live_secrets(
    store: TenantStore, clock: Clock
) -> None:
    tenant = store.create("tenant")
    first = store.credentials.issue(tenant.id, SIGNING, PUBLIC_KEY)
    second = store.credentials.rotate(tenant.id, SIGNING, first.public_id, 100.0, "1e" * 64)
    assert _live_secrets(store, first.public_id) == [
        (second.secret, "1e" * 64), (first.secret, PUBLIC_KEY)
    ]
    clock.forward(100)
    assert _live_secrets(store, first.public_id) == [(second.secret, "1e" * 64)]
    third = store.credentials.rotate(tenant.id, SIGNING, first.public_id, 100.0)
    fourth = store.credentials.rotate(tenant.id, SIGNING, first.public_id, 100.0)
    assert _live_secrets(store, first.public_id) == [
        (fourth.secret, None), (third.secret, None)
    ]
    assert store.credentials.revoke(tenant.id, SIGNING.name, keep=first.public_id) == 1
    assert _live_secrets(store, first.public_id) == [(fourth.secret, None)]
    fifth = store.credentials.rotate(tenant.id, SIGNING, first.public_id, 0.0)
    assert _live_secrets(store, first.public_id) == [(fifth.secret, None)]


def _live_secrets(store: TenantStore, app_id: str) -> list[tuple[str, str | None]]:
    found = store.credentials.signing(app_id)
    assert found is not None
    return [(secret.secret, secret.sm2_public_key) for secret in found.secrets]


def test_a_number_keeps_its_name_and_has_two_live_keys(
    store: TenantStore, clock: Clock
) -> None:
    tenant = store.create("tenant")
    first = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    second = store.credentials.rotate(tenant.id, NUMBER_AND_KEY, first.public_id, 100.0)
    assert first.public_id == second.public_id
    for kvalue in (first.secret, second.secret):
        assert store.credentials.authenticate(NUMBER_AND_KEY, first.public_id, kvalue) == tenant
    clock.forward(100)
    assert store.credentials.authenticate(NUMBER_AND_KEY, first.public_id, second.secret) == tenant
    with pytest.raises(BadCredentials):
        store.credentials.authenticate(NUMBER_AND_KEY, first.public_id, first.secret)


def test_a_rotated_key_goes_on_for_a_while(store: TenantStore, clock: Clock) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    old = store.credentials.issue(tenant.id, API_KEY).secret
    theirs = store.credentials.issue(other.id, API_KEY).secret
    new = store.credentials.rotate(tenant.id, API_KEY, old[:12], 100.0).secret
    assert store.credentials.by_api_key(old) == store.credentials.by_api_key(new) == tenant
    assert store.credentials.retire(tenant.id, API_KEY.name, 50.0, keep=new[:12]) == 1
    assert store.credentials.retire(tenant.id, API_KEY.name, 80.0, keep=new[:12]) == 0
    clock.forward(50)
    with pytest.raises(CredentialExpired):
        store.credentials.by_api_key(old)
    assert store.credentials.by_api_key(f"{old[:-1]}!") is None
    assert store.credentials.public_ids(tenant.id) == [(API_KEY.name, new[:12])]
    assert store.credentials.by_api_key(new) == tenant
    assert store.credentials.by_api_key(theirs) == other


def test_only_a_live_credential_of_ones_own_is_rotated(store: TenantStore) -> None:
    tenant, other = store.create("tenant"), store.create("other")
    signed = store.credentials.issue(tenant.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    numbered = store.credentials.issue(tenant.id, NUMBER_AND_KEY)
    for who in (other.id, NOBODY):
        with pytest.raises(CredentialNotFound):
            store.credentials.rotate(who, SIGNING, signed.public_id, 1.0)
        with pytest.raises(CredentialNotFound):
            store.credentials.rotate(who, API_KEY, key[:12], 1.0)
        with pytest.raises(CredentialNotFound):
            store.credentials.rotate(who, NUMBER_AND_KEY, numbered.public_id, 1.0)
    store.credentials.revoke(tenant.id, SIGNING.name)
    with pytest.raises(CredentialNotFound):
        store.credentials.rotate(tenant.id, SIGNING, signed.public_id, 1.0)


def test_nothing_readable_is_kept(store: TenantStore, engine: Engine) -> None:
    tenant = store.create("tenant")
    issued = store.credentials.issue(tenant.id, SIGNING)
    key = store.credentials.issue(tenant.id, API_KEY).secret
    with reading(engine) as connection:
        kept = [bytes(row.secret) for row in connection.execute(select(credentials.c.secret))]
    for secret in (issued.secret.encode(), bytes.fromhex(issued.secret), key.encode()):
        assert not any(secret in row for row in kept)


def test_another_master_key_says_so(store: TenantStore, engine: Engine) -> None:
    issued = store.credentials.issue(store.create("tenant").id, SIGNING)
    other = TenantStore(engine, Vault(os.urandom(KEY_BYTES)))
    with pytest.raises(ConfigurationError, match="FACELINE_MASTER_KEY"):
        other.credentials.signing(issued.public_id)


def test_settings_are_kept(store: TenantStore) -> None:
    tenant = store.create("tenant", {"a": 1})
    assert store.get(tenant.id).settings == {"a": 1}
