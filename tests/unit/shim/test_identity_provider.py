"""Signing in at an identity provider that does not always tell the truth."""

from __future__ import annotations

import asyncio
import itertools
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from sqlalchemy import delete

from api_shim.admin.sessions import SESSION_COOKIE
from api_shim.app import Shim
from api_shim.console.entrance import ADDRESS_LIMIT
from api_shim.console.pages.provider_sign_in import COOKIE
from api_shim.identity import openid_connect
from api_shim.identity.open import open_identity_provider
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine, writing
from pipeline.database.migrate import upgrade
from pipeline.database.schema import audit_log, operator_sessions, operators, sign_in_links
from pipeline.errors import ConfigurationError
from pipeline.operators.model import Operator, OperatorRole
from tests.forged_provider import CLIENT, CODE, SECRET, ForgedProvider, key_of

BEGIN = "/console/sign-in/provider"
CALLBACK = f"{BEGIN}/callback"


# Attempts are bounded by address.
_ADDRESSES = itertools.count(1)


class Browsers:
    """A service in this process, for browsers that are sent to and fro."""

    def __init__(self, folder: Path, provider: ForgedProvider, **settings: Any) -> None:
        chosen = Settings(data_dir=folder, **{
            "oidc_issuer": provider.issuer, "oidc_client_id": CLIENT,
            "oidc_client_secret": SECRET, "root_path": "/face", **settings,
        })
        engine = open_engine(chosen.sql_url)
        upgrade(engine)
        engine.dispose()
        self.provider = provider
        self.app = Shim(chosen)
        self.service = self.app._service
        self.reset()

    def reset(self) -> None:
        """Other browsers, at an address of their own, and no account."""
        self.cookies = httpx.Cookies()
        self._address = f"127.0.0.{next(_ADDRESSES)}"
        with writing(self.service.engine) as connection:
            for table in (operator_sessions, sign_in_links, operators, audit_log):
                connection.execute(delete(table))

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self._send("GET", path, headers, None)

    def post(self, path: str, **fields: str) -> httpx.Response:
        return self._send("POST", path, {}, fields)

    def _send(
        self, method: str, path: str, headers: dict[str, str], fields: dict[str, str] | None
    ) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=(self._address, 1))
            async with httpx.AsyncClient(
                transport=transport, base_url="https://face.example", cookies=self.cookies
            ) as client:
                answer = await client.request(method, f"/face{path}", data=fields, headers={
                    "X-Forwarded-Proto": "https", **headers,
                })
                self.cookies = client.cookies
                return answer

        return asyncio.run(send())

    def begin(self, to: str = "") -> dict[str, str]:
        """What the provider sends the browser back with."""
        sent = self.get(f"{BEGIN}?to={to}")
        assert sent.status_code == 303, sent.text
        return self.provider.authorize(sent.headers["location"])

    def come_back(self, answer: dict[str, str]) -> httpx.Response:
        return self.get(f"{CALLBACK}?{httpx.QueryParams(answer)}")

    def sign_in(self) -> httpx.Response:
        """In a browser that is not signed in."""
        self.cookies.clear()
        return self.come_back(self.begin())

    def expect(self, name: str, role: OperatorRole = OperatorRole.VIEWER) -> Operator:
        """An account that an administrator has made for the provider."""
        return self.service.external.create(name, role, sees_faces=False)

    def entries(self) -> list[tuple[str, str, str, str]]:
        found = reversed(self.service.audit.page(limit=200))
        return [(each.operator, each.action, each.subject, each.outcome) for each in found]

    @property
    def is_in(self) -> bool:
        return self.get("/console/account").status_code == 200

    def close(self) -> None:
        self.app.release()
        self.service.close()


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[ForgedProvider]:
    with ForgedProvider() as made:
        yield made


@pytest.fixture
def provider(shared_provider: ForgedProvider) -> ForgedProvider:
    shared_provider.reset()
    return shared_provider


@pytest.fixture(scope="module")
def shared_browsers(
    tmp_path_factory: pytest.TempPathFactory, shared_provider: ForgedProvider
) -> Iterator[Browsers]:
    made = Browsers(tmp_path_factory.mktemp("provider"), shared_provider)
    yield made
    made.close()


