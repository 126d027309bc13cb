"""Signing in and out by HTTP, and one's own account."""

from __future__ import annotations

import itertools
import re
import secrets
from html import unescape
from typing import Any
from urllib.parse import quote

import pyotp
import pytest
import requests
from requests.adapters import HTTPAdapter

from api_shim.admin.sessions import SESSION_COOKIE
from pipeline.database.clock import database_time
from pipeline.encryption.vault import open_vault
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import Operator, OperatorRole
from pipeline.operators.passwords import STEP_S
from pipeline.operators.sessions import SessionStore
from pipeline.operators.sign_in import SignIn
from pipeline.operators.store import OperatorStore
from tests.console.conftest import WALKED, Shape, Visit, check_page
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

PASSWORD = "three short words"


_HOSTS = itertools.count()


class _From(HTTPAdapter):
    def __init__(self, host: str) -> None:
        self._host = host
        super().__init__()

    def init_poolmanager(self, *given: Any, **options: Any) -> None:
        super().init_poolmanager(*given, source_address=(self._host, 0), **options)


class Visitor(requests.Session):
    """A browser without scripts that is not signed in, at an address of this machine."""

    def __init__(self, stack: Stack, host: str = "") -> None:
        super().__init__()
        self.url = stack.url
        # Attempts are bounded by address: tests do not use up each other's.
        self.mount("http://", _From(host or f"127.0.1.{next(_HOSTS) % 250 + 1}"))

    def see(self, path: str) -> requests.Response:
        return self.get(self.url + path, timeout=TIMEOUT_S, allow_redirects=False)

    def submit(self, path: str, csrf: str = "", **fields: str) -> requests.Response:
        return self.post(
            self.url + path, data={"csrf": csrf, **fields}, timeout=TIMEOUT_S,
            allow_redirects=False,
        )

    def csrf(self) -> str:
        return field(self.see("/console/account").text, "csrf")


