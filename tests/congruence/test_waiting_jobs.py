"""The end of all jobs of an application that wait."""

from __future__ import annotations

from sqlalchemy import Engine

from pipeline.errors import JobCancelled
from pipeline.jobs import waiting_jobs
from pipeline.jobs.model import JobState
from tests.job_factory import Queue, add_tenant


def test_only_waiting_jobs_of_the_application_end(queue: Queue, engine: Engine) -> None:
    taken = queue.add()
    claim = queue.take(taken)
    old, new = queue.add(), queue.add()
    queue.add(operation="bulk", stage="bulk")
    other = add_tenant(engine, "another")
    queue.tenant, mine = other, queue.tenant
    queue.add()
    queue.tenant = mine
    assert queue.waiting.count(mine, 10) == 2
    assert queue.waiting.count(mine, 1) == 1
    assert queue.waiting.cancel(mine, 1, "Ann") == [old.id]
    assert queue.waiting.cancel(mine, 10, "Ann") == [new.id]
    assert queue.waiting.cancel(mine, 10, "Ann") == []
    row = queue.see(old)
    assert (row.state, row.error_code) == (JobState.CANCELLED, JobCancelled.code)
    assert row.finished_at == queue.clock()
    assert row.history is not None
    assert row.history[-1]["by"] == "Ann"
    assert queue.finish(claim, {}, [], None)
    assert queue.waiting.count(other, 10) == 1


def test_a_call_ends_a_part(queue: Queue) -> None:
    made = [queue.add().id for _ in range(waiting_jobs.CHUNK + 1)]
    assert queue.waiting.cancel(queue.tenant, 10_000, "") == made[:-1]
    assert queue.waiting.cancel(queue.tenant, 10_000, "") == made[-1:]