@pytest.fixture
def browsers(
    shared_browsers: Browsers, provider: ForgedProvider, monkeypatch: pytest.MonkeyPatch
) -> Browsers:
    shared_browsers.reset()
    found = shared_browsers.service.identity_provider
    assert isinstance(found, openid_connect.OpenIdProvider)
    monkeypatch.setattr(found, "_found", None)
    monkeypatch.setattr(found, "_failed_at", float("-inf"))
    return shared_browsers


def test_there_and_back(browsers: Browsers) -> None:
    browsers.expect("ann", OperatorRole.OPERATOR)
    page = browsers.get("/console/sign-in?to=/console/audit%3Flimit%3D3")
    assert f"Sign in at {browsers.provider.issuer.removeprefix('http://')}" in page.text
    assert 'href="/face/console/sign-in/provider?to=%2Fconsole%2Faudit%3Flimit%3D3"' in page.text
    sent = browsers.get(f"{BEGIN}?to=/console/audit%3Flimit%3D3")
    cookie = sent.headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert all(
        each in cookie for each in ("HttpOnly", "SameSite=Lax", "Secure", "Path=/face;",
                                    "Max-Age=600")
    )
    asked = parse_qs(urlsplit(sent.headers["location"]).query)
    assert asked["redirect_uri"] == [f"https://face.example/face{CALLBACK}"]
    assert asked["scope"] == ["openid profile email"]
    back = browsers.come_back(browsers.provider.authorize(sent.headers["location"]))
    assert back.headers["location"] == "/face/console/audit?limit=3"
    given = back.headers.get_list("set-cookie")
    assert [each.partition("=")[0] for each in given] == [SESSION_COOKIE, COOKIE]
    assert "Max-Age=0" in given[1]
    assert browsers.is_in
    assert browsers.entries() == [("ann", "session.open", "identity provider", "done")]


@pytest.mark.parametrize("to", ["https://evil.example", "//evil.example/console", "/\\evil"])
def test_it_leads_nowhere_else(browsers: Browsers, to: str) -> None:
    browsers.expect("ann")
    back = browsers.come_back(browsers.begin(to))
    assert back.headers["location"] == "/face/console"


# What is refused -----------------------------------------------------------------------

NOW = int(time.time())

FORGED: list[tuple[str, dict[str, Any]]] = [
    ("invalid_claim nonce", {"nonce": "another"}),
    ("missing_claim nonce", {"nonce": None}),
    ("expired_token exp", {"exp": NOW - 3600, "iat": NOW - 7200}),
    ("missing_claim exp", {"exp": None}),
    ("invalid_claim iat", {"iat": NOW + 7200}),
    ("invalid_claim aud", {"aud": "another"}),
    ("missing_claim azp", {"aud": [CLIENT, "another"]}),
    ("invalid_claim azp", {"azp": "another"}),
    ("invalid_claim iss", {"iss": "https://another.example"}),
    ("missing_claim sub", {"sub": None}),
    ("invalid_claim sub", {"sub": ""}),
    ("invalid_claim at_hash", {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}),
]


@pytest.mark.parametrize(("why", "claims"), FORGED, ids=[each[0] for each in FORGED])
def test_a_forged_token_is_refused(
    browsers: Browsers, why: str, claims: dict[str, Any]
) -> None:
    browsers.expect("ann")
    browsers.provider.claims |= claims
    check_refused(browsers, browsers.sign_in(), why, "could not be verified")


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_signature_that_proves_nothing(browsers: Browsers, algorithm: str) -> None:
    browsers.expect("ann")
    browsers.provider.algorithm = algorithm
    check_refused(browsers, browsers.sign_in(), "unsupported_algorithm", "could not be verified")


def test_a_key_of_somebody_else(browsers: Browsers) -> None:
    browsers.expect("ann")
    browsers.provider.key = key_of("somebody else", "first")
    check_refused(browsers, browsers.sign_in(), "bad_signature", "could not be verified")


def test_new_keys_are_found(browsers: Browsers) -> None:
    browsers.expect("ann")
    browsers.begin()  # the keys are known by then
    browsers.provider.key = key_of("provider", "second")
    browsers.provider.published = [browsers.provider.key]
    assert browsers.sign_in().status_code == 303


