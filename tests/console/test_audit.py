"""The audit log, and what holds for every page and every operation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from api_shim.admin.operation import AdminOperation
from api_shim.admin.registry import OPERATIONS
from api_shim.console.page import Page
from api_shim.console.registry import PAGES
from api_shim.console.texts import LANGUAGES, texts_of
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from tests.console.conftest import ConsoleClient, sign_in
from tests.stack import Stack

TEMPLATES = Path("api_shim/console/templates")

MARKED = re.compile(r"""(?<![A-Za-z])(?:_|ngettext|gettext)\(\s*(['"])((?:(?!\1).|\\.)*)\1""")


def test_entries_are_shown_newest_first(idle_stack: Stack) -> None:
    log = AuditLog(idle_stack.cluster.engine)
    for action in ("job.cancel", "face.show"):
        log.end(log.begin("ada", action, subject="<script>alert(1)</script>"))
    console = sign_in(idle_stack)
    page = console.get("/console/audit").text
    assert 0 < page.index("face.show") < page.index("job.cancel")
    assert "<script>alert" not in page
    listed = console.get("/admin/audit", params={"limit": 2}).json()
    assert [each["action"] for each in listed["entries"]] == ["face.show", "job.cancel"]
    older = console.get("/admin/audit", params={"before": listed["next"]}).json()
    assert all(each["seq"] < listed["next"] for each in older["entries"])


@pytest.mark.parametrize(
    "page", [each for each in PAGES if not each.public], ids=lambda page: page.path
)
def test_pages_need_a_session(idle_stack: Stack, page: Page) -> None:
    path = page.path.replace("{", "").replace("}", "")
    client = sign_in(idle_stack)
    client.cookies.clear()
    if page.get:
        answer = client.get(path)
        assert answer.status_code == 303
        assert "/console/sign-in" in answer.headers["location"]
    if page.post:
        assert "/console/sign-in" in client.submit(path).headers["location"]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: each.name)
def test_operations_need_a_session(
    idle_stack: Stack, operation: AdminOperation[Any, Any]
) -> None:
    client = sign_in(idle_stack)
    client.cookies.clear()
    path = operation.path.replace("{", "").replace("}", "")
    assert client.request(operation.method, f"/admin{path}").status_code == 401


def test_a_viewer_is_no_administrator(idle_stack: Stack) -> None:
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    assert viewer.get("/console/audit").status_code == 403
    assert viewer.get("/admin/audit").status_code == 403


@pytest.mark.parametrize("language", [each for each in LANGUAGES if each != "en"])
def test_every_text_is_translated(language: str) -> None:
    catalog = texts_of(language).catalog
    missing = {
        f"{template.relative_to(TEMPLATES)}: {text}"
        for template in sorted(TEMPLATES.rglob("*.html"))
        for _, text in MARKED.findall(template.read_text(encoding="utf-8"))
        if text not in catalog
    }
    assert not missing


def test_forms_need_their_token(console: ConsoleClient) -> None:
    assert console.post("/console/preferences", data={"theme": "dark"}).status_code == 403
    assert console.submit("/console/preferences", theme="dark").status_code == 303


def test_an_error_leads_back_to_its_section(console: ConsoleClient) -> None:
    page = console.get("/console/jobs/no-such-job")
    assert page.status_code == 404
    assert 'href="/console/jobs">' in page.text
