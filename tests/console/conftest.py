"""The console of a service without workers by HTTP, and of a whole one in a browser.

    def test_a_page(console: ConsoleClient) -> None:
        assert "Audit log" in console.get("/console/audit").text

    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_in_a_browser(visit: Visit, shape: Shape) -> None:
        check_page(visit("/console/audit", shape))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urljoin, urlsplit

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    sync_playwright,
)

from api_shim.admin.sessions import CSRF_HEADER, SESSION_COOKIE, sign_token
from api_shim.console.page import LANGUAGE_COOKIE, THEME_COOKIE
from api_shim.console.registry import PAGES
from pipeline.encryption.vault import open_vault
from pipeline.operators.model import OperatorRole
from pipeline.operators.sessions import SessionStore, csrf_token
from pipeline.operators.store import OperatorStore
from tests.programs import find_chromium
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

ADMINISTRATOR = "ada"

DESKTOP: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}


class ConsoleClient(requests.Session):
    """A browser without scripts, signed in by a session's token."""

    def __init__(self, stack: Stack, token: str) -> None:
        super().__init__()
        self.url = stack.url
        self.token = token
        self.csrf = csrf_token(token)
        self.headers[CSRF_HEADER] = self.csrf
        self.cookies.set(SESSION_COOKIE, sign_token(open_vault(stack.settings), token))

    def request(self, method: Any, url: Any, *rest: Any, **options: Any) -> requests.Response:
        """Paths are those of the service; redirects are not followed."""
        options = {"timeout": TIMEOUT_S, "allow_redirects": False, **options}
        return super().request(method, urljoin(self.url, url), *rest, **options)

    def get(self, url: Any, **options: Any) -> requests.Response:
        return self.request("GET", url, **options)

    def submit(
        self, path: str, files: Mapping[str, Any] | Sequence[Any] | None = None, **fields: Any
    ) -> requests.Response:
        """Send a form with its token."""
        return self.request("POST", path, data={"csrf": self.csrf, **fields}, files=files)


def sign_in(
    stack: Stack, role: OperatorRole = OperatorRole.ADMINISTRATOR, *, sees_faces: bool = True
) -> ConsoleClient:
    """A client of an operator of this kind."""
    operators = OperatorStore(stack.cluster.engine)
    name = f"{role.value}{'' if sees_faces else ' without faces'}"
    operator = operators.find(name) or operators.create(name, role, sees_faces=sees_faces)
    return ConsoleClient(stack, SessionStore(stack.cluster.engine).open(operator.id))


@pytest.fixture
def console(idle_stack: Stack) -> ConsoleClient:
    """An administrator who may see faces, at a service without workers."""
    return sign_in(idle_stack)


# In a browser --------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """How a page is looked at."""

    language: str = "en"
    theme: str = "light"
    phone: bool = False

    def __str__(self) -> str:
        return f"{self.language}-{self.theme}-{'phone' if self.phone else 'desktop'}"


SHAPES = [
    Shape("en", "light"), Shape("zh", "dark"), Shape("zh", "light", phone=True),
    Shape("en", "dark", phone=True),
]
"""Each language, theme and width at least twice: how every page is looked at."""

WALKED = [Shape("en", "light"), Shape("zh", "dark", phone=True)]
"""Each language, theme and width once: how every action is done, which takes longer."""

Visit = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium. Playwright occupies the thread's event loop: tests of other modules need
    it."""
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=str(find_chromium()), args=[
                "--no-sandbox", "--disable-gpu", "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield made
        made.close()


@pytest.fixture
def visit(browser: Browser, stack: Stack) -> Iterator[Visit]:
    """Opens pages of the running service (``visiting``)."""
    with visiting(browser, stack) as open_page:
        yield open_page


@contextmanager
def visiting(browser: Browser, stack: Stack) -> Iterator[Visit]:
    """Opens pages of a service, signed in as an administrator who may see faces.

    Each page's errors, and its requests to other origins, fail the test when it ends.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []
    operators = OperatorStore(stack.cluster.engine)

    def open_page(path: str, shape: Shape | None = None) -> Page:
        shape = shape or Shape()
        operator = operators.find(ADMINISTRATOR) or operators.create(
            ADMINISTRATOR, OperatorRole.ADMINISTRATOR, sees_faces=True
        )
        context = browser.new_context(
            viewport=PHONE if shape.phone else DESKTOP, locale=shape.language,
            base_url=stack.url,
        )
        context.set_default_timeout(TIMEOUT_S * 1000)
        contexts.append(context)
        cookies = {
            SESSION_COOKIE: sign_token(
                open_vault(stack.settings), SessionStore(stack.cluster.engine).open(operator.id)
            ),
            LANGUAGE_COOKIE: shape.language, THEME_COOKIE: shape.theme,
        }
        context.add_cookies(
            [{"name": name, "value": value, "url": stack.url} for name, value in cookies.items()]
        )
        page = context.new_page()
        watch(page, stack.url, complaints)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


def watch(page: Page, origin: str, complaints: list[str]) -> None:
    """Note what a page must not do: log errors, throw, ask another origin."""

    def heard(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(f"{page.url}: {message.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
    page.on("request", lambda request: complaints.append(f"{page.url} asks {request.url}")
            if not request.url.startswith((origin, "blob:", "data:")) else None)
    page.on("request", note_form)


def check_page(page: Page) -> None:
    """No serious fault of accessibility, nothing untranslated, nothing wider than the screen."""
    found = Axe().run(page, options={"resultTypes": ["violations"]})
    serious = [
        (each["id"], [node["html"][:200] for node in each["nodes"][:3]])
        for each in found.response["violations"] if each["impact"] in ("serious", "critical")
    ]
    assert not serious, serious
    widest = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert widest <= 0, f"{page.url} is {widest} pixels wider than the screen"
    assert page.locator("h1").count() == 1



# What browsers send --------------------------------------------------------------------

_CHOICES = ("action", "do")
"""The names of buttons whose value says what a form does."""

_SENT: list[str] = []
"""The actions that browsers of this process have sent."""


def action_name(path: str, fields: Mapping[str, str]) -> str:
    """An action of the console, as ``@pytest.mark.sends`` names it: the path of its page, and the
    button that was pressed where a form has several."""
    found = [
        page.path for page in PAGES
        if page.post and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", page.path), path)
    ]
    # A path without a name in it before one that has.
    pattern = min(found, key=lambda each: each.count("{"), default=path)
    chosen = [f" {name}={fields[name]}" for name in _CHOICES if fields.get(name)]
    return pattern + "".join(chosen)


def note_form(request: Request) -> None:
    """Note an action that a page sends: a listener for the requests of a page."""
    parts = urlsplit(request.url)
    if request.method == "POST" and parts.path.startswith("/console"):
        sent = parse_qs((request.post_data_buffer or b"").decode(errors="replace"))
        fields = {name: values[0] for name, values in sent.items()}
        _SENT.append(action_name(unquote(parts.path), fields))


@pytest.fixture(autouse=True)
def _sent_as_marked(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test marked with ``sends`` has sent that in a browser."""
    marked = {name for mark in request.node.iter_markers("sends") for name in mark.args}
    before = len(_SENT)
    yield
    assert marked <= set(_SENT[before:]), marked - set(_SENT[before:])