def test_a_code_counts_once(browsers: Browsers) -> None:
    browsers.expect("ann")
    answer = browsers.begin()
    kept = browsers.cookies[COOKIE]
    assert browsers.come_back(answer).status_code == 303
    browsers.cookies.clear()
    check_refused(browsers, browsers.come_back(answer), "not begun here", "begin again")
    browsers.cookies.set(COOKIE, kept)
    check_refused(browsers, browsers.come_back(answer), "error invalid_grant", "verified")


def test_an_answer_for_another_browser(browsers: Browsers) -> None:
    """Nobody is signed in to the account of who sends a link."""
    browsers.expect("ann")
    others = browsers.begin()
    browsers.cookies.clear()
    browsers.begin()
    check_refused(browsers, browsers.come_back(others), "another state", "begin again")
    browsers.cookies.clear()
    check_refused(browsers, browsers.come_back(others), "not begun here", "begin again")
    browsers.cookies.set(COOKIE, "forged")
    check_refused(browsers, browsers.come_back(others), "not begun here", "begin again")


def test_the_code_of_another_browser(browsers: Browsers) -> None:
    """A code that was stolen is worth nothing without what its browser keeps (PKCE)."""
    browsers.expect("ann")
    stolen = browsers.begin()["code"]
    challenged = browsers.provider.begun[CODE]
    browsers.cookies.clear()
    own = browsers.begin()
    browsers.provider.begun[CODE] = challenged
    answer = {**own, "code": stolen}
    check_refused(browsers, browsers.come_back(answer), "error invalid_grant", "verified")


def test_a_mix_up_of_issuers(browsers: Browsers) -> None:
    browsers.expect("ann")
    answer = browsers.begin()
    wrong = browsers.come_back({**answer, "iss": "https://another.example"})
    check_refused(browsers, wrong, "the answer is another issuer's", "verified")
    answer = browsers.begin()
    assert browsers.come_back({**answer, "iss": browsers.provider.issuer}).status_code == 303


def test_an_issuer_that_names_itself_always_does(browsers: Browsers) -> None:
    browsers.expect("ann")
    browsers.provider.metadata = {"authorization_response_iss_parameter_supported": True}
    check_refused(browsers, browsers.sign_in(), "the answer is another issuer's", "verified")


def test_what_the_provider_refuses(browsers: Browsers) -> None:
    browsers.expect("ann")
    state = browsers.begin()["state"]
    answer = {"error": "access_denied", "error_description": "<b>no</b>", "state": state}
    page = browsers.come_back(answer)
    check_refused(browsers, page, "error access_denied", "did not sign you in")
    assert "<b>no" not in page.text


def check_refused(browsers: Browsers, page: httpx.Response, why: str, sentence: str) -> None:
    """No session, a sentence, a form to sign in by other means, and an entry."""
    assert page.status_code == 401
    assert sentence in page.text
    assert 'name="password"' in page.text
    cookies = page.headers.get_list("set-cookie")
    assert [each.partition("=")[0] for each in cookies] == [COOKIE]
    refused = ("", "session.open", f"identity provider: {why}", "identity_refused")
    assert browsers.entries()[-1] == refused


# The provider is away ------------------------------------------------------------------

