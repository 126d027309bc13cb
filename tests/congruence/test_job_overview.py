"""What waits, runs and ends, counted alike on both databases."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from pipeline.errors import MediaUnavailable, NoFace
from pipeline.jobs.model import JobState
from pipeline.jobs.overview import EndedJobs, JobOverview, StageQueue
from tests.job_factory import Queue


@pytest.fixture
def overview(engine: Engine, queue: Queue) -> JobOverview:
    return JobOverview(engine, queue.clock)


def test_nothing_waits_in_an_empty_database(overview: JobOverview) -> None:
    assert overview.queues() == []
    assert overview.ended(60.0) == []


def test_jobs_are_counted_by_stage_with_the_age_of_the_oldest_that_waits(
    queue: Queue, overview: JobOverview
) -> None:
    running = queue.add()
    queue.clock.forward(40.0)
    queue.add()
    queue.add()
    queue.clock.forward(5.0)
    queue.add(stage="embed")
    queue.take(running)
    queue.clock.forward(2.0)

    assert overview.queues() == [
        StageQueue("decode", waiting=2, running=1, oldest_s=7.0),
        StageQueue("embed", waiting=1, oldest_s=2.0),
    ]


def test_a_stage_whose_jobs_all_run_has_no_age(queue: Queue, overview: JobOverview) -> None:
    queue.take(queue.add())

    assert overview.queues() == [StageQueue("decode", running=1)]


def test_a_job_in_a_pause_waits_until_the_pause_is_over(
    queue: Queue, overview: JobOverview
) -> None:
    claim = queue.take(queue.add())
    queue.retry_later(claim, MediaUnavailable(), stage="decode", pause_s=10.0, retry_for_s=900.0)

    assert overview.queues() == [StageQueue("decode", waiting=1, paused=1)]
    assert overview.paused_for() == {"media_unavailable": 1}
    queue.clock.forward(11.0)
    assert overview.queues() == [StageQueue("decode", waiting=1, oldest_s=11.0)]
    assert overview.paused_for() == {}


def test_ended_jobs_are_counted_by_operation_and_way_within_a_time(
    queue: Queue, overview: JobOverview
) -> None:
    queue.finish(queue.take(queue.add()), {}, [], None)
    queue.clock.forward(100.0)
    for _ in range(2):
        claim = queue.take(queue.add())
        queue.clock.forward(3.0)
        queue.finish(claim, {}, [], None)
    queue.fail(queue.take(queue.add(operation="embed")), NoFace(), [])

    assert overview.ended(60.0) == [
        EndedJobs("locate", "done", None, 2, 3.0),
        EndedJobs("embed", "failed", "no_face", 1, 0.0),
    ]


def test_the_oldest_jobs_are_those_that_have_not_ended_or_are_in_a_state(queue: Queue) -> None:
    first, running, last = queue.add(), queue.add(), queue.add()
    queue.take(running)
    queue.finish(queue.take(queue.add()), {}, [], None)

    found = [job.id for job in queue.read.oldest()]
    assert found == [first.id, running.id, last.id]
    assert [job.id for job in queue.read.oldest(state=JobState.RUNNING)] == [running.id]
    assert queue.read.oldest(tenant_id=queue.tenant + 1) == []
    assert [job.id for job in queue.read.oldest(limit=1)] == [first.id]
