"""Signing in at a real OpenID provider, behind a proxy with TLS."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from html import unescape
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Request, Response

from api_shim.console.pages.provider_sign_in import CALLBACK
from pipeline.operators.audit import AuditFilter, AuditLog
from pipeline.operators.model import OperatorRole
from pipeline.operators.store import OperatorStore
from tests.console.conftest import DESKTOP, check_page, note_form
from tests.console.test_sign_in import field
from tests.databases import ONE_DATABASE
from tests.nginx_server import NginxServer
from tests.openid_server import CLIENT, SECRET, OpenIdServer
from tests.parallel import free_port
from tests.stack import Stack
from tests.waiting import TIMEOUT_S, eventually

PASSWORD = "at the provider"

FACES = "Doctors"


class Company:
    """A service whose operators sign in at ``provider``, behind ``proxy``."""

    def __init__(self, stack: Stack, provider: OpenIdServer, proxy: NginxServer, plain: str):
        self.stack = stack
        self.provider = provider
        self.url = f"{proxy.url}/face"
        self.plain = plain
        self.authority = str(proxy.authority.file)

    def employ(self, family: str = "Staff", name: str = "") -> str:
        """A person whom the provider knows; ``family`` is the claim that gives the role."""
        name = name or f"ann {secrets.token_hex(4)}"
        self.provider.stop()
        self.provider.add_user(name, PASSWORD, family)
        self.provider.start()
        return name

    def outcomes(self, name: str) -> list[tuple[str, str]]:
        found = AuditLog(self.stack.cluster.engine).page(AuditFilter(operator=name))
        return [(each.action, each.outcome) for each in reversed(found)]


@pytest.fixture
def company(idle_stack: Stack) -> Iterator[Company]:
    port = free_port()
    plain = f"http://127.0.0.1:{port}"
    with NginxServer(plain) as proxy:
        back = [f"{proxy.url}/face{CALLBACK}", f"{plain}{CALLBACK}"]
        with OpenIdServer(back) as provider, idle_stack.cluster.shim(
            port=port, trusted_proxies="127.0.0.1", oidc_issuer=provider.issuer,
            oidc_client_id=CLIENT, oidc_client_secret=SECRET, oidc_create_accounts=True,
            oidc_role_claim="family_name", oidc_faces=FACES,
            oidc_roles=f"Staff=operator; Boss=administrator; {FACES}=viewer",
        ) as shim:
            eventually(lambda: not shim.alive or _answers(plain), "the shim answers")
            yield Company(idle_stack, provider, proxy, plain)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=10).ok
    except requests.RequestException:
        return False


class Person(requests.Session):
    """A browser without scripts that follows each redirect by hand."""

    def __init__(self, company: Company) -> None:
        super().__init__()
        self.company = company
        self.path: list[str] = []
        """The addresses it was sent to, without their queries."""

    def see(self, url: str, **form: str) -> requests.Response:
        """Follow redirects to the end, and note the ways."""
        method = "POST" if form else "GET"
        while True:
            answer = self.request(
                method, url, data=form or None, timeout=TIMEOUT_S, allow_redirects=False,
                verify=self.company.authority,
            )
            if not answer.is_redirect:
                return answer
            method, form = "GET", {}
            url = urljoin(url, answer.headers["location"])
            self.path.append(url)

    def sign_in(self, name: str) -> requests.Response:
        """From the page that needs it, over the link and the provider's form, back to the page."""
        page = self.see(f"{self.company.url}/console/batches?limit=7")
        link = re.search(r'href="([^"]*/sign-in/provider\?[^"]*)"', page.text)
        assert link is not None, page.text
        form = self.see(urljoin(page.url, unescape(link[1])))
        assert form.url.startswith(f"{self.company.provider.url}/login/username")
        assert 'name="password"' in form.text
        return self.see(
            urljoin(form.url, "/login/username"), id=field_of(form.text), username=name,
            password=PASSWORD,
        )


