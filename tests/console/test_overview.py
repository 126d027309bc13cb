"""The overview by HTTP and in a browser, with the pages of jobs that it leads to."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.errors import JobCrashed
from pipeline.jobs.model import Job, JobState, NewJob
from pipeline.operations import Stage
from pipeline.operators.sessions import SessionStore
from tests.console.conftest import WALKED, ConsoleClient, Shape, Visit, check_page, sign_in
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
    # Other tests have restarted the shim; the record of the stopped one stays for a while.
    assert {each["role"] for each in look["processes"]} == {"shim"}
    assert look["disk"]["free"] > 0
    assert {"processes"} <= {each["name"] for each in look["findings"]}
    assert any("no upkeep runs" in each["found"] for each in look["findings"])
    page = console.get("/console").text
    assert "overview-0001" in page
    assert "no upkeep runs" in page
    assert "<script>alert" not in page


def submit_unserved(stack: Stack, stage: Stage) -> Job:
    """A job with pictures at an address, at a stage that no worker of the stack serves. Upkeep
    refuses those that wait to be fetched."""
    new = NewJob(
        tenant_id=stack.credentials.tenant_id, operation="matrix", dialect="c",
        stage=stage, params={"fetch": ["http://192.0.2.1/picture"] * 2}, media=("", ""),
        request_id=uuid.uuid4().hex, digest="",
    )
    return stack.jobs.submit(new)[0]


@pytest.mark.sends(
    "/console/jobs/{job_id}/cancel", "/console/jobs/{job_id}/retry", "/console/jobs/waiting/cancel"
)
@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(stack: Stack, visit: Visit, shape: Shape, test_data: Path) -> None:
    photo = min((test_data / "photos").glob("*.jpg"))
    stack.client().call("locate", {"image": base64_of(photo)})
    overview = visit("/console", shape)
    # The stream tells of a new error, and what is focused stays so.
    overview.locator("#overview [tabindex]").first.focus()
    focused = overview.evaluate_handle("document.activeElement")
    failed = submit_unserved(stack, Stage.BULK)
    fail(stack, failed, JobCrashed(HOSTILE))
    overview.locator(f'[data-key="{failed.id}"]').wait_for()
    assert focused.evaluate("each => each === document.activeElement")
    check_page(overview)

    overview.locator(f'[data-key="{failed.id}"] a[href*="/jobs/"]').click()
    job = overview
    job.wait_for_url(f"**/console/jobs/{failed.id}")
    job.locator('form[action$="/retry"] button').click()
    job.locator(".notice").wait_for()
    job.get_by_text("download_refused").first.wait_for()
    job.locator("details:not([data-menu]) summary").click()
    check_page(job)

    waits = submit_unserved(stack, Stage.BULK)
    job.goto(f"/console/jobs/{waits.id}")
    job.once("dialog", lambda dialog: dialog.accept())
    job.locator('form[action$="/cancel"] button').click()
    job.locator('form[action$="/retry"]').wait_for()

    job.goto("/console/jobs")
    job.locator('[name="state"]').select_option("cancelled")
    job.locator('[name="q"]').fill(waits.request_id)
    job.locator("main form button").click()
    job.locator(f'[data-key="{waits.id}"]').wait_for()
    assert job.locator("[data-key]").count() == 1
    check_page(job)

    waiting = [submit_unserved(stack, Stage.BULK) for _ in range(2)]
    job.goto("/console/jobs?application=stack&state=queued")
    check_page(job)
    job.once("dialog", lambda dialog: dialog.accept())
    job.locator('form[action$="/waiting/cancel"] button').click()
    job.locator(".notice").wait_for()
    check_page(job)
    assert {stack.cluster.job(each.id).state for each in waiting} == {JobState.CANCELLED}


# The stream ----------------------------------------------------------------------------


def open_stream(console: ConsoleClient) -> requests.Response:
    return console.get("/console/events", stream=True)


def next_event(lines: Iterator[str]) -> str:
    """The data of the next event of a stream."""
    data = []
    for line in lines:
        if line.startswith("data: "):
            data.append(line.removeprefix("data: "))
        elif not line and data:
            return "\n".join(data)
    raise AssertionError("the stream has ended")


def lines_of(answer: requests.Response) -> Iterator[str]:
    answer.encoding = "utf-8"
    return iter(answer.iter_lines(chunk_size=1, decode_unicode=True))


def test_the_stream_follows_the_service(idle_stack: Stack) -> None:
    console = sign_in(idle_stack)
    with open_stream(console) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = lines_of(answer)
        assert 'id="overview"' in next_event(lines)
        job = submit(idle_stack, "streamed-0001")
        fail(idle_stack, job, JobCrashed(HOSTILE))
        while "streamed-0001" not in (event := next_event(lines)):
            pass
        assert "<script>alert" not in event


def test_the_stream_ends_with_its_session(idle_stack: Stack) -> None:
    console = sign_in(idle_stack)
    with open_stream(console) as answer:
        lines = lines_of(answer)
        next_event(lines)
        SessionStore(idle_stack.cluster.engine).end(console.token)
        for _ in lines:
            pass
    assert open_stream(console).status_code == 401


def test_the_stream_is_for_operators(idle_stack: Stack) -> None:
    key = {"X-API-Key": idle_stack.credentials.api_key}
    assert requests.get(f"{idle_stack.url}/console/events", headers=key, timeout=60).ok is False
    assert sign_in(idle_stack).post("/console/events").status_code == 400
