"""What an attacker would try at the console and at ``/admin``: refused, and written down.

Every page and every operation of the registries is tried, so that a new one is, too.
"""

from __future__ import annotations

import re
import secrets
from typing import Any
from urllib.parse import quote

import pyotp
import pytest
import requests
from sqlalchemy import Engine, select

from api_shim.admin.operation import AdminOperation
from api_shim.admin.registry import OPERATIONS
from api_shim.admin.sessions import CSRF_HEADER, SESSION_COOKIE, sign_token
from api_shim.console.page import Page
from api_shim.console.registry import PAGES
from pipeline.database.clock import database_time
from pipeline.database.engine import reading
from pipeline.database.schema import operator_sessions, operators, sign_in_links
from pipeline.encryption.vault import Vault, open_vault
from pipeline.errors import LastAdministrator, RateLimited
from pipeline.operators.audit import AuditFilter, AuditLog
from pipeline.operators.model import AuditEntry, OperatorRole
from pipeline.operators.passwords import STEP_S, new_secret
from pipeline.operators.sessions import IDLE_S, PROGRAM_PREFIX, SESSION_S, SessionStore
from pipeline.operators.sign_in import FREE_FAILURES, SignIn, pause_after
from pipeline.operators.store import OperatorStore
from tests.console.conftest import ConsoleClient, sign_in
from tests.console.test_sign_in import PASSWORD, Visitor, field, new_operator
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

HOSTILE = "\"'><script>alert(1)</script> \u202eevil\u202c \U0001f600"

VALUES = {"id": "0" * 64, "name": "nobody"}
"""What stands for the names in a path."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)


def fill(path: str) -> str:
    return re.sub(r"\{(\w+)\}", lambda name: VALUES.get(name[1], "1"), path)


def newest(stack: Stack, **wanted: Any) -> AuditEntry | None:
    return next(iter(AuditLog(stack.cluster.engine).page(AuditFilter(**wanted), limit=1)), None)


def roles_below(role: OperatorRole) -> list[OperatorRole]:
    return [each for each in OperatorRole if not each.permits(role)]


# Roles -----------------------------------------------------------------------------------


@each_operation
@ONE_DATABASE
def test_no_operation_beyond_a_role(
    idle_stack: Stack, operation: AdminOperation[Any, Any]
) -> None:
    for role in roles_below(operation.role):
        client = sign_in(idle_stack, role)
        answer = client.request(operation.method, f"/admin{fill(operation.path)}", json={})
        assert answer.status_code in (400, 403), answer.text
        if answer.status_code == 403:
            entry = newest(idle_stack, operator=role.value)
            assert entry is not None
            assert (entry.action, entry.outcome) == (operation.name, "not_permitted")


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.shows_faces], ids=lambda each: each.name
)
@ONE_DATABASE
def test_no_faces_without_the_permission(
    idle_stack: Stack, operation: AdminOperation[Any, Any]
) -> None:
    client = sign_in(idle_stack, OperatorRole.ADMINISTRATOR, sees_faces=False)
    answer = client.request(operation.method, f"/admin{fill(operation.path)}", json={})
    assert answer.status_code in (400, 403), answer.text


@each_page
@ONE_DATABASE
def test_no_page_beyond_a_role(idle_stack: Stack, page: Page) -> None:
    for role in roles_below(page.role):
        client = sign_in(idle_stack, role)
        path = fill(page.path)
        answer = client.get(path) if page.get else client.submit(path)
        assert answer.status_code == 403, answer.text
        entry = newest(idle_stack, operator=role.value, action="console.page")
        assert entry is not None
        assert (entry.subject, entry.outcome) == (path, "not_permitted")


@ONE_DATABASE
def test_no_way_up(idle_stack: Stack) -> None:
    """A viewer who names a higher role gets none."""
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    for method, path, body in (
        ("PATCH", "/admin/operators/viewer", {"role": "administrator"}),
        ("POST", "/admin/operators", {"name": "mine", "role": "administrator"}),
        ("POST", "/admin/operators/administrator/reset", {}),
        ("POST", "/admin/operators/administrator/tokens", {"program": "mine"}),
    ):
        assert viewer.request(method, path, json=body).status_code == 403
    found = OperatorStore(idle_stack.cluster.engine)
    assert found.by_name("viewer").role is OperatorRole.VIEWER
    assert found.find("mine") is None


# Other sites -------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [each for each in PAGES if each.post], ids=lambda page: page.path)
@ONE_DATABASE
def test_no_form_of_elsewhere(idle_stack: Stack, page: Page) -> None:
    client = sign_in(idle_stack)
    path = fill(page.path)
    other = sign_in(idle_stack, OperatorRole.VIEWER).csrf
    for data in ({}, {"csrf": ""}, {"csrf": other}):
        assert client.post(path, data=data).status_code == 403
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        answer = client.request("POST", path, data={"csrf": client.csrf}, headers=headers)
        assert answer.status_code == 403
    entry = newest(idle_stack, operator="administrator", action="console.page")
    assert entry is not None
    assert (entry.subject, entry.outcome) == (path, "cross_site_request")


@pytest.mark.parametrize(
    "operation", [each for each in OPERATIONS if each.method != "GET"], ids=lambda each: each.name
)
@ONE_DATABASE
def test_no_change_of_elsewhere(
    idle_stack: Stack, operation: AdminOperation[Any, Any]
) -> None:
    client = sign_in(idle_stack)
    path = f"/admin{fill(operation.path)}"
    for headers in (
        {CSRF_HEADER: ""}, {CSRF_HEADER: "0" * 64}, {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = client.request(operation.method, path, json={}, headers=headers)
        assert answer.status_code == 403, answer.text
        assert answer.json()["code"] == "cross_site_request"
    entry = newest(idle_stack, operator="administrator", action=operation.name)
    assert entry is not None
    assert entry.outcome == "cross_site_request"


@ONE_DATABASE
def test_nobody_is_signed_in_from_elsewhere(idle_stack: Stack) -> None:
    """A form of another site that signs its victim in under the attacker's name."""
    operator = new_operator(idle_stack)
    answer = requests.post(
        f"{idle_stack.url}/console/sign-in", headers={"Origin": "https://evil.example"},
        data={"name": operator.name, "password": PASSWORD}, timeout=TIMEOUT_S,
        allow_redirects=False,
    )
    assert answer.status_code == 403
    assert SESSION_COOKIE not in answer.headers.get("set-cookie", "")


