"""Every page of the console in every shape, with data on it.

A page that is added to the registry fails ``test_every_page_has_an_address`` until it has one here;
an action that a page offers fails ``test_every_page`` until a test sends it in a browser, and is
marked with ``@pytest.mark.sends("/console/jobs/{job_id}/cancel")``.
"""

from __future__ import annotations

import base64
import uuid
from functools import cache
from importlib import import_module
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import cv2
import pytest
from playwright.sync_api import Page as BrowserPage

from api_shim.admin.sessions import SESSION_COOKIE
from api_shim.console.registry import PAGES
from pipeline.metering.usage import Counts
from tests import clips
from tests.conftest import missing
from tests.console.conftest import (
    SHAPES,
    ConsoleClient,
    Shape,
    Visit,
    action_name,
    check_page,
    sign_in,
)
from tests.console.test_application_pages import used
from tests.console.test_applications import admin_of
from tests.console.test_batches import MIXED, make_batch
from tests.console.test_findings import make_findings
from tests.console.test_try_it import tried
from tests.databases import ONE_DATABASE
from tests.presentations.people import Material
from tests.stack import Stack
from tests.waiting import eventually

HOSTILE = "<b>O'Neil</b> \"\u05d0\" \U0001f600"

ELSEWHERE = {"/console/sign-in/provider", "/console/sign-in/provider/callback"}
"""Paths that lead to an identity provider and back: see ``test_identity_provider.py``."""

Addresses = dict[str, list[str]]
"""Addresses by the paths of the pages that they open."""


@pytest.fixture(scope="module")
def addresses(stack: Stack, test_data: Path) -> Addresses:
    """Every page of the console with data on it."""
    application = f"{HOSTILE} {uuid.uuid4().hex[:8]}".replace("/", "|")
    stack.add_tenant(application)
    console = sign_in(stack)
    of = f"application={quote(application, safe='')}"
    own = f"/console/applications/{quote(application, safe='')}"

    jobs, faces = _enrol(console, application, test_data)
    sought = {"application": application, "image": _photo(test_data)}
    found = _post(console, "/admin/gallery/search", **sought)
    receipt = _post(console, "/admin/gallery/delete", application=application, faces=faces[1:])
    tries = _tries(console, application, test_data)
    _administer(stack, console, application)
    batch = make_batch(stack, MIXED)
    findings = make_findings(stack, f"findings {application}")
    operator = f"{HOSTILE} {uuid.uuid4().hex[:8]}".replace("/", "|")
    _post(console, "/admin/operators", name=operator, role="operator", sees_faces=False)
    _post(console, f"/admin/operators/{quote(operator, safe='')}/tokens", program="nightly")

    return {
        "/console": ["/console"],
        "/console/jobs": ["/console/jobs", "/console/jobs?state=running&q=nothing"],
        "/console/jobs/{job_id}": [f"/console/jobs/{each}" for each in jobs[:3:2]],
        "/console/gallery": [f"/console/gallery?{of}", "/console/gallery"],
        "/console/gallery/faces/{face_id}": [f"/console/gallery/faces/{faces[0]}?{of}"],
        "/console/gallery/collections": [f"/console/gallery/collections?{of}"],
        "/console/gallery/enrol": [f"/console/gallery/enrol?{of}&jobs={','.join(jobs)}"],
        "/console/gallery/search": [f"/console/gallery/search?{of}"],
        "/console/gallery/search/{job_id}": [f"/console/gallery/search/{found['job_id']}?{of}"],
        "/console/gallery/receipts": [f"/console/gallery/receipts?{of}"],
        "/console/gallery/receipts/{receipt}": [f"/console/gallery/receipts/{receipt['receipt']}"],
        "/console/gallery/receipts/{receipt}/document": [
            f"/console/gallery/receipts/{receipt['receipt']}/document"
        ],
        "/console/account": ["/console/account"],
        "/console/account/codes": ["/console/account/codes"],
        "/console/operators": ["/console/operators"],
        "/console/operators/{name}": [f"/console/operators/{quote(operator, safe='')}"],
        "/console/audit": ["/console/audit"],
        "/console/try": [f"/console/try?{of}"],
        "/console/try/pair": [f"/console/try/pair?{of}"],
        "/console/try/clip": [f"/console/try/clip?{of}"],
        "/console/try/result/{job}": [f"/console/try/result/{each}" for each in tries],
        "/console/batches": ["/console/batches"],
        "/console/batches/new": [f"/console/batches/new?{of}"],
        "/console/batches/{batch_id}": [f"/console/batches/{batch.id}"],
        "/console/batches/{batch_id}/findings": [f"/console/batches/{findings.id}/findings"],
        "/console/applications": ["/console/applications"],
        "/console/applications/{application}": [own],
        "/console/applications/{application}/limits": [f"{own}/limits"],
        "/console/applications/{application}/usage": [f"{own}/usage?month=2026-02"],
        "/console/applications/{application}/webhooks": [f"{own}/webhooks"],
        "/console/applications/{application}/settings": [f"{own}/settings"],
        "/console/system": ["/console/system"],
        "/console/system/settings": ["/console/system/settings"],
        "/console/system/packs": ["/console/system/packs"],
        "/console/system/index": ["/console/system/index"],
        "/console/system/calibration": ["/console/system/calibration?faces=48000"],
        "/console/docs": ["/console/docs", "/console/docs?q=receipt"],
        "/console/docs/{name:path}": ["/console/docs/console"],
        "/console/sign-in": ["/console/sign-in"],
        "/console/sign-in/link": ["/console/sign-in/link?token=x"],
    }


