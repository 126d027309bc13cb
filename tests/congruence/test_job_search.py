"""Lists of jobs: what fits, page by page, on every database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from pipeline.errors import FaceError, NoFace
from pipeline.jobs import search
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.search import JobFilter
from tests.job_factory import Clock, Queue, add_tenant


def found_by(queue: Queue, limit: int = 50, **wanted: object) -> list[str]:
    """The ids of all jobs that fit, read in pages."""
    ids: list[str] = []
    before = None
    while True:
        page = queue.search.page(JobFilter(**wanted), before, limit)  # type: ignore[arg-type]
        assert len(page.jobs) <= limit
        ids += [job.id for job in page.jobs]
        if page.next is None:
            return ids
        assert before is None or page.next < before
        before = page.next


def many(queue: Queue) -> dict[str, Job]:
    """One job in each state, and one more that waits at another stage."""
    jobs = {}
    for state in ("done", "failed", "cancelled", "running", "queued"):
        jobs[state] = queue.add(operation="verify" if state == "failed" else "locate")
        queue.clock.forward(10)
    queue.finish(queue.take(jobs["done"]), {}, [], None)
    queue.fail(queue.take(jobs["failed"]), NoFace(), [])
    queue.cancel(queue.tenant, jobs["cancelled"].id)
    queue.take(jobs["running"])
    jobs["indexed"] = queue.add(stage="index", request_id="20261130180000" + "a" * 32)
    return jobs


def test_filters(queue: Queue, engine: Engine) -> None:
    jobs = many(queue)
    newest = [job.id for job in reversed(jobs.values())]
    assert found_by(queue) == found_by(queue, limit=2) == newest
    for state in ("done", "failed", "cancelled", "running"):
        assert found_by(queue, state=JobState(state)) == [jobs[state].id]
    assert found_by(queue, state=JobState.QUEUED) == [jobs["indexed"].id, jobs["queued"].id]
    assert found_by(queue, operation="verify") == [jobs["failed"].id]
    assert found_by(queue, error_code="no_face") == [jobs["failed"].id]
    assert found_by(queue, error_code="no_face", operation="locate") == []
    assert found_by(queue, request_id=jobs["indexed"].request_id) == [jobs["indexed"].id]
    assert found_by(queue, request_id=jobs["done"].request_id, state=JobState.FAILED) == []
    assert found_by(queue, tenant_id=queue.tenant) == newest
    other = Queue(engine, add_tenant(engine, "other"), queue.clock)
    theirs = other.add()
    assert found_by(queue, tenant_id=other.tenant) == [theirs.id]
    assert found_by(queue, tenant_id=other.tenant, state=JobState.QUEUED) == [theirs.id]


def test_times_bound_the_acceptance(queue: Queue, clock: Clock) -> None:
    assert found_by(queue, since=clock.now) == []
    start, jobs = clock.now, []
    for _ in range(5):
        jobs.append(queue.add().id)
        clock.forward(10)
    assert found_by(queue, since=start + 10, until=start + 30) == [jobs[2], jobs[1]]
    assert found_by(queue, since=start + 41) == []
    assert found_by(queue, until=start) == []
    assert queue.search.count_since(start + 20) == 3


def test_a_page_looks_at_a_bounded_number(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_LOOKED_AT", 4)
    rare = queue.add(operation="verify")
    for _ in range(9):
        queue.add()
    first = queue.search.page(JobFilter(operation="verify"))
    assert (first.jobs, first.next is not None) == ([], True)
    assert found_by(queue, operation="verify") == [rare.id]


def test_last_errors(queue: Queue) -> None:
    first, second = queue.add(), queue.add()
    queue.fail(queue.take(second), FaceError("it broke"), [])
    queue.fail(queue.take(first), NoFace(), [])
    queue.finish(queue.take(queue.add()), {}, [], None)
    found = queue.search.last_errors(5)
    assert [(job.id, message) for job, message in found] == [
        (second.id, "it broke"), (first.id, NoFace().message)
    ]