@pytest.mark.parametrize("page", [each for each in PAGES if each.get], ids=lambda page: page.path)
@ONE_DATABASE
def test_every_page_has_its_headers(console: ConsoleClient, page: Page) -> None:
    """In no frame, with no script or style that stands in it, kept by no cache. Errors, too."""
    answer = console.get(fill(page.path))
    assert answer.status_code < 500
    if not answer.headers["content-type"].startswith("text/html"):
        return
    headers = answer.headers
    assert headers["x-frame-options"] == "DENY"
    policy = headers["content-security-policy"]
    for rule in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'self'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    if answer.status_code == 200:
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=|javascript:", answer.text)


@pytest.mark.parametrize("to", [
    "https://evil.example/", "//evil.example", "/\\evil.example", "/console//evil.example",
    "/console/../../evil", "javascript:alert(1)", "/consoleevil", "/console\r\nSet-Cookie: a=b",
    "/console@evil.example", "\\\\evil.example",
])
@ONE_DATABASE
def test_no_redirect_elsewhere(idle_stack: Stack, to: str) -> None:
    operator = new_operator(idle_stack)
    visitor = Visitor(idle_stack)
    visitor.headers["X-Forwarded-Host"] = "evil.example"
    answer = visitor.submit("/console/sign-in", name=operator.name, password=PASSWORD, to=to)
    assert answer.headers["location"] in ("/console", "/console/../../evil")
    assert "a=b" not in answer.headers["set-cookie"]


# Sessions ------------------------------------------------------------------------------------