def field_of(page: str) -> str:
    found = re.search(r'name="id" value="([^"]*)"', page)
    assert found is not None, page
    return found[1]


def test_the_whole_way(company: Company) -> None:
    name = company.employ()
    person = Person(company)
    page = person.sign_in(name)
    assert page.status_code == 200, page.text
    assert page.url == f"{company.url}/console/batches?limit=7"
    assert name in page.text
    assert {urlsplit(each).netloc for each in person.path} == {
        urlsplit(company.url).netloc, urlsplit(company.provider.url).netloc,
    }
    account = OperatorStore(company.stack.cluster.engine).by_name(name)
    assert (account.role, account.sees_faces) == (OperatorRole.OPERATOR, False)
    assert company.outcomes(name) == [("session.open", "done")]

    callback = next(each for each in person.path if CALLBACK in each)
    again = Person(company).see(callback)
    assert again.status_code == 401
    assert "begin again" in again.text

    # The provider has restarted, with other keys, and says something else.
    company.employ(FACES, name)
    assert Person(company).sign_in(name).status_code == 200
    account = OperatorStore(company.stack.cluster.engine).by_name(name)
    assert (account.role, account.sees_faces) == (OperatorRole.VIEWER, True)
    company.employ("Guests", name)
    refused = Person(company).sign_in(name)
    assert refused.status_code == 401
    assert "gives you no role here" in refused.text
    assert company.outcomes(name)[1:] == [
        ("session.open", "done"), ("operator.change", "done"),
        ("session.open", "identity_refused"),
    ]

    company.provider.stop()
    last = Person(company)
    last.see(f"{company.url}/console")
    state = last.request(
        "GET", f"{company.url}/console/sign-in/provider", allow_redirects=False,
        verify=company.authority, timeout=TIMEOUT_S,
    ).headers["location"].partition("state=")[2].partition("&")[0]
    away = last.see(f"{company.url}{CALLBACK}?code=1&state={state}")
    assert away.status_code == 503
    assert "The identity provider does not answer." in away.text
    assert field(away.text, "to") == "/console"


@ONE_DATABASE
@pytest.mark.sends("/console/operators/{name}/provider")
def test_in_a_browser(company: Company, browser: Browser) -> None:
    name = company.employ("Boss")
    requested: list[Request] = []
    failed: list[str] = []
    context = browser.new_context(viewport=DESKTOP, base_url=company.plain, locale="en")
    context.set_default_timeout(TIMEOUT_S * 1000)
    page = context.new_page()
    page.on("request", lambda request: requested.append(request))
    page.on("request", note_form)
    page.on("pageerror", lambda error: failed.append(str(error)))

    def note(response: Response) -> None:
        if response.status >= 400:
            failed.append(f"{response.status} {response.url}")

    page.on("response", note)
    page.on("console", lambda said: failed.append(said.text) if said.type == "error" else None)
    page.goto("/console/operators")
    check_page(page)
    page.click("a[href*='/sign-in/provider']")
    page.fill("#username", name)
    page.fill("#password", PASSWORD)
    page.click("button")
    page.wait_for_url("**/console/operators")
    check_page(page)
    other = f"bob {secrets.token_hex(4)}"
    page.fill("[name=name]", other)
    page.check("[name=external]")
    page.click("main form button")
    page.wait_for_selector("[role=status]")
    check_page(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("form[action$='/reset'] button")
    page.wait_for_selector("#sign-in-link")
    page.goto(f"/console/operators/{other.replace(' ', '%20')}")
    page.click("form[action$='/provider'] button")
    page.wait_for_selector("[role=status]")
    assert OperatorStore(company.stack.cluster.engine).by_name(other).is_external
    elsewhere = {
        (each.resource_type, urlsplit(each.url).netloc) for each in requested
        if not each.url.startswith((company.plain, "data:", "blob:"))
    }
    context.close()
    assert elsewhere == {("document", urlsplit(company.provider.url).netloc)}
    assert not failed
