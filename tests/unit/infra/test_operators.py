"""`faceline operators` and `faceline audit`: what an operator types."""

from __future__ import annotations

import csv
import json

import pytest
from pydantic import SecretStr

from infra.cli.check_identity_provider import SUBJECT, check_identity_provider
from infra.cli.database import Stores
from infra.cli.operators import console_lines
from infra.cli.subjects import look
from pipeline.config.settings import Settings
from pipeline.deployment.findings import Verdict
from pipeline.encryption.vault import open_vault
from pipeline.operators.sessions import SessionStore
from pipeline.operators.sign_in import SignIn
from pipeline.operators.store import OperatorStore
from tests.forged_provider import CLIENT, SECRET, ForgedProvider
from tests.unit.infra.conftest import Faceline

URL = "https://face.example/face"


def token_of(link: str) -> str:
    start, _, token = link.strip().partition("?token=")
    assert start == f"{URL}/console/sign-in/link"
    return token


def test_accounts(faceline: Faceline) -> None:
    made = faceline("operators", "create", "ada", "--role", "administrator", "--url", URL)
    assert made.code == 0, made.err
    first = token_of(made.out)
    second = token_of(faceline("operators", "link", "ada", "--url", URL).out)
    stores = Stores()
    sessions = SessionStore(stores.engine)
    assert sessions.find_link(first) is None
    assert sessions.use_link(second).name == "ada"
    assert "exists" in faceline("operators", "create", "ada").err
    assert "last administrator" in faceline("operators", "disable", "ada").err
    assert faceline("operators", "create", "bob", "--faces").code == 0
    assert faceline("operators", "role", "bob", "operator", "--no-faces").code == 0
    assert faceline("operators", "disable", "bob").code == 0
    said = json.loads(faceline("operators", "list", "--json").out)
    shown = ("name", "role", "sees_faces", "disabled")
    kept = [tuple(each[name] for name in shown) for each in said]
    assert kept == [("ada", "administrator", False, False), ("bob", "operator", False, True)]
    assert "bob" in faceline("operators", "list").out
    assert "faceline operators list" in faceline("operators", "link", "nobody").err


def test_accounts_of_an_identity_provider(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "FACELINE_OIDC_ISSUER" in faceline("operators", "create", "ann", "--external").err
    monkeypatch.setenv("FACELINE_OIDC_ISSUER", "https://id.example")
    made = faceline("operators", "create", "ann", "--external", "--role", "operator")
    assert (made.code, "token=" in made.out) == (0, False)
    assert "identity provider" in faceline("operators", "list").out
    faceline("operators", "create", "bob")
    assert faceline("operators", "provider", "bob").code == 0

    def external() -> dict[str, bool]:
        said = json.loads(faceline("operators", "list", "--json").out)
        return {each["name"]: each["identity_provider"] for each in said}

    assert external() == {"ann": True, "bob": True}
    assert faceline("operators", "link", "bob", "--reset", "--url", URL).code == 0
    assert external() == {"ann": True, "bob": False}
    assert faceline("operators", "provider", "nobody").code == 1


def test_what_doctor_says_about_the_provider() -> None:
    with ForgedProvider() as provider:
        settings = Settings(
            oidc_issuer=provider.issuer, oidc_client_id=CLIENT,
            oidc_client_secret=SecretStr(SECRET),
        )
        (good,) = look(check_identity_provider, SUBJECT, settings)
        provider.status = 404
        (bad,) = look(check_identity_provider, SUBJECT, settings)
    (away,) = look(check_identity_provider, SUBJECT, settings)
    unusable = settings.model_copy(update={"oidc_client_id": ""})
    (wrong,) = look(check_identity_provider, SUBJECT, unusable)
    assert list(look(check_identity_provider, SUBJECT, Settings())) == []
    verdicts = [each.verdict for each in (good, bad, away, wrong)]
    assert verdicts == [Verdict.GOOD, *[Verdict.BAD] * 3]
    assert "status 404" in bad.found
    assert "FACELINE_OIDC_ISSUER" in away.advice
    assert "FACELINE_OIDC_CLIENT_ID" in wrong.found


def test_tokens(faceline: Faceline) -> None:
    faceline("operators", "create", "ada")
    token = faceline("operators", "token", "ada", "nightly", "--days", "3").out.strip()
    sessions = SessionStore(Stores().engine)
    found = sessions.find(token)
    assert found is not None
    assert (found.operator.name, found.program) == ("ada", "nightly")
    (listed,) = json.loads(faceline("operators", "tokens", "ada", "--json").out)
    assert faceline("operators", "revoke", "ada", listed["id"]).code == 0
    assert sessions.find(token) is None
    assert faceline("operators", "revoke", "ada", listed["id"]).code == 1


def test_the_audit_log(faceline: Faceline) -> None:
    faceline("operators", "create", "ada")
    faceline("operators", "token", "ada", "=1+1")
    lines = [json.loads(each) for each in faceline("audit").out.splitlines()]
    assert [each["action"] for each in lines] == [
        "operator.create", "operator.link", "operator.token",
    ]
    assert {each["outcome"] for each in lines} == {"done"}
    assert all(each["operator"].endswith("(command line)") for each in lines)
    some = faceline("audit", "--action", "operator.token").out.splitlines()
    assert [json.loads(each)["subject"] for each in some] == ["ada: =1+1"]
    assert len(faceline("audit", "--action", "operator.").out.splitlines()) == 3
    assert faceline("audit", "--until", "2020-01-01").out == ""
    table = list(csv.DictReader(faceline("audit", "--format", "csv").out.splitlines()))
    assert [each["action"] for each in table] == [each["action"] for each in lines]
    assert faceline("audit", "--since", "yesterday").code == 2


def test_the_link_of_the_first_start(
    faceline: Faceline, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores()
    lines = console_lines(stores, URL)
    token = token_of(lines[0].removeprefix("Console: "))
    operator = SessionStore(stores.engine).use_link(token)
    assert (operator.name, operator.role.value, operator.sees_faces) == (
        "admin", "administrator", True,
    )
    assert "?token=" in console_lines(stores, URL)[0]
    link = faceline("console-link", "--url", URL)
    assert SessionStore(stores.engine).find_link(token_of(link.out)) is not None
    SignIn(stores.engine, open_vault(stores.settings)).set_password(
        operator, "", "three short words"
    )
    assert console_lines(stores, URL) == [f"Console: {URL}/console"]
    assert [each.name for each in OperatorStore(stores.engine).all()] == ["admin"]
    monkeypatch.setenv("FACELINE_CONSOLE", "false")
    off = Stores()
    assert console_lines(off, URL) == []