def test_a_provider_that_is_away(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers.expect("ann")
    browsers.provider.status = 503
    for _ in range(2):
        page = browsers.get(BEGIN)
        assert page.status_code == 503
        assert "The identity provider does not answer." in page.text
        assert 'name="password"' in page.text
    assert len(browsers.provider.asked) == 1  # it is left alone for a while
    monkeypatch.setattr(openid_connect, "PAUSE_S", 0.0)
    browsers.provider.status = 200
    answer = browsers.begin()
    browsers.provider.status = 502
    assert browsers.come_back(answer).status_code == 503
    assert browsers.entries()[-1] == (
        "", "session.open", "identity provider", "identity_provider_unavailable"
    )
    browsers.provider.status = 200
    assert browsers.sign_in().status_code == 303


def test_a_provider_that_says_nothing(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which takes the connection, and so the time that is given to it."""
    monkeypatch.setattr(openid_connect, "TIMEOUT_S", (0.1, 0.1))
    with socket.create_server(("127.0.0.1", 0)) as server:
        silent = f"http://127.0.0.1:{server.getsockname()[1]}"
        for name in ("userinfo_endpoint", "token_endpoint", "jwks_uri"):
            monkeypatch.setattr(browsers.service.identity_provider, "_found", None)
            monkeypatch.setattr(openid_connect, "PAUSE_S", 0.0)
            browsers.provider.claims = {}
            browsers.provider.metadata = {name: silent}
            page = browsers.get(BEGIN)
            if page.status_code == 303:
                page = browsers.come_back(browsers.provider.authorize(page.headers["location"]))
            assert page.status_code == 503
            assert "The identity provider does not answer." in page.text


@pytest.mark.parametrize("bound", ["MAX_ANSWER", "ANSWER_S"])
def test_an_answer_without_end(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    answer = browsers.begin()
    monkeypatch.setattr(openid_connect, bound, -1)
    assert browsers.come_back(answer).status_code == 503
    monkeypatch.setattr(browsers.service.identity_provider, "_found", None)
    assert browsers.get(BEGIN).status_code == 503


def test_while_another_request_asks(
    browsers: Browsers, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = browsers.service.identity_provider
    assert isinstance(provider, openid_connect.OpenIdProvider)
    monkeypatch.setattr(openid_connect, "WAIT_S", 0.01)
    with provider._lock:
        assert browsers.get(BEGIN).status_code == 503
    browsers.begin()
    monkeypatch.setattr(openid_connect, "KEPT_S", 0.0)
    with provider._lock:
        browsers.begin()  # by what is known


def test_attempts_are_bounded(browsers: Browsers) -> None:
    burst = ADDRESS_LIMIT.burst
    assert burst is not None
    answer = browsers.begin()
    for _ in range(burst - 1):
        assert browsers.get(BEGIN).status_code == 303
    page = browsers.get(BEGIN)
    assert (page.status_code, "Too many attempts." in page.text) == (429, True)
    assert int(page.headers["retry-after"]) >= 1
    for _ in range(burst):
        assert browsers.come_back(answer).status_code == 401
    assert browsers.come_back(answer).status_code == 429


@pytest.mark.parametrize("metadata", [
    {"issuer": "https://another.example"}, {"token_endpoint": "http://another.example/token"},
    {"jwks_uri": "file:///etc/passwd"}, {"authorization_endpoint": None},
    {"userinfo_endpoint": "http://another.example"}, {"token_endpoint": "http://[::1"},
])
def test_a_discovery_document_that_misleads(
    browsers: Browsers, metadata: dict[str, Any]
) -> None:
    browsers.provider.metadata = metadata
    assert browsers.get(BEGIN).status_code == 503


# Whose account it is -------------------------------------------------------------------

def test_who_has_no_account_stays_out(browsers: Browsers) -> None:
    page = browsers.sign_in()
    assert page.status_code == 401
    assert "There is no account for you here: ask an administrator." in page.text
    assert browsers.entries() == [
        ("ann", "session.open", "identity provider", "identity_refused")
    ]
    assert browsers.service.operators.find("ann") is None


def test_a_local_account_is_never_taken_over(browsers: Browsers) -> None:
    local = browsers.service.operators.create("ann", OperatorRole.ADMINISTRATOR, sees_faces=True)
    page = browsers.sign_in()
    assert page.status_code == 401
    assert "does not sign in at the identity provider" in page.text
    assert browsers.service.operators.by_name("ann") == local


def test_the_account_belongs_to_the_person_not_to_the_name(browsers: Browsers) -> None:
    made = browsers.expect("ann", OperatorRole.OPERATOR)
    assert browsers.sign_in().status_code == 303
    browsers.cookies.clear()
    browsers.provider.claims = {"preferred_username": "ann", "sub": "18"}
    assert browsers.sign_in().status_code == 401  # another person of the name
    browsers.provider.claims = {"preferred_username": "ann married"}
    assert browsers.sign_in().status_code == 303  # the same person of another name
    assert browsers.service.operators.all() == [made]
    assert browsers.entries()[-1][0] == "ann"


def test_a_disabled_account_stays_out(browsers: Browsers) -> None:
    browsers.expect("ann")
    assert browsers.sign_in().status_code == 303
    browsers.service.operators.change("ann", disabled=True)
    page = browsers.sign_in()
    assert page.status_code == 401
    assert "This account is disabled." in page.text
    assert browsers.entries()[-1][3] == "identity_refused"


def test_an_account_changes_sides(browsers: Browsers) -> None:
    service = browsers.service
    service.operators.create("ann", OperatorRole.VIEWER, sees_faces=False)
    service.external.expect("ann")
    assert browsers.sign_in().status_code == 303
    service.operators.reset("ann")
    assert not browsers.is_in
    assert browsers.sign_in().status_code == 401


def test_one_time_codes_count_there_too(browsers: Browsers) -> None:
    import pyotp

    made = browsers.expect("ann")
    secret, now = pyotp.random_base32(), int(browsers.service.records.clock())
    service = browsers.service
    service.sign_in.start_codes(made, "", secret, pyotp.TOTP(secret).at(now - 30))
    page = browsers.sign_in()
    assert page.status_code == 200
    assert 'name="begun"' in page.text
    assert not browsers.is_in
    assert browsers.entries() == [("ann", "session.open", "identity provider", "code_needed")]


def test_an_address_counts_when_it_is_verified(tmp_path: Path, provider: ForgedProvider) -> None:
    browsers = Browsers(tmp_path, provider, oidc_name_claim="email")
    browsers.expect("ann@face.example")
    provider.claims = {"email": "ann@face.example"}
    assert browsers.sign_in().status_code == 401
    provider.claims["email_verified"] = True
    assert browsers.sign_in().status_code == 303
    browsers.close()


@pytest.mark.parametrize("name", [None, 17, "", "a/b", " ann", "a" * 129])
def test_a_name_that_no_account_can_have(browsers: Browsers, name: Any) -> None:
    browsers.provider.claims = {"preferred_username": name}
    page = browsers.sign_in()
    assert page.status_code == 401
    assert "gives you no name" in page.text


def test_claims_that_only_the_user_information_has(browsers: Browsers) -> None:
    browsers.expect("ann")
    browsers.provider.claims = {}
    browsers.provider.user = {"preferred_username": "ann"}
    assert browsers.sign_in().status_code == 303
    browsers.provider.user = {"preferred_username": "ann", "sub": "18"}
    page = browsers.sign_in()
    check_refused(
        browsers, page, "the user information is of another person", "could not be verified"
    )


# Roles ---------------------------------------------------------------------------------

RULES = {
    "oidc_roles": "face-admins=administrator; cn=staff,dc=example=operator",
    "oidc_faces": "face-admins; doctors", "oidc_create_accounts": True,
}


@pytest.fixture
def ruled(tmp_path: Path, provider: ForgedProvider) -> Iterator[Browsers]:
    made = Browsers(tmp_path, provider, **RULES)
    yield made
    made.close()


def test_the_provider_gives_the_role(ruled: Browsers) -> None:
    claims, operators = ruled.provider.claims, ruled.service.operators
    operators.create("root", OperatorRole.ADMINISTRATOR, sees_faces=True)
    claims["groups"] = ["cn=staff,dc=example", "others"]
    assert ruled.sign_in().status_code == 303
    made = operators.by_name("ann")
    assert (made.role, made.sees_faces, made.is_external) == (OperatorRole.OPERATOR, False, True)
    claims["groups"] = ["cn=staff,dc=example", "face-admins"]
    assert ruled.sign_in().status_code == 303
    made = operators.by_name("ann")
    assert (made.role, made.sees_faces) == (OperatorRole.ADMINISTRATOR, True)
    token = ruled.service.sessions.issue_token(made.id, "nightly", 30)
    kept = ruled.cookies[SESSION_COOKIE]
    claims["groups"] = ["others"]
    page = ruled.sign_in()
    assert page.status_code == 401
    assert "gives you no role here" in page.text
    ruled.cookies.set(SESSION_COOKIE, kept)
    assert not ruled.is_in
    assert ruled.service.sessions.find(token) is None
    changed = "ann: role administrator, sees_faces True, by the identity provider"
    assert ruled.entries() == [
        ("ann", "session.open", "identity provider", "done"),
        ("ann", "session.open", "identity provider", "done"),
        ("ann", "operator.change", changed, "done"),
        ("ann", "session.open", "identity provider", "identity_refused"),
    ]


def test_who_has_no_role_gets_no_account(ruled: Browsers) -> None:
    assert ruled.sign_in().status_code == 401
    assert ruled.service.operators.all() == []


def test_the_last_administrator_stays_one_but_outside(ruled: Browsers) -> None:
    ruled.provider.claims["groups"] = ["face-admins"]
    assert ruled.sign_in().status_code == 303
    kept = ruled.cookies[SESSION_COOKIE]
    ruled.provider.claims["groups"] = "cn=staff,dc=example"
    page = ruled.sign_in()
    assert page.status_code == 409
    assert "This is the last administrator" in page.text
    ruled.cookies.set(SESSION_COOKIE, kept)
    assert not ruled.is_in


def test_without_rules_a_new_account_sees_little(
    tmp_path: Path, provider: ForgedProvider
) -> None:
    browsers = Browsers(tmp_path, provider, oidc_create_accounts=True)
    provider.claims["groups"] = ["face-admins"]
    assert browsers.sign_in().status_code == 303
    made = browsers.service.operators.by_name("ann")
    assert (made.role, made.sees_faces) == (OperatorRole.VIEWER, False)
    browsers.service.operators.change("ann", role=OperatorRole.OPERATOR)
    assert browsers.sign_in().status_code == 303
    assert browsers.service.operators.by_name("ann").role is OperatorRole.OPERATOR
    browsers.close()


def test_roles_in_an_object(tmp_path: Path, provider: ForgedProvider) -> None:
    browsers = Browsers(tmp_path, provider, **RULES, oidc_role_claim="realm_access.roles")
    provider.claims["realm_access"] = {"roles": ["face-admins"]}
    assert browsers.sign_in().status_code == 303
    browsers.close()


# Settings ------------------------------------------------------------------------------

@pytest.mark.parametrize(("settings", "named"), [
    ({"oidc_issuer": "http://provider.example"}, "OIDC_ISSUER is an https URL"),
    ({"oidc_issuer": "https://provider.example?x"}, "OIDC_ISSUER is an https URL"),
    ({"oidc_issuer": "https://a:b@provider.example"}, "OIDC_ISSUER is an https URL"),
    ({"oidc_issuer": "provider.example"}, "OIDC_ISSUER is an https URL"),
    ({"oidc_client_id": ""}, "OIDC_CLIENT_ID"),
    ({"oidc_scopes": "profile"}, "OIDC_SCOPES"),
    ({"oidc_roles": "a=king"}, "OIDC_ROLES: 'a=king'"),
    ({"oidc_roles": "a"}, "OIDC_ROLES: 'a'"),
    ({"oidc_faces": "a"}, "OIDC_FACES"),
])
def test_settings_that_cannot_work(settings: dict[str, str], named: str) -> None:
    given: dict[str, Any] = {
        "oidc_issuer": "https://provider.example", "oidc_client_id": CLIENT, **settings,
    }
    with pytest.raises(ConfigurationError, match=named):
        open_identity_provider(Settings(**given), time.time)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "api_shim.identity.openid_connect")
    monkeypatch.setitem(sys.modules, "authlib.oidc.core", None)
    settings = Settings(oidc_issuer="https://provider.example", oidc_client_id=CLIENT)
    with pytest.raises(ConfigurationError, match=r"pip install 'faceline\[oidc\]'"):
        open_identity_provider(settings, time.time)
    assert open_identity_provider(Settings(), time.time) is None


def test_it_is_not_there_where_none_is_set_up(
    tmp_path: Path, provider: ForgedProvider
) -> None:
    browsers = Browsers(tmp_path, provider, oidc_issuer="")
    assert browsers.get(BEGIN).status_code == 404
    assert browsers.get(CALLBACK).status_code == 404
    assert BEGIN not in browsers.get("/console/sign-in").text
    browsers.close()
