"""``faceline apps import``: clients keep the credentials that they have."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from api_shim.auth import sm2
from infra.cli.database import open_database
from pipeline.accounts.kinds import ID_AND_SECRET, NUMBER_AND_KEY
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from tests.unit.infra.conftest import Faceline, Outcome

APP_SECRET = "7C1E93B05DA24F868E02C9D7416FBA35"
KVALUE = "q8Wz-3nTfK_1mB7xVd"
API_SECRET = "b3a1f09c52de47768e1d04ca95fb6283"
API_ID = "client_1"
API_KEY = "eyJhbGciOiJI.9aKx72mQpR4tVb8ZcY/+=="

LINES = f"""
# as another service gave them
export FACE_APP_ID="old-app"
appSecret: {APP_SECRET}
Apid             4711
Kvalue           {KVALUE}
api_id={API_ID}
API-Secret = '{API_SECRET}'
X-API-Key: {API_KEY}
"""

Import = Callable[..., Outcome]


@pytest.fixture
def tenants(faceline: Faceline) -> Iterator[TenantStore]:
    settings = load_settings()
    engine = open_database(settings)
    yield TenantStore(engine, open_vault(settings))
    engine.dispose()


@pytest.fixture
def bring(faceline: Faceline, monkeypatch: pytest.MonkeyPatch) -> Import:
    """Imports a text by the standard input."""

    def run(name: str, given: str, *options: str) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        return faceline("apps", "import", name, *options)

    return run


def check_all(tenants: TenantStore, name: str) -> None:
    """Every credential of ``LINES`` is the application's."""
    owner, store = tenants.by_name(name), tenants.credentials
    signing = store.signing("old-app")
    assert signing is not None
    assert (signing.tenant, signing.secrets[0].secret) == (owner, APP_SECRET)
    assert store.authenticate(NUMBER_AND_KEY, "4711", KVALUE) == owner
    assert store.authenticate(ID_AND_SECRET, API_ID, API_SECRET) == owner
    assert store.by_api_key(API_KEY) == owner
    assert store.by_api_key(API_KEY[:-1]) is None
    assert store.by_api_key(API_KEY[:12] + "another-end") is None


def test_every_kind_from_the_standard_input(bring: Import, tenants: TenantStore) -> None:
    outcome = bring("shop", LINES)
    assert outcome.code == 0, outcome.err
    check_all(tenants, "shop")
    for secret in (APP_SECRET, KVALUE, API_SECRET, API_KEY[:16]):
        assert secret not in outcome.out + outcome.err


def test_json_in_a_file_and_a_profile(
    faceline: Faceline, tenants: TenantStore, tmp_path: Path
) -> None:
    _, public = sm2.generate_key_pair()
    file = tmp_path / "old.json"
    file.write_text(json.dumps({
        "app_id": "old-app", "app_secret": APP_SECRET, "apid": 4711, "kvalue": KVALUE,
        "api_id": API_ID, "api_secret": API_SECRET, "api_key": API_KEY, "sm2_public_key": public,
    }))
    outcome = faceline(
        "apps", "import", "shop", str(file), "--profile", "face2-vendor", "--json"
    )
    assert outcome.code == 0, outcome.err
    check_all(tenants, "shop")
    signing = tenants.credentials.signing("old-app")
    assert signing is not None
    assert signing.secrets[0].sm2_public_key == public
    assert tenants.by_name("shop").settings["e_score"] == "cosine"
    kinds = [each["kind"] for each in json.loads(outcome.out)["credentials"]]
    assert kinds == ["signed", "number", "id_secret", "key"]


def test_an_application_that_is_there_keeps_what_it_has(
    faceline: Faceline, bring: Import, tenants: TenantStore
) -> None:
    issued = json.loads(faceline("apps", "create", "shop", "--json").out)
    for _ in range(2):  # the second time everything is there already
        assert bring("shop", LINES).code == 0
    check_all(tenants, "shop")
    assert tenants.credentials.signing(issued["app_id"]) is not None
    assert len(tenants.credentials.entries(tenants.by_name("shop").id)) == 8


def test_secrets_are_hashed_or_encrypted_at_rest(bring: Import, tenants: TenantStore) -> None:
    assert bring("shop", LINES).code == 0
    engine = open_database(load_settings())
    with engine.connect() as connection:
        stored = str(connection.execute(text("SELECT * FROM credentials")).all())
    engine.dispose()
    assert "old-app" in stored
    for secret in (APP_SECRET, KVALUE, API_SECRET, API_KEY, API_KEY[:12]):
        assert secret not in stored


def test_imported_secrets_can_be_rotated(
    faceline: Faceline, bring: Import, tenants: TenantStore
) -> None:
    bring("shop", LINES)
    rotated = json.loads(faceline("apps", "rotate", "shop", "--now", "--json").out)
    assert (rotated["app_id"], rotated["apid"], rotated["api_id"]) == ("old-app", 4711, API_ID)
    assert tenants.credentials.by_api_key(API_KEY) is None
    assert tenants.credentials.by_api_key(rotated["api_key"]) == tenants.by_name("shop")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "there are no credentials"),
        ("appId=old-app", "appSecret is missing"),
        (f"Kvalue={KVALUE}", "Apid is missing"),
        ("appId=old-app\nappSecret=hunter2", "appSecret is not taken over: it is too short"),
        (f"Apid=x\nKvalue={KVALUE}", "Apid must be a number"),
        ("X-API-Key=hunter2", "X-API-Key is not taken over"),
        (f"appId=a\nappSecret={APP_SECRET}\nappSecrets=x", "'appSecrets' is no credential"),
        (f"appId=a\nAPPID=b\nappSecret={APP_SECRET}", "appId stands there twice"),
        (f"appId=a\nappSecret={APP_SECRET}\nSM2 public key: 12", "128 hex digits"),
        (f"appId=a\nappSecret={APP_SECRET}\napi_id=a\napi_secret={API_SECRET}", "two credentials"),
        ("{not json", "not JSON"), ("hunter2", "NAME=VALUE"),
    ],
)
def test_what_is_refused_says_why_and_leaves_nothing(
    bring: Import, tenants: TenantStore, given: str, words: str
) -> None:
    outcome = bring("shop", given)
    assert outcome.code == 2
    assert words in outcome.err
    assert "hunter2" not in outcome.err
    assert tenants.all() == []


def test_taken_ones_are_refused_and_then_all(bring: Import, tenants: TenantStore) -> None:
    assert bring("first", f"appId=old-app\nappSecret={APP_SECRET}\nX-API-Key={API_KEY}").code == 0
    for given, words in (
        (f"Apid=4711\nKvalue={KVALUE}\nappId=old-app\nappSecret={APP_SECRET}",
         "old-app is taken by another application"),
        (f"Apid=4711\nKvalue={KVALUE}\nX-API-Key={API_KEY}", "is taken by another application"),
    ):
        outcome = bring("second", given)
        assert (outcome.code, words in outcome.err) == (2, True)
    assert [tenant.name for tenant in tenants.all()] == ["first"]
    outcome = bring("first", f"appId=old-app\nappSecret={API_SECRET}")
    assert "old-app is taken by first itself, with another secret" in outcome.err
    signing = tenants.credentials.signing("old-app")
    assert signing is not None
    assert signing.secrets[0].secret == APP_SECRET


def test_a_file_that_is_not_there(faceline: Faceline) -> None:
    outcome = faceline("apps", "import", "shop", "nowhere.txt")
    assert (outcome.code, "cannot be read" in outcome.err) == (2, True)