@ONE_DATABASE
def test_a_fixed_session_is_not_taken(idle_stack: Stack) -> None:
    """A cookie that an attacker planted, even one of the attacker's own session."""
    engine, vault = idle_stack.cluster.engine, open_vault(idle_stack.settings)
    operator, attacker = new_operator(idle_stack), new_operator(idle_stack)
    planted = SessionStore(engine).open(attacker.id)
    visitor = Visitor(idle_stack)
    visitor.cookies.set(SESSION_COOKIE, sign_token(vault, planted))
    form = visitor.see("/console/account").text
    visitor.submit(
        "/console/sign-in", field(form, "csrf"), name=operator.name, password=PASSWORD
    )
    assert operator.name in visitor.see("/console/account").text
    assert SessionStore(engine).find(planted) is None


@ONE_DATABASE
def test_cookies_of_others(idle_stack: Stack) -> None:
    """Made up, of a session but not signed, of a program: nobody's."""
    engine, vault = idle_stack.cluster.engine, open_vault(idle_stack.settings)
    operator = new_operator(idle_stack)
    token = SessionStore(engine).open(operator.id)
    program = SessionStore(engine).issue_token(operator.id, "a program", 1)
    for cookie in (
        "", "made up", token, f"{token}.{secrets.token_urlsafe(20)}",
        sign_token(vault, "made up"), sign_token(vault, program),
    ):
        visitor = Visitor(idle_stack)
        visitor.cookies.set(SESSION_COOKIE, cookie)
        assert visitor.see("/console/account").status_code == 303
        assert visitor.see("/admin/account").status_code == 401


@ONE_DATABASE
def test_cookies_are_secure_behind_https(idle_stack: Stack) -> None:
    operator = new_operator(idle_stack)
    visitor = Visitor(idle_stack)
    visitor.headers["X-Forwarded-Proto"] = "https"
    cookie = visitor.submit(
        "/console/sign-in", name=operator.name, password=PASSWORD
    ).headers["set-cookie"]
    for flag in ("; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"):
        assert flag in cookie


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(engine: Engine) -> Clock:
    return Clock(database_time(engine))


