"""``faceline apps``: credentials are shown once, work, and can be replaced."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from api_shim.auth import sm2
from infra.cli.database import open_database
from pipeline.accounts.kinds import ID_AND_SECRET, NUMBER_AND_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from pipeline.errors import BadCredentials, CredentialExpired
from tests.unit.infra.conftest import Faceline


@pytest.fixture
def tenants(faceline: Faceline) -> Iterator[TenantStore]:
    settings = load_settings()
    engine = open_database(settings)
    yield TenantStore(engine, open_vault(settings))
    engine.dispose()


def created(faceline: Faceline, *arguments: str) -> dict[str, Any]:
    outcome = faceline("apps", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    issued: dict[str, Any] = json.loads(outcome.out)
    return issued


def test_created_credentials_work(faceline: Faceline, tenants: TenantStore) -> None:
    issued = created(faceline, "create", "shop")

    signed = tenants.credentials.signing(issued["app_id"])
    assert signed is not None
    assert signed.secrets[0].secret == issued["app_secret"]
    assert tenants.credentials.by_api_key(issued["api_key"]) == tenants.by_name("shop")
    authenticate = tenants.credentials.authenticate
    shop = tenants.by_name("shop")
    assert authenticate(NUMBER_AND_KEY, str(issued["apid"]), issued["kvalue"]) == shop
    assert authenticate(ID_AND_SECRET, issued["api_id"], issued["api_secret"]) == shop
    assert "sm2_private_key" not in issued


def test_people_read_them_unbroken(faceline: Faceline) -> None:
    outcome = faceline("apps", "create", "shop", "--sm2")

    labels = [line[:16].strip() for line in outcome.out.splitlines()]
    assert labels == [
        "appId", "appSecret", "X-API-Key", "Apid", "Kvalue", "api_id", "api_secret",
        "SM2 private key", "SM2 public key",
    ]
    assert "not shown again" in outcome.err


def test_of_a_made_key_pair_only_the_public_key_is_kept(
    faceline: Faceline, tenants: TenantStore
) -> None:
    issued = created(faceline, "create", "bank", "--sm2")

    kept = tenants.credentials.signing(issued["app_id"])
    assert kept is not None
    assert kept.secrets[0].sm2_public_key == issued["sm2_public_key"]
    signature = sm2.sign(issued["sm2_private_key"], b"message")
    assert sm2.verify(issued["sm2_public_key"], b"message", signature)


def test_an_own_public_key_is_kept(faceline: Faceline, tenants: TenantStore) -> None:
    _, public = sm2.generate_key_pair()

    issued = created(faceline, "create", "bank", "--sm2-public-key", public)

    kept = tenants.credentials.signing(issued["app_id"])
    assert kept is not None
    assert kept.secrets[0].sm2_public_key == public


def test_rotation_leaves_both_until_it_is_finished(
    faceline: Faceline, tenants: TenantStore
) -> None:
    old = created(faceline, "create", "bank", "--sm2")
    new = created(faceline, "rotate", "bank")
    assert (new["app_id"], new["apid"]) == (old["app_id"], old["apid"])
    assert signs(tenants, old)
    assert signs(tenants, new)
    for issued in (old, new):
        assert tenants.credentials.by_api_key(issued["api_key"]) is not None
    authenticate = tenants.credentials.authenticate
    for kvalue in (old["kvalue"], new["kvalue"]):
        assert authenticate(NUMBER_AND_KEY, str(old["apid"]), kvalue).name == "bank"
    for secret in (old["api_secret"], new["api_secret"]):
        assert authenticate(ID_AND_SECRET, old["api_id"], secret).name == "bank"

    outcome = faceline("apps", "rotate", "bank", "--finish")

    assert "4 old secrets of bank are ended" in outcome.err
    assert not signs(tenants, old)
    assert tenants.credentials.by_api_key(old["api_key"]) is None
    with pytest.raises(BadCredentials):
        tenants.credentials.authenticate(NUMBER_AND_KEY, str(old["apid"]), old["kvalue"])
    assert signs(tenants, new)
    assert tenants.credentials.by_api_key(new["api_key"]) is not None
    kept = tenants.credentials.signing(new["app_id"])
    assert kept is not None
    assert kept.secrets[0].sm2_public_key == old["sm2_public_key"]


def test_rotation_now_ends_the_old_at_once(faceline: Faceline, tenants: TenantStore) -> None:
    old = created(faceline, "create", "shop")

    new = created(faceline, "rotate", "shop", "--now")

    assert not signs(tenants, old)
    assert tenants.credentials.by_api_key(old["api_key"]) is None
    assert signs(tenants, new)


def test_the_old_secrets_end_by_themselves(faceline: Faceline, tenants: TenantStore) -> None:
    old = created(faceline, "create", "shop")
    created(faceline, "rotate", "shop", "--keep", "2")
    later = TenantStore(
        open_database(load_settings()), open_vault(load_settings()), lambda: time.time() + 7201
    )
    assert signs(tenants, old)
    assert not signs(later, old)
    with pytest.raises(CredentialExpired):
        later.credentials.by_api_key(old["api_key"])


def signs(tenants: TenantStore, issued: dict[str, Any]) -> bool:
    """Whether an appSecret is live."""
    found = tenants.credentials.signing(issued["app_id"])
    return found is not None and issued["app_secret"] in [
        secret.secret for secret in found.secrets
    ]


def test_a_disabled_application_is_refused_until_that_is_undone(
    faceline: Faceline, tenants: TenantStore
) -> None:
    issued = created(faceline, "create", "shop")

    faceline("apps", "disable", "shop")
    assert tenants.credentials.signing(issued["app_id"]) is None
    assert tenants.credentials.by_api_key(issued["api_key"]) is None
    faceline("apps", "disable", "shop", "--undo")
    assert tenants.credentials.signing(issued["app_id"]) is not None


def test_the_list_shows_no_secret(faceline: Faceline) -> None:
    issued = created(faceline, "create", "shop")

    for arguments in (("apps", "list"), ("apps", "list", "--json")):
        listed = faceline(*arguments)
        assert issued["app_id"] in listed.out
        assert str(issued["apid"]) in listed.out
        assert issued["app_secret"] not in listed.out
        assert issued["kvalue"] not in listed.out
        assert issued["api_secret"] not in listed.out
        assert issued["api_key"] not in listed.out


VENDOR = {
    "e_repeats": "answer", "e_paths": "any", "e_locations": "left_top", "e_no_face": "no_match",
    "e_score": "cosine", "e_unknown_app": "9805",
}


def test_a_profile_chooses_together(faceline: Faceline, tenants: TenantStore) -> None:
    assert not tenants.has_setting("e_unknown_app", "9805")
    created(faceline, "create", "old", "--profile", "face2-vendor", "--set", "e_paths=one")
    chosen = json.loads(faceline("apps", "settings", "old", "--json").out)
    assert chosen == {**VENDOR, "e_paths": "one"}
    assert tenants.has_setting("e_unknown_app", "9805")


def test_single_settings(faceline: Faceline, tenants: TenantStore) -> None:
    created(faceline, "create", "shop")
    faceline("apps", "challenge", "shop")
    faceline("apps", "settings", "shop", "--set", "e_repeats=refuse", "--set", "e_score=cosine")
    chosen = json.loads(faceline("apps", "settings", "shop", "--json").out)
    assert (chosen["e_repeats"], chosen["e_score"]) == ("refuse", "cosine")
    assert chosen["e_locations"] == "top_right"
    assert "left_top" in faceline("apps", "settings", "shop").out
    chosen = json.loads(
        faceline("apps", "settings", "shop", "--reset", "--profile", "face2-vendor", "--json").out
    )
    assert chosen == VENDOR
    faceline("apps", "settings", "shop", "--reset")
    assert tenants.by_name("shop").settings == {"living_challenges": True}


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (("disable", "nobody"), "No such tenant. To do: `faceline apps list`", 1),
        (("rotate", "nobody", "--finish", "--now"), "choose one", 2),
        (("create", "x", "--sm2-public-key", "12"), "128 hex digits", 2),
        (("create", "x", "--sm2-public-key", "12", "--sm2"), "choose", 2),
        (("create", ""), "1 to 128 characters", 2),
        (("create", "x", "--profile", "vendor"), "there is face2-vendor", 2),
        (("create", "x", "--set", "e_score=none"), "e_score is one of distance, cosine", 2),
        (("create", "x", "--set", "e_scores=cosine"), "there is no setting 'e_scores'", 2),
        (("settings", "nobody"), "No such tenant", 1),
    ],
)
def test_what_cannot_be_done_is_one_clear_line(
    faceline: Faceline, arguments: tuple[str, ...], words: str, code: int
) -> None:
    outcome = faceline("apps", *arguments)

    assert outcome.code == code
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert "Traceback" not in outcome.err