def _post(console: ConsoleClient, path: str, **given: Any) -> Any:
    answer = console.post(path, json=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _photo(test_data: Path, name: str = "photos/obama.jpg") -> str:
    return base64.b64encode((test_data / name).read_bytes()).decode()


def _enrol(
    console: ConsoleClient, application: str, test_data: Path
) -> tuple[list[str], list[int]]:
    """(jobs, faces) of three photos, of which the last has no face."""
    files = {"photos/obama.jpg": HOSTILE, "photos/biden.jpg": "Joe", "bad/no_face.png": ""}
    sent = _post(
        console, "/admin/gallery/enrol", application=application, collections=["default"],
        photos=[
            {"image": _photo(test_data, file), "file": file, "name": name}
            for file, name in files.items()
        ],
    )
    jobs = [each["job_id"] for each in sent["photos"]]

    def state() -> Any:
        at = {"application": application, "jobs": ",".join(jobs)}
        return console.get("/admin/gallery/enrolments", params=at).json()

    eventually(lambda: state()["unfinished"] == 0, "the photos are enrolled")
    return jobs, [face["id"] for photo in state()["photos"] for face in photo["faces"]]


def _tries(console: ConsoleClient, application: str, test_data: Path) -> list[str]:
    """A photo, two photos, and a clip with and without a fault."""
    videos = test_data.parent / "videos"
    if not (videos / "mouth_open.mp4").is_file():
        missing(f"no test video in {videos}, beside FACELINE_TEST_DATA")
    frames = Material(test_data, videos).live(28, 62)
    photo = (test_data / "photos" / "obama.jpg").read_bytes()
    own = cv2.imencode(".jpg", frames[22])[1].tobytes()
    clip = clips.encoded(frames)
    given: list[tuple[str, dict[str, Any]]] = [
        ("picture", {"picture": photo}), ("pair", {"first": photo, "second": own}),
        ("clip", {"clip": clip, "action": 1}), ("clip", {"clip": clip, "action": 2}),
    ]
    return [tried(console, kind, application=application, **each)["job"] for kind, each in given]


def _administer(stack: Stack, console: ConsoleClient, application: str) -> None:
    """Limits, usage, and a webhook that was tried while it is told nothing."""
    limit = {"operation": "search", "per_second": 5, "daily": 100}
    assert console.put(admin_of(application, "limits"), json=limit).status_code == 200
    counts = Counts(charged=1200, free=34, refused=5)
    used(stack, stack.tenants.by_name(application), "2026-02-03", search=counts)
    hooks = admin_of(application, "webhooks")
    number = _post(console, hooks, url="https://93.184.216.34/hook")["number"]
    for action in ("disable", "test"):
        _post(console, f"{hooks}/{number}/{action}")


@ONE_DATABASE
def test_every_page_has_an_address(addresses: Addresses) -> None:
    assert set(addresses) == {page.path for page in PAGES if page.get} - ELSEWHERE


def test_every_form_is_sent() -> None:
    sent = {each.partition(" ")[0] for each in sent_actions()}
    assert sent == {page.path for page in PAGES if page.post}


@ONE_DATABASE
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_page(visit: Visit, addresses: Addresses, shape: Shape) -> None:
    opened, offered = visit("/console", shape), set[str]()
    pages = sorted((page for page in PAGES if page.path in addresses), key=lambda each: each.public)
    for page in pages:
        if page.public:
            opened.context.clear_cookies(name=SESSION_COOKIE)
        for address in addresses[page.path]:
            if address.endswith("/document"):
                _check_file(opened, address)
                continue
            answer = opened.goto(address)
            assert answer is not None
            assert answer.status == 200, address
            check_page(opened)
            offered |= _offered(opened)
    assert offered <= sent_actions(), offered - sent_actions()


def _check_file(page: BrowserPage, address: str) -> None:
    assert page.request.get(address).headers["content-disposition"].startswith("attachment")


def _offered(page: BrowserPage) -> set[str]:
    """The actions that a page offers."""
    buttons = page.evaluate("""
        [...document.querySelectorAll("form[method=post]")].flatMap(form => [...form.elements]
            .filter(each => each.type === "submit")
            .map(each => [form.getAttribute("action"), each.name, each.value]))
    """)
    return {
        action_name(unquote(urlsplit(path).path), {name: value}) for path, name, value in buttons
    }


@cache
def sent_actions() -> set[str]:
    """The actions that tests are marked to send."""
    modules = [
        import_module(f"{__package__}.{each.stem}")
        for each in sorted(Path(__file__).parent.glob("test_*.py"))
    ]
    return {
        name for module in modules
        for value in vars(module).values() if isinstance(value, FunctionType)
        for mark in getattr(value, "pytestmark", ()) if mark.name == "sends" for name in mark.args
    }