def test_sessions_expire(engine: Engine, clock: Clock) -> None:
    operator = OperatorStore(engine).create("ada", OperatorRole.VIEWER, sees_faces=False)
    sessions = SessionStore(engine, clock)
    idle, busy = sessions.open(operator.id), sessions.open(operator.id)
    program = sessions.issue_token(operator.id, "nightly", 1)
    for _ in range(int(SESSION_S // (IDLE_S - 1))):
        clock.now += IDLE_S - 1
        assert sessions.find(busy) is not None
    assert sessions.find(idle) is None
    clock.now += IDLE_S - 1
    assert sessions.find(busy) is None
    assert sessions.find(program) is not None
    clock.now += 86_400
    assert sessions.find(program) is None


def test_what_ends_sessions(engine: Engine) -> None:
    accounts, sessions = OperatorStore(engine), SessionStore(engine)
    sign = SignIn(engine, open_vault_of_test())
    first = accounts.create("first", OperatorRole.ADMINISTRATOR, sees_faces=True)
    other = accounts.create("other", OperatorRole.VIEWER, sees_faces=True)

    def begin() -> tuple[str, str, str]:
        return (
            sessions.open(other.id), sessions.issue_token(other.id, "nightly", 1),
            sessions.make_link(other.id),
        )

    person, program, link = begin()
    sign.set_password(other, "", PASSWORD)
    assert sessions.find(person) is None
    assert sessions.find_link(link) is None
    assert sessions.find(program) is not None
    person, program, link = begin()
    accounts.change("other", disabled=True)
    assert not any(map(sessions.find, (person, program)))
    accounts.change("other", disabled=False)
    assert not any(map(sessions.find, (person, program)))
    assert sessions.find_link(link) is None
    for values in ({"disabled": True}, {"role": OperatorRole.OPERATOR}):
        with pytest.raises(LastAdministrator):
            accounts.change(first.name, **values)
    assert accounts.by_name("first") == first


def open_vault_of_test() -> Vault:
    return Vault(secrets.token_bytes(32))


def test_secrets_are_hashed_or_encrypted(engine: Engine) -> None:
    sign, sessions = SignIn(engine, open_vault_of_test()), SessionStore(engine)
    operator = OperatorStore(engine).create("ada", OperatorRole.VIEWER, sees_faces=False)
    sign.set_password(operator, "", PASSWORD)
    secret = new_secret()
    sign.start_codes(operator, "", secret, pyotp.TOTP(secret).at(int(database_time(engine))))
    tokens = [
        sessions.open(operator.id), sessions.issue_token(operator.id, "nightly", 1),
        sessions.make_link(operator.id),
    ]
    assert tokens[1].startswith(PROGRAM_PREFIX)
    with reading(engine) as connection:
        kept = repr([
            connection.execute(select(table)).all()
            for table in (operators, operator_sessions, sign_in_links)
        ])
    assert "$argon2id$" in kept
    for each in (PASSWORD, secret, *tokens):
        assert each not in kept


# Guessing ------------------------------------------------------------------------------------


def test_an_account_closes_for_a_while(engine: Engine, clock: Clock) -> None:
    sign = SignIn(engine, open_vault_of_test(), clock)
    operator = OperatorStore(engine).create("ada", OperatorRole.VIEWER, sees_faces=False)
    sign.set_password(operator, "", PASSWORD)
    for failure in range(1, FREE_FAILURES + 4):
        with pytest.raises(Exception, match=r"wrong\.$"):
            sign.by_password("ada", "guessed")
        pause_s = pause_after(failure)
        assert (pause_s > 0) == (failure > FREE_FAILURES)
        if pause_s:
            with pytest.raises(RateLimited, match=f"try again in {int(pause_s)} seconds"):
                sign.by_password("ada", PASSWORD)
        clock.now += pause_s
    assert sign.by_password("ada", PASSWORD).name == "ada"
    with pytest.raises(Exception, match=r"wrong\.$"):
        sign.by_password("ada", "guessed")
    assert sign.by_password("ada", PASSWORD).name == "ada"


def test_codes_are_taken_once_and_not_guessed(engine: Engine, clock: Clock) -> None:
    sign = SignIn(engine, open_vault_of_test(), clock)
    operator = OperatorStore(engine).create("ada", OperatorRole.VIEWER, sees_faces=False)
    secret = new_secret()
    totp = pyotp.TOTP(secret)
    sign.start_codes(operator, "", secret, totp.at(int(clock.now)))
    clock.now += STEP_S
    code = totp.at(int(clock.now))
    sign.check_code(operator.id, code)
    for used in (code, totp.at(int(clock.now) - STEP_S)):
        with pytest.raises(Exception, match="used before"):
            sign.check_code(operator.id, used)
    clock.now += 10 * STEP_S
    wrong = str((int(totp.at(int(clock.now))) + 1) % 10**6).zfill(6)
    failed = 2
    while pause_after(failed) == 0:
        with pytest.raises(Exception, match="used before"):
            sign.check_code(operator.id, wrong)
        failed += 1
    with pytest.raises(RateLimited):
        sign.check_code(operator.id, totp.at(int(clock.now)))


@ONE_DATABASE
def test_guesses_are_bounded(idle_stack: Stack) -> None:
    """By account, whether it is there or not, in the same words."""
    there, absent = new_operator(idle_stack).name, f"nobody {secrets.token_hex(4)}"
    for name in (there, absent):
        visitor = Visitor(idle_stack, "127.0.0.77")
        for _ in range(FREE_FAILURES + 1):
            answer = visitor.submit("/console/sign-in", name=name, password="guessed it?")
            assert answer.status_code == 401
        answer = visitor.submit("/console/sign-in", name=name, password=PASSWORD)
        assert answer.status_code == 429
        assert "Too many attempts. Try again in" in answer.text
        assert 1 <= int(answer.headers["retry-after"]) <= 30
        entry = newest(idle_stack, operator=name)
        assert entry is not None
        assert (entry.action, entry.outcome) == ("session.open", "rate_limited")


@ONE_DATABASE
def test_an_address_is_bounded(idle_stack: Stack) -> None:
    visitor = Visitor(idle_stack, "127.0.0.78")
    for _ in range(200):
        link = visitor.submit("/console/sign-in/link", token=secrets.token_urlsafe())
        if link.status_code == 429:
            break
        assert link.status_code == 401
    else:
        pytest.fail("200 links were looked up")
    other = Visitor(idle_stack, "127.0.0.79")
    assert other.submit("/console/sign-in/link", token="x").status_code == 401


# Credentials of other kinds ------------------------------------------------------------------


@each_operation
@ONE_DATABASE
def test_applications_are_no_operators(
    idle_stack: Stack, operation: AdminOperation[Any, Any]
) -> None:
    mine = idle_stack.credentials
    path = f"{idle_stack.url}/admin{fill(operation.path)}"
    for headers in (
        {"X-API-Key": mine.api_key}, {"Authorization": f"Bearer {mine.api_key}"},
        {"Authorization": "Bearer"}, {"Authorization": f"Bearer {PROGRAM_PREFIX}made-up"},
    ):
        answer = requests.request(
            operation.method, path, headers=headers, json={}, timeout=TIMEOUT_S,
            auth=None if "Authorization" in headers else (mine.api_id, mine.api_secret),
        )
        assert answer.status_code == 401, answer.text
        assert answer.json()["code"] == "bad_credentials"


@ONE_DATABASE
def test_programs_of_operators(idle_stack: Stack) -> None:
    """A token is for ``/admin`` alone, with its operator's rights and not the operator's
    account."""
    console = sign_in(idle_stack)
    name = new_operator(idle_stack, OperatorRole.OPERATOR).name
    issued = console.request("POST", f"/admin/operators/{name}/tokens", json={"program": "etl"})
    bearer = {"Authorization": f"Bearer {issued.json()['token']}"}

    def ask(method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(
            method, idle_stack.url + path, headers=bearer, timeout=TIMEOUT_S,
            allow_redirects=False, **options,
        )

    account = ask("GET", "/admin/account").json()
    assert account["operator"]["name"] == name
    assert ask("GET", "/admin/operators").status_code == 403
    entry = newest(idle_stack, operator=name)
    assert entry is not None
    assert entry.host.endswith(", etl")
    new = {"password": "another three words", "present": PASSWORD}
    assert ask("POST", "/admin/account/password", json=new).status_code == 403
    assert ask("GET", "/console/account").status_code == 303
    listed = console.get(f"/admin/operators/{name}").json()["sessions"]
    (token,) = [each for each in listed if each["program"] == "etl"]
    ended = console.request("DELETE", f"/admin/operators/{name}/sessions/{token['id']}")
    assert ended.status_code == 200
    assert ask("GET", "/admin/account").status_code == 401


# What others wrote ------------------------------------------------------------------------


@ONE_DATABASE
def test_hostile_names_are_shown_as_text(idle_stack: Stack) -> None:
    name = f"{HOSTILE.replace('/', '|')[:60]} {secrets.token_hex(4)}".replace("\u202e", "")
    console = sign_in(idle_stack)
    made = console.submit("/console/operators", name=name, role="viewer")
    assert made.status_code == 200, made.text
    pages = [
        made.text, console.get("/console/operators").text, console.get("/console/audit").text,
        console.get(f"/console/operators/{quote(name, safe='')}").text,
        console.get("/console/audit", params={"operator": HOSTILE}).text,
        Visitor(idle_stack).submit("/console/sign-in", name=HOSTILE, password="x", to=HOSTILE).text,
        Visitor(idle_stack).see("/console/sign-in/link?token=%22%3E%3Cscript%3Ealert(1)").text,
    ]
    for page in pages:
        assert "<script>alert" not in page
        assert "alert(1)" in page
