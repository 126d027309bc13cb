"""What a job's row and its timeline say of what happened between its stages."""

from __future__ import annotations

from dataclasses import replace

from pipeline.errors import DatabaseUnavailable, FaceError, MediaUnavailable, NoFace
from pipeline.jobs.model import Job
from pipeline.jobs.timeline import MOST_EVENTS, JobEvent, TimelineStep, note, timeline
from pipeline.types import JsonObject
from tests.job_factory import ATTEMPTS, LEASE_S, START, Queue
from tests.unit.shim.rows import ROW

STAGE, PAUSED, LOST = JobEvent.STAGE, JobEvent.PAUSED, JobEvent.LOST


def step(queue: Queue, worker: str, ms: float = 500.0) -> list[JsonObject]:
    return [{"stage": "decode", "worker": worker, "ms": ms, "at": queue.clock()}]


def wait(queue: Queue, job: Job, error: FaceError, pause_s: float = 4.0) -> None:
    claim = queue.take(job, "worker-1")
    assert queue.retry_later(
        claim, error, stage=job.stage, pause_s=pause_s, retry_for_s=600.0
    )


def seen(queue: Queue, job: Job) -> list[TimelineStep]:
    return timeline(queue.see(job), queue.clock())


def events(queue: Queue, job: Job) -> list[JobEvent]:
    return [each.event for each in seen(queue, job)]


def test_nothing_happened(queue: Queue) -> None:
    job = queue.add()
    assert seen(queue, job) == []
    claim = queue.take(job)
    assert queue.finish(claim, {}, step(queue, "worker-1"), None)
    assert queue.see(job).history is None
    assert events(queue, job) == [STAGE]


def test_a_pause_lasts_until_the_job_goes_on(queue: Queue) -> None:
    job = queue.add()
    queue.clock.forward(1.0)
    wait(queue, job, MediaUnavailable())
    (paused,) = seen(queue, job)
    assert (paused.event, paused.code, paused.worker) == (PAUSED, "media_unavailable", "worker-1")
    assert (paused.start_ms, paused.took_ms) == (1000.0, 0.0)
    queue.clock.forward(3.0)
    assert seen(queue, job)[0].took_ms == 3000.0
    queue.clock.forward(2.0)
    claim = queue.take(job, "worker-2")
    assert queue.finish(claim, {}, step(queue, "worker-2"), None)
    paused, stage = seen(queue, job)
    assert paused.took_ms == 5000.0
    assert (stage.event, stage.start_ms, stage.waited_ms) == (STAGE, 6000.0, 0.0)


def test_equal_pauses_in_a_row_are_one(queue: Queue) -> None:
    job = queue.add()
    for _ in range(3):
        wait(queue, job, MediaUnavailable())
        queue.clock.forward(10.0)
    wait(queue, job, DatabaseUnavailable())
    queue.clock.forward(10.0)
    first, second = seen(queue, job)
    assert (first.code, first.times, first.start_ms, first.took_ms) == (
        "media_unavailable", 3, 0.0, 30_000.0
    )
    assert (second.code, second.times) == ("database_unavailable", 1)


def test_pauses_around_a_stage_are_two(queue: Queue) -> None:
    job = queue.add()
    wait(queue, job, MediaUnavailable())
    queue.clock.forward(5.0)
    claim = queue.take(job)
    assert queue.hand_over(claim, job.stage, step(queue, "worker-1"))
    queue.clock.forward(5.0)
    wait(queue, job, MediaUnavailable())
    assert events(queue, job) == [PAUSED, STAGE, PAUSED]


def test_a_worker_whose_lease_ran_out(queue: Queue) -> None:
    job = queue.add()
    queue.take(job, "worker-1")
    queue.clock.forward(LEASE_S + 1)
    assert len(queue.upkeep.release_dead(ATTEMPTS)[0]) == 1
    queue.clock.forward(2.0)
    claim = queue.take(job, "worker-2")
    assert queue.finish(claim, {}, step(queue, "worker-2"), None)
    lost, stage = seen(queue, job)
    assert (lost.event, lost.worker) == (LOST, "worker-1")
    assert lost.took_ms == 2000.0
    assert stage.worker == "worker-2"


