"""The overview by HTTP and in a browser, with the pages of jobs that it leads to."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import JobCrashed
from tests.console.conftest import SHAPES, Shape, Visit, check_page, sign_in
from tests.console.test_jobs import HOSTILE, fail, submit
from tests.databases import ONE_DATABASE
from tests.face2_client import base64_of
from tests.stack import Stack


def test_it_shows_errors_and_queues(idle_stack: Stack) -> None:
    console = sign_in(idle_stack)
    fail(idle_stack, submit(idle_stack, "overview-0001"), JobCrashed(HOSTILE))
    submit(idle_stack)
    look = console.get("/admin/overview").json()
    assert look["errors"][0]["request_id"] == "overview-0001"
    assert look["errors"][0]["code"] == "job_crashed"
    assert look["rates"]["accepted"] >= 2
    waiting = {queue["stage"]: queue for queue in look["queues"]}["decode"]
    assert waiting["waiting"] >= 1
    assert waiting["workers"] == 0
    assert {part["name"]: part["state"] for part in look["parts"]} == {
        "database": "ok", "media": "ok", "master_key": "ok"
    }
    assert [each["role"] for each in look["processes"]] == ["shim"]
    assert look["disk"]["free"] > 0
    page = console.get("/console").text
    assert "overview-0001" in page
    assert "<script>alert" not in page


@ONE_DATABASE
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_in_a_browser(stack: Stack, visit: Visit, shape: Shape, test_data: Path) -> None:
    face = next(iter(sorted((test_data / "photos").glob("*.jpg"))))
    stack.client().call("locate", {"image": base64_of(face)})
    submit(stack)
    page = visit("/console", shape)
    check_page(page)
    page.goto("/console/jobs")
    check_page(page)
    page.locator("tbody a").first.click()
    page.wait_for_url("**/console/jobs/*")
    check_page(page)
