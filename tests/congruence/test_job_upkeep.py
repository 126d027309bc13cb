"""Changes to jobs by the reconciler and the operator, on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select

from pipeline.database.engine import reading
from pipeline.database.schema import signed_requests
from pipeline.errors import JobNotFound, MediaUnavailable, NoFace
from pipeline.jobs.model import Claim, Job, JobState, SignedRequest
from tests.job_factory import ATTEMPTS, LEASE_S, START, Clock, Queue, new_job


def _die(queue: Queue, clock: Clock, job: Job) -> Claim:
    """A worker claims and is never heard of again."""
    claim = queue.take(job)
    clock.forward(LEASE_S + 1)
    return claim


def test_a_dead_workers_job_is_put_back(queue: Queue, clock: Clock) -> None:
    job, healthy = queue.add(), queue.add()
    lost = _die(queue, clock, job)
    alive = queue.take(healthy)
    back, ended = queue.upkeep.release_dead(ATTEMPTS)
    assert [item.id for item in back] == [job.id]
    assert ended == []
    released = queue.see(job)
    assert back == [released]
    assert (released.state, released.attempts, released.worker) == (JobState.QUEUED, 1, None)
    assert released.published_at == 0.0
    assert not queue.finish(lost, {}, [], None)
    assert queue.see(healthy) == alive.job


def test_a_job_that_kills_its_workers_ends(queue: Queue, clock: Clock) -> None:
    job, neighbour = queue.add(), queue.add()
    for attempt in range(1, ATTEMPTS):
        _die(queue, clock, job)
        assert len(queue.upkeep.release_dead(ATTEMPTS)[0]) == 1
        assert queue.see(job).attempts == attempt
    _die(queue, clock, job)
    assert queue.try_take(job) is None
    back, ended = queue.upkeep.release_dead(ATTEMPTS)
    assert (back, [item.id for item in ended]) == ([], [job.id])
    crashed = queue.see(job)
    assert (crashed.state, crashed.error_code) == (JobState.FAILED, "job_crashed")
    assert (crashed.attempts, crashed.finished_at) == (ATTEMPTS, clock.now)
    assert queue.try_take(job) is None
    assert queue.see(neighbour).state is JobState.QUEUED


def test_a_job_that_was_put_back_is_run_though_fewer_attempts_are_allowed_by_now(
    queue: Queue, clock: Clock
) -> None:
    job = queue.add()
    for _ in range(2):
        _die(queue, clock, job)
        queue.upkeep.release_dead(most := 3)
    assert queue.see(job).attempts == 2
    most = 1
    claim = queue.take(job, most=most)
    clock.forward(LEASE_S + 1)
    assert queue.try_take(job, most=most) is None
    assert [ended.id for ended in queue.upkeep.release_dead(most)[1]] == [claim.id]
    assert queue.see(job).error_code == "job_crashed"


def test_clean_steps_do_not_count_as_attempts(queue: Queue) -> None:
    job = queue.add()
    for _ in range(ATTEMPTS * 2):
        queue.hand_over(queue.take(queue.see(job)), "decode", [])
        claim = queue.take(queue.see(job))
        queue.retry_later(claim, MediaUnavailable(), stage="decode", pause_s=0, retry_for_s=900)
    assert queue.take(job).job.attempts == 1
    assert queue.see(job).messages == ATTEMPTS * 4 + 1


def test_a_worker_known_to_be_dead_is_released_at_once(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(3)]
    for job, worker in zip(jobs, ("dead", "alive", "dead"), strict=True):
        queue.take(job, worker)
    back, ended = queue.upkeep.release_dead(ATTEMPTS, worker="dead")
    assert [job.id for job in back] == [jobs[0].id, jobs[2].id]
    assert ended == []
    assert queue.see(jobs[1]).state is JobState.RUNNING
    assert queue.upkeep.release_dead(ATTEMPTS, worker="dead") == ([], [])


def test_release_stops_at_its_limit(queue: Queue) -> None:
    for _ in range(5):
        queue.take(queue.add(), "dead")
    released = [queue.upkeep.release_dead(ATTEMPTS, worker="dead", limit=2) for _ in range(4)]
    assert [len(back) for back, _ in released] == [2, 2, 1, 0]


def test_unheard_are_the_oldest_whose_message_is_old(queue: Queue, clock: Clock) -> None:
    old = [queue.add() for _ in range(3)]
    clock.forward(10)
    queue.add()
    queue.add(stage="embed")
    oldest = queue.upkeep.stale_messages("decode", 10, 2)
    assert [job.id for job in oldest] == [old[0].id, old[1].id]
    queue.upkeep.mark_published([old[0].id])
    queue.upkeep.mark_published([])
    queue.take(old[1])
    assert [job.id for job in queue.upkeep.stale_messages("decode", 10, 9)] == [old[2].id]
    assert queue.upkeep.count_waiting("decode") == 3
    assert queue.upkeep.count_waiting("embed") == 1


def test_a_paused_job_is_not_unheard(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    claim = queue.take(job)
    queue.retry_later(claim, MediaUnavailable(), stage="decode", pause_s=60, retry_for_s=900)
    clock.forward(30)
    assert queue.upkeep.stale_messages("decode", 5, 9) == []
    assert queue.upkeep.count_waiting("decode") == 1
    clock.forward(30)
    assert [found.id for found in queue.upkeep.stale_messages("decode", 5, 9)] == [job.id]


def test_marking_does_not_touch_what_was_claimed_meanwhile(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    claim = queue.take(job)
    clock.forward(1)
    queue.upkeep.mark_published([job.id])
    assert queue.see(job) == claim.job


def test_oldest_unfinished(queue: Queue, clock: Clock) -> None:
    assert queue.upkeep.oldest_unfinished() is None
    first = queue.add()
    clock.forward(10)
    second = queue.add()
    assert queue.upkeep.oldest_unfinished() == START
    claim = queue.take(first)
    assert queue.upkeep.oldest_unfinished() == START
    queue.finish(claim, {}, [], None)
    assert queue.upkeep.oldest_unfinished() == START + 10
    queue.cancel(queue.tenant, second.id)
    assert queue.upkeep.oldest_unfinished() is None


def test_purge_removes_what_ended_long_ago(queue: Queue, clock: Clock) -> None:
    for _ in range(3):
        queue.finish(queue.take(queue.add()), {}, [], None)
    clock.forward(100)
    recent, waiting = queue.add(), queue.add()
    queue.fail(queue.take(recent), NoFace(), [])
    assert [queue.upkeep.purge(50, limit=2) for _ in range(3)] == [2, 1, 0]
    assert {job.id for job in queue.read.recent()} == {recent.id, waiting.id}


def test_a_number_is_never_given_twice(queue: Queue) -> None:
    first = queue.add()
    queue.finish(queue.take(first), {}, [], None)
    queue.clock.forward(1)
    assert queue.upkeep.purge(0) == 1
    assert queue.add().seq > first.seq


def test_purge_forgets_signatures_that_are_too_old_anyway(
    queue: Queue, engine: Engine, clock: Clock
) -> None:
    queue.add(once=SignedRequest("a" * 64, START + 10))
    queue.add(once=SignedRequest("b" * 64, START + 600))
    clock.forward(11)
    queue.upkeep.purge(3600)
    with reading(engine) as connection:
        kept = connection.execute(select(func.min(signed_requests.c.digest))).scalar_one()
    assert kept == "b" * 64


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_retry_starts_afresh(queue: Queue, clock: Clock, end: str) -> None:
    job = queue.add()
    claim = queue.take(job)
    if end == "fail":
        queue.fail(claim, NoFace(), [])
    else:
        queue.cancel(queue.tenant, job.id)
    clock.forward(60)
    again = queue.retry(job.id, "decode")
    assert again == queue.see(job)
    assert (again.state, again.attempts, again.error, again.error_code) == (
        JobState.QUEUED, 0, None, None
    )
    assert (again.started_at, again.finished_at, again.worker) == (None, None, None)
    assert not queue.finish(claim, {"from": "before"}, [], None)
    assert queue.finish(queue.take(again), {"n": 1}, [], None)


def test_only_what_failed_is_retried(queue: Queue) -> None:
    waiting, running, done = queue.add(), queue.add(), queue.add()
    queue.take(running)
    queue.finish(queue.take(done), {}, [], None)
    for job_id in (waiting.id, running.id, done.id, "0" * 32):
        with pytest.raises(JobNotFound):
            queue.retry(job_id, "decode")


def test_a_cancelled_job_keeps_no_old_error(queue: Queue) -> None:
    job = queue.add()
    claim = queue.take(job)
    queue.retry_later(claim, MediaUnavailable(), stage="decode", pause_s=9, retry_for_s=900)
    cancelled, _ = queue.cancel(queue.tenant, job.id)
    assert cancelled.error is not None
    assert cancelled.error["code"] == cancelled.error_code == "job_cancelled"


def test_a_resubmitted_job_after_purge_is_new(queue: Queue, clock: Clock) -> None:
    first = queue.add(idempotency_key="key")
    queue.finish(queue.take(first), {}, [], None)
    clock.forward(10)
    queue.upkeep.purge(5)
    second, made = queue.submit(new_job(queue.tenant, idempotency_key="key"))
    assert made
    assert second.id != first.id


def test_a_far_position_is_never_too_low(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.jobs.reader.EXACT_POSITION", 3)
    jobs = [queue.add() for _ in range(6)]
    assert [queue.read.position(job) for job in jobs] == [0, 1, 2, 3, 4, 5]
    queue.take(jobs[3])
    assert queue.read.position(jobs[2]) == 2
    assert queue.read.position(jobs[5]) >= 4