def test_a_worker_that_died_with_others_jobs(queue: Queue) -> None:
    culprit, other = queue.add(), queue.add()
    for job in (culprit, other):
        queue.take(job, "worker-1")
    queue.upkeep.release_dead(ATTEMPTS, worker="worker-1", culprit=culprit.id)
    assert events(queue, culprit) == events(queue, other) == [LOST]
    assert (queue.see(culprit).attempts, queue.see(other).attempts) == (1, 0)
    # Neither is told to have lost another one when it is claimed again.
    for job in (culprit, other):
        queue.take(job, "worker-2")
        assert events(queue, job) == [LOST]


def test_a_worker_that_was_lost_unseen(queue: Queue) -> None:
    job = queue.add()
    queue.take(job, "worker-1")
    queue.clock.forward(LEASE_S + 1)
    queue.take(job, "worker-2")
    assert events(queue, job) == [LOST]
    queue.clock.forward(LEASE_S + 1)
    assert len(queue.upkeep.release_dead(ATTEMPTS)[0]) == 1
    queue.take(job, "worker-3")
    assert [each.worker for each in seen(queue, job)] == ["", "worker-2"]


def test_a_job_that_ends_by_its_dead_workers(queue: Queue) -> None:
    job = queue.add()
    for number in range(ATTEMPTS):
        queue.take(job, f"worker-{number}")
        queue.upkeep.release_dead(ATTEMPTS, worker=f"worker-{number}")
    assert queue.see(job).error_code == "job_crashed"
    assert [each.worker for each in seen(queue, job)] == [f"worker-{n}" for n in range(ATTEMPTS)]


def test_jobs_that_were_given_back(queue: Queue) -> None:
    job = queue.add()
    claim = queue.take(job, "worker-1")
    assert queue.together.release([claim]) == [True]
    claim = queue.take(job, "worker-2")
    assert queue.together.release([claim], charged=True) == [True]
    queue.take(job, "worker-3")
    assert [(each.event, each.worker) for each in seen(queue, job)] == [
        (JobEvent.RETURNED, "worker-1"), (JobEvent.RETURNED, "worker-2")
    ]


def test_what_operators_did(queue: Queue) -> None:
    job = queue.add(by="Ann")
    claim = queue.take(job)
    assert queue.fail(claim, NoFace(), step(queue, "worker-1"))
    assert queue.retry(job.id, job.stage, "Bob").history == queue.see(job).history
    queue.cancel(queue.tenant, job.id, "Cleo")
    queue.retry(job.id, job.stage)
    queue.cancel(queue.tenant, job.id)
    assert [(each.event, each.by, each.code) for each in seen(queue, job)] == [
        (JobEvent.ACCEPTED, "Ann", ""), (STAGE, "", ""), (JobEvent.RETRIED, "Bob", "no_face"),
        (JobEvent.CANCELLED, "Cleo", ""), (JobEvent.RETRIED, "", "job_cancelled"),
        (JobEvent.CANCELLED, "", ""),
    ]


def test_a_retry_counts_losses_anew(queue: Queue) -> None:
    job = queue.add()
    queue.take(job, "worker-1")
    queue.upkeep.release_dead(ATTEMPTS, worker="worker-1")
    queue.cancel(queue.tenant, job.id)
    queue.retry(job.id, job.stage)
    queue.take(job, "worker-2")
    queue.clock.forward(LEASE_S + 1)
    queue.take(job, "worker-3")
    assert events(queue, job).count(LOST) == 2


def test_the_last_events_are_kept() -> None:
    history: list[JsonObject] = []
    for number in range(MOST_EVENTS + 5):
        job = replace(ROW, history=history)
        history = note(job, JobEvent.RETURNED, START + number, worker=f"worker-{number}")
    assert len(history) == MOST_EVENTS
    assert history[-1]["worker"] == f"worker-{MOST_EVENTS + 4}"
