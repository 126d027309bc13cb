"""Applications and their credentials in the console and at ``/admin``."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from api_shim.console.pages import applications
from api_shim.console.pages.application_limits import MODES
from api_shim.console.pages.application_webhooks import STATES, TOLD_OF
from api_shim.console.texts import texts_of
from api_shim.dialects.registry import app_settings, load_dialects
from pipeline.accounts.kinds import API_KEY, NUMBER_AND_KEY
from pipeline.accounts.model import Tenant
from pipeline.errors import BadCredentials, TenantNotFound
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from tests.console.conftest import ConsoleClient, sign_in
from tests.databases import ONE_DATABASE
from tests.secret_watch import WATCH
from tests.stack import Stack

HOSTILE = "<script>alert('ה')</script>\u202e\"😀"

SECRET = re.compile('<code data-secret="([^"]+)">([^<]+)</code>')
LINE = re.compile('<code id="curl-([a-e])">([^<]+)</code>')

EXAMPLE = Tenant(1, "example", {}, disabled=False)

KINDS = {f"kind-{kind}": "on" for kind in ("signed", "key", "number", "id_secret")}


def new_name(words: str = "shop") -> str:
    return f"{words} {uuid.uuid4().hex[:8]}"


def page_of(name: str, *parts: str) -> str:
    return "/".join(("/console/applications", quote(name, safe=""), *parts))


def admin_of(name: str, *parts: str) -> str:
    return "/".join(("/admin/applications", quote(name, safe=""), *parts))


def submit_for_secrets(
    console: ConsoleClient, path: str, **fields: str
) -> tuple[dict[str, str], requests.Response]:
    """(secrets by their labels, the page) of a form that is answered with secrets, which are looked
    for everywhere from now on."""
    # Streamed: this is the one answer that may have them.
    answer = console.request("POST", path, data={"csrf": console.csrf, **fields}, stream=True)
    assert answer.status_code == 200, answer.text
    secrets = {label: unescape(value) for label, value in SECRET.findall(answer.text)}
    for label, value in secrets.items():
        if label in ("appSecret", "Kvalue", "api_secret", "SM2 private key"):
            WATCH.note(label, value)
        if label == "X-API-Key":
            WATCH.note(label, value[12:])
    return secrets, answer


@pytest.fixture
def shop(idle_stack: Stack) -> Tenant:
    """An application without credentials."""
    return idle_stack.tenants.create(new_name())


def test_an_application_is_made_and_its_secrets_are_shown_once(
    idle_stack: Stack, console: ConsoleClient
) -> None:
    name = new_name(HOSTILE.replace("/", "|"))
    secrets, page = submit_for_secrets(
        console, "/console/applications", application=name, sm2="on", **KINDS
    )
    assert set(secrets) == {
        "appId", "appSecret", "X-API-Key", "Apid", "Kvalue", "api_id", "api_secret",
        "SM2 private key", "SM2 public key",
    }
    assert page.headers["cache-control"] == "no-store"
    assert "location" not in page.headers
    assert "<script>alert" not in page.text

    store = idle_stack.tenants.credentials
    made = idle_stack.tenants.by_name(name)
    assert store.by_api_key(secrets["X-API-Key"]) == made
    assert store.authenticate(NUMBER_AND_KEY, secrets["Apid"], secrets["Kvalue"]) == made
    # Every later answer is searched for the secrets (tests/secret_watch.py).
    later = console.get(page_of(name)).text
    assert secrets["appId"] in later
    assert secrets["X-API-Key"] not in later
    assert "<script>alert" not in later
    # The list has pages, and the service has the applications of other tests.
    listed = console.get(f"/console/applications?after={made.id - 1}&limit=1")
    assert unescape(listed.text).count(name) == 1


def test_secrets_stand_nowhere_afterwards(idle_stack: Stack, console: ConsoleClient) -> None:
    name = new_name()
    secrets, _ = submit_for_secrets(console, "/console/applications", application=name, **KINDS)
    rotated, _ = submit_for_secrets(console, page_of(name), action="rotate", keep_h="1")
    brought = "Zq7xT1vB9mK3wL5yR8nD2cF6hJ4gS0pA"
    WATCH.note("a brought secret", brought)
    text = f"api_id=brought-{uuid.uuid4().hex[:8]}\napi_secret={brought}"
    assert console.submit(page_of(name), action="import", text=text).status_code == 303
    assert len(secrets) == len(rotated) == 7
    assert secrets["appSecret"] != rotated["appSecret"]

    WATCH.check_database(idle_stack.cluster.engine)
    WATCH.check_folder(idle_stack.cluster.folder, "*.log")
    log = AuditLog(idle_stack.cluster.engine).page(limit=3)
    assert [each.action for each in log] == [
        "credentials.import", "credentials.rotate", "applications.create",
    ]
    assert {each.application for each in log} == {name}


@pytest.mark.parametrize("encrypted", [True, False])
def test_encryption_and_profile_of_a_new_application(
    idle_stack: Stack, console: ConsoleClient, encrypted: bool
) -> None:
    name = new_name()
    fields = {"encrypted": "on"} if encrypted else {}
    answer = console.submit(
        "/console/applications", application=name, profile="face2-vendor", **fields
    )
    assert answer.status_code == 303
    shown = console.get(admin_of(name)).json()
    assert shown["encrypted"] == ("on" if encrypted else "")
    assert idle_stack.tenants.by_name(name).settings["e_score"] == "cosine"
    assert "No credentials" in console.get(page_of(name)).text


@pytest.mark.parametrize("name", ["", "  ", "..", "a/b", "a%2fb", "x" * 129, "line\nfeed", "\0"])
def test_names_that_cannot_stand_in_paths_are_refused(console: ConsoleClient, name: str) -> None:
    assert console.submit("/console/applications", application=name).status_code == 400
    made = console.post("/admin/applications", json={"application": name.strip(), "kinds": []})
    assert made.status_code == 400


def test_a_name_is_taken_once(console: ConsoleClient, shop: Tenant) -> None:
    assert console.submit("/console/applications", application=shop.name).status_code == 400


def test_what_is_not_there_is_not_found(console: ConsoleClient) -> None:
    for path in ("/console/applications/nobody", "/admin/applications/nobody",
                 "/admin/applications/%00", "/console/applications/%00"):
        assert console.get(path).status_code == 404


def test_credentials_are_renewed_with_an_overlap_and_ended(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    store, page = idle_stack.tenants.credentials, page_of(shop.name)
    first, _ = submit_for_secrets(console, page, action="create", **KINDS)
    apid = first["Apid"]
    second, _ = submit_for_secrets(
        console, page, action="rotate", credential=apid, keep_h="24"
    )
    assert second["Apid"] == apid
    assert set(second) == {"Apid", "Kvalue"}
    for secret in (first["Kvalue"], second["Kvalue"]):
        assert store.authenticate(NUMBER_AND_KEY, apid, secret) == shop
    listed = console.get(admin_of(shop.name, "credentials")).json()["credentials"]
    assert [each["former_until"] is not None for each in listed if each["id"] == apid] == [True]

    assert console.submit(page, action="finish").status_code == 303
    with pytest.raises(BadCredentials):
        store.authenticate(NUMBER_AND_KEY, apid, first["Kvalue"])
    assert store.authenticate(NUMBER_AND_KEY, apid, second["Kvalue"]) == shop

    assert console.submit(page, action="expire", credential=apid, days="0").status_code == 303
    assert [each["expired"] for each in console.get(
        admin_of(shop.name, "credentials")
    ).json()["credentials"] if each["id"] == apid] == [True]

    key = first["X-API-Key"]
    assert console.submit(page, action="revoke", credential=key[:12]).status_code == 303
    assert store.by_api_key(key) is None
    left = console.get(admin_of(shop.name, "credentials")).json()["credentials"]
    assert key[:12] not in [each["id"] for each in left]


def test_a_rotation_keeps_the_sm2_key(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    page = page_of(shop.name)
    made, _ = submit_for_secrets(
        console, page, action="create", sm2="on", **{"kind-signed": "on"}
    )
    submit_for_secrets(console, page, action="rotate", credential=made["appId"])
    signing = idle_stack.tenants.credentials.signing(made["appId"])
    assert signing is not None
    assert {each.sm2_public_key for each in signing.secrets} == {made["SM2 public key"]}


def test_another_application_s_credential_cannot_be_named(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    other = idle_stack.tenants.create(new_name("other"))
    theirs = idle_stack.tenants.credentials.issue(other.id, API_KEY)
    for action in ("revoke", "expire", "rotate"):
        answer = console.submit(
            page_of(shop.name), action=action, credential=theirs.public_id
        )
        assert answer.status_code == 404
    assert idle_stack.tenants.credentials.by_api_key(theirs.secret) == other


def test_credentials_of_elsewhere_are_taken_over_or_refused(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    key = "eyJhbGciOiJI.9aKx72mQpR4tVb8ZcY/+" + uuid.uuid4().hex
    answer = console.submit(page_of(shop.name), action="import", text=f"X-API-Key={key}")
    assert answer.status_code == 303
    assert idle_stack.tenants.credentials.by_api_key(key) == shop
    weak = console.submit(
        page_of(shop.name), action="import", text="Apid=4711\nKvalue=passwordpassword"
    )
    assert weak.status_code == 400
    assert "Kvalue is not taken over" in weak.text
    assert "passwordpassword" not in weak.text


def test_a_disabled_application_is_refused_until_it_is_enabled(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    key = idle_stack.tenants.credentials.issue(shop.id, API_KEY).secret
    listing = f"{idle_stack.url}/api/faces"

    def status() -> int:
        return requests.get(listing, headers={"X-API-Key": key}, timeout=30).status_code

    assert status() == 200
    assert console.submit(page_of(shop.name), action="disable").status_code == 303
    assert status() == 401
    assert console.submit(page_of(shop.name), action="enable").status_code == 303
    assert status() == 200


def test_a_deletion_needs_the_name_and_leaves_a_receipt(
    idle_stack: Stack, console: ConsoleClient, shop: Tenant
) -> None:
    assert console.submit(
        page_of(shop.name), action="delete", confirm=shop.name[:-1]
    ).status_code == 400
    assert idle_stack.tenants.by_name(shop.name) == shop
    answer = console.delete(admin_of(shop.name), params={"confirm": shop.name})
    assert len(answer.json()["receipt"]) > 8
    with pytest.raises(TenantNotFound):
        idle_stack.tenants.by_name(shop.name)
    assert console.get(page_of(shop.name)).status_code == 404


@pytest.mark.parametrize("role", [OperatorRole.VIEWER, OperatorRole.OPERATOR])
def test_only_administrators_change_applications(
    idle_stack: Stack, shop: Tenant, role: OperatorRole
) -> None:
    client = sign_in(idle_stack, role)
    assert client.get("/console/applications").status_code == 200
    page = client.get(page_of(shop.name)).text
    assert 'name="action"' not in page
    for action in ("create", "import", "rotate", "finish", "revoke", "expire", "disable",
                   "enable", "delete"):
        fields = {"kind-key": "on", "credential": "x", "text": "x", "confirm": shop.name}
        answer = client.submit(page_of(shop.name), action=action, **fields)
        assert answer.status_code == 403, action
    assert client.submit("/console/applications", application=new_name()).status_code == 403
    refused = AuditLog(idle_stack.cluster.engine).page(limit=1)[0]
    assert (refused.operator, refused.outcome) == (role.value, "not_permitted")


def test_applications_are_listed_in_pages(idle_stack: Stack, console: ConsoleClient) -> None:
    made = [idle_stack.tenants.create(new_name()).name for _ in range(3)]
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = console.get("/admin/applications", params={"after": after, "limit": 2}).json()
        seen += [each["name"] for each in page["applications"]]
        after = page["next"]
    assert seen[-3:] == made
    assert len(set(seen)) == len(seen)


@ONE_DATABASE
def test_the_lines_for_curl_call_each_document(
    stack: Stack, test_data: Path, tmp_path: Path
) -> None:
    console = sign_in(stack)
    _, page = submit_for_secrets(
        console, "/console/applications", application=new_name(), **KINDS
    )
    lines = {letter: unescape(line) for letter, line in LINE.findall(page.text)}
    assert set(lines) == set("abcde")
    picture = min((test_data / "photos" / "George_W_Bush").iterdir())
    (tmp_path / "photo.jpg").write_bytes(picture.read_bytes())
    good = {
        "a": lambda answer: answer["msg_code"] == 1,
        "b": lambda answer: answer["code"] == 0 and answer["data"]["compareScore"] > 99,
        "c": lambda answer: answer["status"] == "OK",
        "d": lambda answer: answer["status"] == "NO_SIMILAR_FACE",  # its gallery is empty
        "e": lambda answer: answer["code"] == 0 and answer["data"]["face_num"] == 1,
    }
    for letter, line in lines.items():
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, check=True, timeout=300
        )
        answer = json.loads(done.stdout)
        assert good[letter](answer), (letter, answer)


def texts_of_code() -> set[str]:
    """The texts of the pages of applications that no template marks."""
    found = {*applications.KINDS.values(), *MODES.values(), *TOLD_OF.values(), *STATES.values()}
    found |= {each.about for each in app_settings().values()}
    found |= {each.title for one in load_dialects() for each in one.samples(EXAMPLE)}
    for page in Path("api_shim/console/pages").glob("application*.py"):
        found |= set(re.findall(r'gettext\("([^"]+)"\)', page.read_text()))
    return found | {"The application is disabled.", "The application is active again."}


def test_the_texts_of_code_are_translated() -> None:
    assert texts_of_code() - set(texts_of("zh").catalog) == set()