def field(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found is not None, page
    return unescape(found[1])


def new_operator(
    stack: Stack, role: OperatorRole = OperatorRole.VIEWER, password: str = PASSWORD
) -> Operator:
    """An account of this test's own."""
    engine = stack.cluster.engine
    made = OperatorStore(engine).create(f"tess {secrets.token_hex(4)}", role, sees_faces=False)
    if password:
        SignIn(engine, open_vault(stack.settings)).set_password(made, "", password)
    return OperatorStore(engine).by_name(made.name)


def outcomes(stack: Stack, name: str) -> list[tuple[str, str, str]]:
    found = AuditLog(stack.cluster.engine).page(limit=200)
    return [
        (each.action, each.subject, each.outcome) for each in reversed(found)
        if each.operator == name
    ]


def test_by_password(idle_stack: Stack) -> None:
    operator = new_operator(idle_stack)
    visitor = Visitor(idle_stack)
    page = visitor.see("/console/audit?limit=3")
    assert page.headers["location"] == "/console/sign-in?to=%2Fconsole%2Faudit%3Flimit%3D3"
    wrong = visitor.submit("/console/sign-in", name=operator.name, password="not that one")
    assert wrong.status_code == 401
    assert "The name or the password is wrong." in wrong.text
    form = visitor.see(page.headers["location"]).text
    right = visitor.submit(
        "/console/sign-in", name=operator.name, password=PASSWORD, to=field(form, "to")
    )
    assert right.headers["location"] == "/console/audit?limit=3"
    cookie = right.headers["set-cookie"]
    assert all(each in cookie for each in ("HttpOnly", "SameSite=Lax", "Path=/"))
    assert visitor.see("/console/account").status_code == 200
    assert visitor.see("/console/sign-in").headers["location"] == "/console"
    kept = visitor.cookies[SESSION_COOKIE]
    assert visitor.submit("/console/sign-out", visitor.csrf()).status_code == 303
    visitor.cookies.set(SESSION_COOKIE, kept)
    assert visitor.see("/console/account").status_code == 303
    assert outcomes(idle_stack, operator.name) == [
        ("session.open", "password", "bad_credentials"), ("session.open", "password", "done"),
        ("session.close", "", "done"),
    ]


def test_with_a_code(idle_stack: Stack) -> None:
    operator = new_operator(idle_stack)
    visitor = Visitor(idle_stack)
    visitor.submit("/console/sign-in", name=operator.name, password=PASSWORD)
    page = visitor.see("/console/account/codes").text
    assert "<svg" in page
    secret = field(page, "secret")
    totp = pyotp.TOTP(secret)
    start = {"secret": secret, "present": PASSWORD}
    refused = visitor.submit("/console/account/codes", visitor.csrf(), code="000000", **start)
    assert refused.status_code == 400
    used = totp.now()
    on = visitor.submit("/console/account/codes", visitor.csrf(), code=used, **start)
    assert on.status_code == 303
    other = Visitor(idle_stack)
    step = other.submit("/console/sign-in", name=operator.name, password=PASSWORD)
    assert step.status_code == 200
    assert not other.cookies.get(SESSION_COOKIE)
    begun = field(step.text, "begun")
    again = other.submit("/console/sign-in", begun=begun, code=used)
    assert again.status_code == 401
    assert "was used before" in again.text
    later = int(database_time(idle_stack.cluster.engine)) + STEP_S
    taken = other.submit("/console/sign-in", begun=begun, code=totp.at(later))
    assert taken.headers["location"] == "/console"
    off = other.submit("/console/account/codes/stop", other.csrf(), present="no")
    assert off.status_code == 400
    assert other.submit("/console/account/codes/stop", other.csrf(), present=PASSWORD).ok
    assert not OperatorStore(idle_stack.cluster.engine).by_name(operator.name).has_codes


def test_by_a_link(idle_stack: Stack) -> None:
    operator = new_operator(idle_stack, password="")
    token = SessionStore(idle_stack.cluster.engine).make_link(operator.id)
    visitor = Visitor(idle_stack)
    for _ in range(2):  # a preview of the link does not use it up
        form = visitor.see(f"/console/sign-in/link?token={token}")
        assert field(form.text, "token") == token
    assert visitor.submit("/console/sign-in/link", token=token).headers["location"] == "/console"
    assert visitor.see("/console/account").status_code == 200
    again = Visitor(idle_stack).submit("/console/sign-in/link", token=token)
    assert again.status_code == 401
    assert "was used before" in again.text
    words = {"password": PASSWORD, "again": PASSWORD}
    before = visitor.cookies[SESSION_COOKIE]
    changed = visitor.submit("/console/account/password", visitor.csrf(), **words)
    assert changed.status_code == 303, changed.text
    assert visitor.cookies[SESSION_COOKIE] != before
    assert "The password is changed" in visitor.see(changed.headers["location"]).text
    old = Visitor(idle_stack)
    old.cookies.set(SESSION_COOKIE, before)
    assert old.see("/console/account").status_code == 303


def test_sessions_elsewhere_end(idle_stack: Stack) -> None:
    operator = new_operator(idle_stack)
    visitors = [Visitor(idle_stack) for _ in range(3)]
    for each in visitors:
        each.submit("/console/sign-in", name=operator.name, password=PASSWORD)
    here, one, _ = visitors
    page = here.see("/console/account").text
    assert page.count('name="id"') == 2
    here.submit("/console/account/sessions/end", here.csrf(), id=field(page, "id"))
    assert sorted(each.see("/console/account").status_code for each in visitors) == [200, 200, 303]
    here.submit("/console/account/sessions/end", here.csrf())
    assert [each.see("/console/account").status_code for each in visitors] == [200, 303, 303]
    assert one.see("/console").status_code == 303


@pytest.mark.sends(
    "/console/preferences", "/console/sign-in", "/console/sign-in/link", "/console/sign-out",
    "/console/account/password", "/console/account/codes", "/console/account/codes/stop",
    "/console/account/sessions/end", "/console/operators", "/console/operators/{name}",
    *(f"/console/operators/{{name}}/{each}" for each in ("reset", "sessions/end", "tokens")),
)
@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(visit: Visit, stack: Stack, shape: Shape) -> None:
    page = visit("/console/operators", shape)
    check_page(page)
    name = f"bob {secrets.token_hex(4)}"
    page.fill("[name=name]", name)
    page.click("main form button")
    check_page(page)
    link = page.inner_text("pre")
    page.context.clear_cookies(name=SESSION_COOKIE)
    page.goto(link)
    check_page(page)
    page.click("main form button")
    page.goto("/console/account")
    check_page(page)
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=again]", PASSWORD)
    page.click("form[action$='/password'] button")
    page.goto("/console/account/codes")
    check_page(page)
    totp = pyotp.TOTP(page.input_value("[name=secret]"))
    now = int(database_time(stack.cluster.engine))
    page.fill("[name=present]", PASSWORD)
    page.fill("[name=code]", totp.at(now))
    page.click("main form button")
    page.wait_for_selector("form[action$='/codes/stop']")
    check_page(page)
    page.click("footer form[action$='/sign-out'] button")
    check_page(page)
    page.fill("[name=name]", name)
    page.fill("[name=password]", PASSWORD)
    page.click("main form button")
    page.wait_for_selector("[name=code]")
    check_page(page)
    page.fill("[name=code]", totp.at(now + STEP_S))
    page.click("main form button")
    page.wait_for_url("**/console")
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/console/account")
    page.click("form[action$='/sessions/end'] button.plain")
    page.wait_for_selector("[role=status]")
    page.fill("form[action$='/codes/stop'] [name=present]", PASSWORD)
    page.click("form[action$='/codes/stop'] button")
    page.wait_for_selector("a[href$='/account/codes']")
    page.click("footer [name=theme][value=light]")
    assert page.get_attribute("html", "data-theme") == "light"
    page.click("footer [name=language][value=en]")
    assert page.get_attribute("html", "lang") == "en"
    page = visit(f"/console/operators/{quote(name)}", shape)
    check_page(page)
    page.fill("[name=program]", "nightly")
    page.click("form[action$='/tokens'] button")
    page.wait_for_selector("#token")
    check_page(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("main form[action$='/sessions/end'] button >> nth=0")
    page.click("button[name=disabled][value=yes]")
    page.wait_for_selector("button[name=disabled][value=no]")
    page.click("button[name=disabled][value=no]")
    page.wait_for_selector("button[name=disabled][value=yes]")
    page.check("[name=sees_faces]")
    page.click("main form:has(select) button")
    page.wait_for_selector("[role=status]")
    page.click("form[action$='/reset'] button")
    page.wait_for_selector("#sign-in-link")
