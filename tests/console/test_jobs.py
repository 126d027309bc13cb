"""Jobs: their list, one job, cancelling and retrying it, its pictures; by HTTP."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
import pytest
from markupsafe import escape

from api_shim.admin.failure_words import words_about
from api_shim.console.pages.jobs import EVENTS, NOBODY
from api_shim.console.texts import texts_of
from pipeline.errors import FaceError, JobCrashed, MediaUnavailable, NoFace
from pipeline.jobs import waiting_jobs
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.timeline import JobEvent
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from tests.console.conftest import ConsoleClient, sign_in
from tests.face2_client import base64_of
from tests.job_factory import add_tenant, new_job
from tests.stack import Stack

HOSTILE = "<script>alert(1)</script> \"'& 王😀 \u202eevil"

WORKER, LEASE_S = "worker-1", 60.0


_SEEDS = itertools.count()


def noise() -> bytes:
    """A PNG without a face, another one at each call: equal requests would be one job."""
    pixels = np.random.default_rng(next(_SEEDS)).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes()


def submit(stack: Stack, request_id: str = "", picture: bytes = b"") -> Job:
    """A job that waits where no worker runs, by HTTP."""
    named = {"X-Request-Id": request_id} if request_id else {}
    answer = stack.client().call(
        "locate", {"image": base64_of(picture or noise())}, Prefer="respond-async", **named
    )
    assert answer.status_code == 202
    found = stack.jobs.read.find(answer.json()["job_id"])
    assert found is not None
    return found


def fail(stack: Stack, job: Job, error: FaceError) -> None:
    claim = stack.jobs.claim(job.id, job.stage, WORKER, LEASE_S, 3)
    assert claim is not None
    step = {"stage": "decode", "worker": HOSTILE, "ms": 12.5, "at": job.created_at + 1.0}
    assert stack.jobs.fail(claim, error, [step])


def test_a_job_is_found_by_what_a_client_reports(idle_stack: Stack) -> None:
    console = sign_in(idle_stack)
    job = submit(idle_stack, "reported-0001")
    assert console.get("/console/jobs", params={"q": job.id}).headers["location"].endswith(
        f"/console/jobs/{job.id}"
    )
    for found in ({"q": "reported-0001"}, {"q": "stack"}, {"application": "stack"},
                  {"state": "queued"}, {"operation": "locate"}, {"since": "2026-01-01T00:00"}):
        assert job.id[:8] in console.get("/console/jobs", params=found).text
    for lacking in ({"q": "reported-0002"}, {"state": "done"}, {"error_code": "no_face"},
                    {"until": "2026-01-01T00:00"}, {"operation": "verify"}):
        page = console.get("/console/jobs", params=lacking)
        assert (page.status_code, job.id[:8] in page.text) == (200, False)
    for wrong in ({"state": "lost"}, {"before": "-1"}, {"since": "soon"}, {"application": "no"}):
        assert 'role="alert"' in console.get("/console/jobs", params=wrong).text
    listed = console.get("/admin/jobs", params={"request_id": "reported-0001"}).json()
    assert [each["id"] for each in listed["jobs"]] == [job.id]
    assert console.get("/admin/jobs", params={"state": "lost"}).status_code == 400


def test_a_failed_job_says_why_and_runs_again(idle_stack: Stack) -> None:
    console = sign_in(idle_stack, OperatorRole.OPERATOR)
    job = submit(idle_stack)
    fail(idle_stack, job, JobCrashed(HOSTILE))
    page = console.get(f"/console/jobs/{job.id}").text
    assert escape(words_about("job_crashed").advice) in page
    assert "<script>alert" not in page
    shown = console.get(f"/admin/jobs/{job.id}").json()
    assert shown["error"]["code"] == "job_crashed"
    assert [step["took_ms"] for step in shown["timeline"]] == [12.5]
    assert shown["envelope"]["text"]
    assert shown["retry_obstacle"] == ""
    assert console.submit(f"/console/jobs/{job.id}/retry").status_code == 303
    assert console.get(f"/admin/jobs/{job.id}").json()["job"]["state"] == "queued"
    assert console.post(f"/admin/jobs/{job.id}/retry").status_code == 409


def test_pictures_that_are_gone_cannot_be_retried(idle_stack: Stack) -> None:
    console = sign_in(idle_stack)
    job = submit(idle_stack)
    fail(idle_stack, job, NoFace(picture=0))
    shown = console.get(f"/admin/jobs/{job.id}").json()
    assert "deleted" in shown["retry_obstacle"]
    assert [each["stored"] for each in shown["pictures"]] == [False]
    answer = console.post(f"/admin/jobs/{job.id}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_cancelling(idle_stack: Stack) -> None:
    console = sign_in(idle_stack, OperatorRole.OPERATOR)
    job = submit(idle_stack)
    assert console.submit(f"/console/jobs/{job.id}/cancel").status_code == 303
    assert console.post(f"/admin/jobs/{job.id}/cancel").status_code == 409
    ended = idle_stack.jobs.read.find(job.id)
    assert ended is not None
    assert ended.state is JobState.CANCELLED
    actions = [
        (each.action, each.subject, each.outcome)
        for each in AuditLog(idle_stack.cluster.engine).page()[:2]
    ]
    assert actions == [("jobs.cancel", job.id, "conflict"), ("jobs.cancel", job.id, "done")]


def test_pictures_are_for_who_may_see_faces(idle_stack: Stack) -> None:
    sent = noise()
    job = submit(idle_stack, picture=sent)
    path = f"/admin/jobs/{job.id}/pictures/0"
    picture = sign_in(idle_stack, OperatorRole.VIEWER).get(path)
    assert picture.content == sent
    assert picture.headers["content-type"].startswith("image/")
    assert "sandbox" in picture.headers["content-security-policy"]
    blind = sign_in(idle_stack, sees_faces=False)
    assert blind.get(path).status_code == 403
    assert path not in blind.get(f"/console/jobs/{job.id}").text
    assert sign_in(idle_stack).get(f"/admin/jobs/{job.id}/pictures/1").status_code == 404
    first, second, *_ = AuditLog(idle_stack.cluster.engine).page()
    assert {first.outcome, second.outcome} == {"media_not_found", "not_permitted"}


def test_a_viewer_changes_nothing(idle_stack: Stack) -> None:
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    job = submit(idle_stack)
    page = viewer.get(f"/console/jobs/{job.id}").text
    assert "/cancel" not in page
    assert viewer.submit(f"/console/jobs/{job.id}/cancel").status_code == 403
    assert viewer.post(f"/admin/jobs/{job.id}/cancel").status_code == 403
    assert viewer.post(f"/admin/jobs/{job.id}/retry").status_code == 403


@pytest.mark.parametrize("job_id", ["0" * 32, "x", "%00", "..%2f"])
def test_unknown_jobs(console: ConsoleClient, job_id: str) -> None:
    assert console.get(f"/console/jobs/{job_id}").status_code == 404
    assert console.get(f"/admin/jobs/{job_id}").status_code == 404


def test_the_timeline_tells_what_happened_between_the_stages(idle_stack: Stack) -> None:
    console = sign_in(idle_stack, OperatorRole.OPERATOR)
    job = submit(idle_stack)
    claim = idle_stack.jobs.claim(job.id, job.stage, WORKER, LEASE_S, 3)
    assert claim is not None
    assert idle_stack.jobs.retry_later(
        claim, MediaUnavailable(), stage=job.stage, pause_s=0.0, retry_for_s=600.0
    )
    assert idle_stack.jobs.claim(job.id, job.stage, "worker-2", LEASE_S, 3) is not None
    idle_stack.jobs.upkeep.release_dead(3, worker="worker-2")
    fail(idle_stack, job, JobCrashed())
    assert console.submit(f"/console/jobs/{job.id}/retry").status_code == 303
    assert console.submit(f"/console/jobs/{job.id}/cancel").status_code == 303
    steps = console.get(f"/admin/jobs/{job.id}").json()["timeline"]
    assert [(each["event"], each["worker"], each["code"]) for each in steps] == [
        ("paused", WORKER, "media_unavailable"), ("lost", "worker-2", ""),
        ("stage", HOSTILE, ""), ("retried", "", "job_crashed"), ("cancelled", "", ""),
    ]
    name = steps[-1]["by"]
    assert name == steps[-2]["by"] == AuditLog(idle_stack.cluster.engine).page()[0].operator
    page = console.get(f"/console/jobs/{job.id}").text
    for said in (
        f"paused: {words_about('media_unavailable').why}",
        "its worker died or was silent for too long", f"cancelled by {name}",
        f"retried by {name}, after: {words_about('job_crashed').why}",
    ):
        assert escape(said) in page


def test_events_are_translated() -> None:
    assert {*EVENTS.values(), *NOBODY.values()} <= texts_of("zh").catalog.keys()
    assert set(EVENTS) == set(JobEvent) - {JobEvent.STAGE}
    assert set(NOBODY) < set(EVENTS)


def test_all_waiting_jobs_of_an_application_are_cancelled(
    idle_stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_jobs, "CHUNK", 2)
    name = f"waiting-{next(_SEEDS)}-{HOSTILE}"
    mine, others = (
        add_tenant(idle_stack.cluster.engine, each)
        for each in (name, f"{name}, another")
    )
    made = [idle_stack.jobs.submit(new_job(mine))[0] for _ in range(5)]
    batch, _ = idle_stack.jobs.submit(new_job(mine, operation="bulk", stage="bulk", dialect=""))
    other, _ = idle_stack.jobs.submit(new_job(others))
    console = sign_in(idle_stack, OperatorRole.OPERATOR)
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    listed = {"state": "queued", "application": name}
    assert "Cancel 5 waiting jobs" in console.get("/console/jobs", params=listed).text
    for without in ({"application": name}, {**listed, "operation": "locate"}):
        assert "waiting job" not in console.get("/console/jobs", params=without).text
    assert "waiting job" not in viewer.get("/console/jobs", params=listed).text
    asked: dict[str, Any] = {"application": name, "jobs": 4}
    assert viewer.post("/admin/jobs/waiting/cancel", json=asked).status_code == 403
    assert console.submit("/console/jobs/waiting/cancel", **asked).status_code == 303
    # As many as the operator was told, the oldest first.
    states = [idle_stack.jobs.read.get(mine, each.id).state for each in made]
    assert states == [JobState.CANCELLED] * 4 + [JobState.QUEUED]
    entry = AuditLog(idle_stack.cluster.engine).page()[0]
    assert (entry.action, entry.application) == ("jobs.cancel_waiting", name)
    assert (entry.subject, entry.outcome) == ("4 jobs", "done")
    counted = console.get("/admin/jobs/waiting", params={"application": name}).json()
    assert counted == {"jobs": 1}
    answer = console.post("/admin/jobs/waiting/cancel", json={"application": name, "jobs": 9})
    assert answer.json() == {"cancelled": 1}
    assert not idle_stack.jobs.read.get(mine, batch.id).ended
    assert not idle_stack.jobs.read.get(others, other.id).ended
    (step,) = console.get(f"/admin/jobs/{made[0].id}").json()["timeline"]
    assert (step["event"], step["by"]) == ("cancelled", entry.operator)
    for wrong in ({"jobs": 0}, {"jobs": 10_001}, {"jobs": "all"}, {}):
        sent: dict[str, Any] = {"application": name, **wrong}
        assert console.post("/admin/jobs/waiting/cancel", json=sent).status_code == 400
        assert console.submit("/console/jobs/waiting/cancel", **sent).status_code == 400
    idle_stack.jobs.cancel(mine, batch.id)
    idle_stack.jobs.cancel(others, other.id)
