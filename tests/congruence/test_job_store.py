"""Every transition of a job, on SQLite and on PostgreSQL."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import Connection, Engine, insert, select

from pipeline.database.engine import reading
from pipeline.database.schema import tenants
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    IntermediateLost,
    InvalidParameter,
    JobNotFound,
    MediaUnavailable,
    NoFace,
    Overloaded,
    ReplayedRequest,
    TenantNotFound,
)
from pipeline.jobs.backlog import FRESH_S
from pipeline.jobs.model import Job, JobState, SignedRequest
from tests.job_factory import ATTEMPTS, LEASE_S, START, Clock, Queue, add_tenant, new_job

ANSWERED = SignedRequest("a" * 64, START + 600)
REFUSED = SignedRequest("a" * 64, START + 600, answered=False)

TRACE = [{"stage": "decode", "worker": "worker-1", "ms": 1.5, "at": START}]

# Submitting -------------------------------------------------------------------


def test_a_submitted_job_reads_as_it_was_returned(queue: Queue) -> None:
    job = queue.add(request_id="r-1")
    assert job.state is JobState.QUEUED
    assert (job.attempts, job.messages, job.fence, job.trace) == (0, 0, 0, [])
    assert job.created_at == job.published_at == START
    assert queue.see(job) == job
    assert queue.read.get(queue.tenant, job.id) == job


def test_jobs_are_numbered_in_order(queue: Queue) -> None:
    numbers = [queue.add().seq for _ in range(5)]
    assert numbers == sorted(set(numbers))


def test_the_same_idempotency_key_gives_the_same_job(queue: Queue) -> None:
    new = new_job(queue.tenant, idempotency_key="key", once=REFUSED)
    first, made = queue.submit(new)
    again, made_again = queue.submit(new)
    assert (made, made_again) == (True, False)
    assert again == first
    assert queue.read.counts() == {"queued": 1}


def test_a_repetition_with_a_signature_of_its_own_gives_the_same_job(queue: Queue) -> None:
    first = queue.add(idempotency_key="key", once=REFUSED)
    again, made = queue.submit(
        new_job(queue.tenant, idempotency_key="key", once=SignedRequest("b" * 64, START + 600))
    )
    assert (again.id, made) == (first.id, False)


def test_the_same_key_for_another_request_is_refused(queue: Queue) -> None:
    queue.add(idempotency_key="key")
    with pytest.raises(IdempotencyConflict):
        queue.submit(new_job(queue.tenant, idempotency_key="key", digest="e" * 64))


def test_a_key_belongs_to_its_tenant(queue: Queue, engine: Engine) -> None:
    other = add_tenant(engine, "other")
    mine = queue.add(idempotency_key="key")
    theirs, made = queue.submit(new_job(other, idempotency_key="key", digest="e" * 64))
    assert made
    assert theirs.id != mine.id


def test_a_key_that_is_too_long_is_refused(queue: Queue) -> None:
    queue.add(idempotency_key="k" * 255)
    with pytest.raises(InvalidParameter):
        queue.submit(new_job(queue.tenant, idempotency_key="k" * 256))


@pytest.mark.parametrize("key", [None, "another key"])
def test_a_signed_request_again_gives_its_job(queue: Queue, key: str | None) -> None:
    first = queue.add(once=ANSWERED)
    for end in (lambda: None, lambda: queue.fail(queue.take(first), NoFace(), [])):
        end()
        again, made = queue.submit(new_job(queue.tenant, once=ANSWERED, idempotency_key=key))
        assert (again, made) == (queue.see(first), False)
    # Also where no further job is taken.
    queue.add()
    again, _ = queue.submit(new_job(queue.tenant, once=ANSWERED), max_waiting=1)
    assert again.id == first.id
    assert queue.read.counts() == {"failed": 1, "queued": 1}


@pytest.mark.parametrize("key", [None, "another key"])
def test_a_repeated_signature_can_be_refused(queue: Queue, key: str | None) -> None:
    queue.add(once=REFUSED)
    with pytest.raises(ReplayedRequest):
        queue.submit(new_job(queue.tenant, once=REFUSED, idempotency_key=key))
    assert queue.read.counts() == {"queued": 1}


def test_a_signed_request_serves_one_operation(queue: Queue) -> None:
    queue.add(once=ANSWERED, operation="locate")
    with pytest.raises(ReplayedRequest, match="already sent for locate"):
        queue.submit(new_job(queue.tenant, once=ANSWERED, operation="features"))


def test_a_signed_request_belongs_to_its_tenant(queue: Queue, engine: Engine) -> None:
    queue.add(once=ANSWERED)
    _, made = queue.submit(new_job(add_tenant(engine, "other"), once=ANSWERED))
    assert made


def test_a_signed_request_outlives_its_answer(queue: Queue, clock: Clock) -> None:
    """It is not carried out again when the answer was purged before the window was over."""
    queue.cancel(queue.tenant, queue.add(once=ANSWERED).id)
    clock.forward(30)
    assert queue.upkeep.purge(10) == 1
    with pytest.raises(ReplayedRequest, match="kept no more"):
        queue.submit(new_job(queue.tenant, once=ANSWERED))


def test_an_unknown_tenant_is_refused(queue: Queue) -> None:
    with pytest.raises(TenantNotFound):
        queue.submit(new_job(queue.tenant + 99))


def test_a_value_that_no_database_keeps_is_refused(queue: Queue) -> None:
    with pytest.raises(InvalidParameter):
        queue.submit(new_job(queue.tenant, params={"text": "\ud800"}))
    assert queue.read.counts() == {}


def test_too_much_waiting_work_refuses(queue: Queue, clock: Clock) -> None:
    jobs = [queue.submit(new_job(queue.tenant), max_waiting=3)[0] for _ in range(3)]
    with pytest.raises(Overloaded):
        queue.submit(new_job(queue.tenant), max_waiting=3)
    queue.take(jobs[0])
    clock.forward(FRESH_S)
    queue.submit(new_job(queue.tenant), max_waiting=3)
    with pytest.raises(Overloaded):
        queue.submit(new_job(queue.tenant), max_waiting=3)


def test_work_that_was_done_meanwhile_does_not_refuse(queue: Queue) -> None:
    for _ in range(10):
        job, _ = queue.submit(new_job(queue.tenant), max_waiting=2)
        queue.finish(queue.take(job), {}, [], None)


def test_a_repetition_is_answered_when_too_much_waits(queue: Queue) -> None:
    new = new_job(queue.tenant, idempotency_key="key")
    first, _ = queue.submit(new, max_waiting=1)
    assert queue.submit(new, max_waiting=1) == (first, False)


# Looking ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "x", "\x00", "\ud800", "0" * 33, "A" * 32, "0" * 32])
def test_what_is_no_job_is_not_found(queue: Queue, name: str) -> None:
    assert queue.read.find(name) is None
    with pytest.raises(JobNotFound):
        queue.read.get(queue.tenant, name)
    with pytest.raises(JobNotFound):
        queue.cancel(queue.tenant, name)


def test_another_tenants_job_is_not_found(queue: Queue, engine: Engine) -> None:
    job, other = queue.add(), add_tenant(engine, "other")
    with pytest.raises(JobNotFound):
        queue.read.get(other, job.id)
    with pytest.raises(JobNotFound):
        queue.cancel(other, job.id)
    assert queue.see(job).state is JobState.QUEUED


def test_position_counts_who_waits_before_at_the_same_stage(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(3)]
    queue.add(stage="embed")
    assert [queue.read.position(job) for job in jobs] == [0, 1, 2]
    queue.take(jobs[0])
    assert [queue.read.position(queue.see(job)) for job in jobs] == [0, 0, 1]


def test_recent_and_counts(queue: Queue) -> None:
    first, second, third = (queue.add() for _ in range(3))
    queue.fail(queue.take(second), NoFace(), [])
    assert [job.id for job in queue.read.recent()] == [third.id, second.id, first.id]
    assert [job.id for job in queue.read.recent(state=JobState.FAILED)] == [second.id]
    assert queue.read.recent(tenant_id=queue.tenant + 1) == []
    assert [job.id for job in queue.read.recent(limit=1)] == [third.id]
    assert queue.read.counts() == {"queued": 2, "failed": 1}


# Claiming ---------------------------------------------------------------------


def test_a_claim_makes_the_job_run(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    clock.forward(2)
    claim = queue.take(job)
    assert claim.job == queue.see(job)
    assert claim.job.state is JobState.RUNNING
    assert (claim.job.attempts, claim.job.messages, claim.fence) == (1, 1, 1)
    assert claim.job.lease_until == clock.now + LEASE_S
    assert (claim.job.worker, claim.job.started_at) == ("worker-1", clock.now)


def test_what_is_not_to_be_run_is_not_claimed(queue: Queue) -> None:
    job = queue.add()
    assert queue.claim("0" * 32, "decode", "w", LEASE_S, ATTEMPTS) is None
    assert queue.try_take(job, stage="embed") is None
    queue.take(job)
    assert queue.try_take(job, "worker-2") is None


def test_a_lease_that_ran_out_can_be_claimed(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    lost = queue.take(job)
    clock.forward(LEASE_S)
    assert queue.try_take(job, "worker-2") is None
    clock.forward(0.5)
    claim = queue.take(job, "worker-2")
    assert (claim.job.attempts, claim.fence) == (2, 2)
    assert claim.job.started_at == lost.job.started_at


def test_a_renewed_lease_holds(queue: Queue, clock: Clock) -> None:
    first, second = queue.add(), queue.add()
    claims = [queue.take(first), queue.take(second)]
    clock.forward(LEASE_S - 1)
    queue.renew(claims, LEASE_S)
    queue.renew([], LEASE_S)
    clock.forward(LEASE_S - 1)
    assert queue.upkeep.release_dead(ATTEMPTS) == ([], [])
    clock.forward(2)
    assert len(queue.upkeep.release_dead(ATTEMPTS)[0]) == 2


def test_a_lost_claim_changes_nothing(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    lost = queue.take(job)
    clock.forward(LEASE_S + 1)
    queue.take(job, "worker-2")
    held = queue.see(job)
    assert not queue.finish(lost, {"wrong": True}, TRACE, None)
    assert not queue.fail(lost, NoFace(), TRACE)
    assert not queue.hand_over(lost, "embed", TRACE)
    assert not queue.retry_later(
        lost, MediaUnavailable(), stage="decode", pause_s=1, retry_for_s=900
    )
    queue.renew([lost], LEASE_S * 9)
    assert queue.see(job) == held


# Ending -----------------------------------------------------------------------


def test_finish_keeps_result_and_trace(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    claim = queue.take(job)
    clock.forward(1)
    result = {"embedding": [0.1, -2.5e-7, 3.0], "name": "张三"}
    assert queue.finish(claim, result, TRACE, None)
    done = queue.see(job)
    assert done.ended
    assert (done.state, done.result, done.trace) == (JobState.DONE, result, TRACE)
    assert (done.finished_at, done.lease_until, done.error, done.error_code) == (
        clock.now, None, None, None
    )
    assert not queue.finish(claim, {}, [], None)
    assert queue.try_take(job) is None


def test_fail_keeps_the_error(queue: Queue) -> None:
    job = queue.add()
    assert queue.fail(queue.take(job), NoFace("none", picture=1), TRACE)
    failed = queue.see(job)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "no_face")
    assert failed.error == {"code": "no_face", "message": "none", "picture": 1}
    assert failed.result is None


def _enrol(connection: Connection) -> None:
    connection.execute(
        insert(tenants).values(name="effect", settings={}, disabled=False, created_at=0.0)
    )


def _effects(engine: Engine) -> int:
    with reading(engine) as connection:
        return len(connection.execute(select(tenants.c.id).filter_by(name="effect")).all())


def test_the_effect_is_made_with_the_result_or_not_at_all(
    queue: Queue, engine: Engine, clock: Clock
) -> None:
    job = queue.add()
    lost = queue.take(job)
    clock.forward(LEASE_S + 1)
    claim = queue.take(job, "worker-2")
    assert not queue.finish(lost, {}, [], _enrol)
    assert _effects(engine) == 0
    assert queue.finish(claim, {}, [], _enrol)
    assert _effects(engine) == 1


def test_an_effect_can_tell_the_result(queue: Queue) -> None:
    job = queue.add()
    claim = queue.take(job)
    assert queue.finish(claim, {"early": 1}, [], lambda connection: {"late": 2})
    assert queue.see(job).result == {"late": 2}


def test_an_effect_that_fails_leaves_the_job_running(queue: Queue, engine: Engine) -> None:
    job = queue.add()
    claim = queue.take(job)

    def broken(connection: Connection) -> None:
        _enrol(connection)
        raise MediaUnavailable

    with pytest.raises(MediaUnavailable):
        queue.finish(claim, {}, [], broken)
    assert _effects(engine) == 0
    assert queue.see(job) == claim.job


def test_cancel_ends_a_job_that_waits_or_runs(queue: Queue) -> None:
    waiting, running = queue.add(), queue.add()
    claim = queue.take(running)
    for job in (waiting, running):
        cancelled, ended = queue.cancel(queue.tenant, job.id)
        assert ended
        assert (cancelled.state, cancelled.error_code) == (JobState.CANCELLED, "job_cancelled")
        assert queue.try_take(job) is None
        again, ended_again = queue.cancel(queue.tenant, job.id)
        assert (again, ended_again) == (cancelled, False)
    assert not queue.finish(claim, {}, [], None)
    assert queue.see(running).result is None


def test_cancel_after_the_end_changes_nothing(queue: Queue) -> None:
    job = queue.add()
    queue.finish(queue.take(job), {"n": 1}, [], None)
    seen, ended = queue.cancel(queue.tenant, job.id)
    assert not ended
    assert (seen.state, seen.result) == (JobState.DONE, {"n": 1})


# Moving on --------------------------------------------------------------------


def test_hand_over_counts_the_attempt_back(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    claim = queue.take(job)
    clock.forward(3)
    assert queue.hand_over(claim, "detect", TRACE)
    handed = queue.see(job)
    assert (handed.state, handed.stage, handed.attempts) == (JobState.QUEUED, "detect", 0)
    assert (handed.messages, handed.worker, handed.published_at) == (1, None, clock.now)
    second = queue.take(handed, "worker-2")
    assert second.job.trace == TRACE
    assert queue.finish(second, {}, TRACE, None)
    done = queue.see(job)
    assert (done.trace, done.messages, done.attempts) == (TRACE * 2, 2, 1)


def test_give_back_pauses(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    assert queue.retry_later(
        queue.take(job), MediaUnavailable("away"), stage="decode", pause_s=5, retry_for_s=900
    )
    paused = queue.see(job)
    assert (paused.state, paused.attempts) == (JobState.QUEUED, 0)
    assert paused.error is not None
    assert paused.error["message"] == "away"
    assert queue.try_take(job) is None
    assert queue.upkeep.ended_pauses("decode", 10) == []
    clock.forward(5)
    assert [due.id for due in queue.upkeep.ended_pauses("decode", 10)] == [job.id]
    assert queue.upkeep.ended_pauses("embed", 10) == []
    queue.upkeep.mark_published([job.id])
    assert queue.upkeep.ended_pauses("decode", 10) == []
    assert queue.finish(queue.take(job), {}, [], None)
    assert queue.see(job).error is None


def test_give_back_starts_over_at_another_stage(queue: Queue) -> None:
    job = queue.add()
    queue.hand_over(queue.take(job), "embed", TRACE)
    claim = queue.take(queue.see(job))
    assert queue.retry_later(claim, IntermediateLost(), stage="decode", pause_s=0, retry_for_s=9)
    assert queue.take(job).job.stage == "decode"


@pytest.mark.parametrize(
    ("error", "code"),
    [(MediaUnavailable(), "media_unavailable"), (IntermediateLost(), "job_timed_out")],
)
def test_give_back_ends_when_it_took_too_long(
    queue: Queue, clock: Clock, error: MediaUnavailable | IntermediateLost, code: str
) -> None:
    job = queue.add()
    clock.forward(5000)  # waiting for a worker does not count
    assert queue.retry_later(queue.take(job), error, stage="decode", pause_s=1, retry_for_s=60)
    clock.forward(59)
    assert queue.retry_later(queue.take(job), error, stage="decode", pause_s=1, retry_for_s=60)
    assert queue.see(job).state is JobState.QUEUED
    clock.forward(1)
    assert queue.retry_later(queue.take(job), error, stage="decode", pause_s=1, retry_for_s=60)
    failed = queue.see(job)
    assert (failed.state, failed.error_code) == (JobState.FAILED, code)


def retry(queue: Queue, job: Job, error: FaceError, retry_for_s: float = 60) -> JobState:
    queue.retry_later(queue.take(job), error, stage="decode", pause_s=0, retry_for_s=retry_for_s)
    return queue.see(job).state


def test_a_retry_counts_from_the_first_failure_since_the_job_got_on(
    queue: Queue, clock: Clock
) -> None:
    """Not from its start: it may have waited between two stages ever since."""
    job = queue.add()
    assert retry(queue, job, MediaUnavailable()) is JobState.QUEUED
    queue.hand_over(queue.take(job), "decode", TRACE)
    assert queue.see(job).error is None
    clock.forward(5000)
    assert retry(queue, job, MediaUnavailable()) is JobState.QUEUED
    clock.forward(61)
    assert retry(queue, job, MediaUnavailable()) is JobState.FAILED


def test_a_job_that_loses_what_it_had_again_and_again_comes_to_an_end(
    queue: Queue, clock: Clock
) -> None:
    job = queue.add()
    assert retry(queue, job, IntermediateLost()) is JobState.QUEUED
    queue.hand_over(queue.take(job), "decode", TRACE)
    clock.forward(61)
    assert retry(queue, job, IntermediateLost()) is JobState.FAILED


def test_others_turn_is_no_failure(queue: Queue, clock: Clock) -> None:
    job = queue.add()
    assert retry(queue, job, Overloaded(), math.inf) is JobState.QUEUED
    clock.forward(5000)
    assert retry(queue, job, Overloaded(), math.inf) is JobState.QUEUED
    assert retry(queue, job, MediaUnavailable()) is JobState.QUEUED


def test_who_has_his_share_lets_others_go_first(engine: Engine, queue: Queue) -> None:
    """Only older jobs count, so that some of a tenant's jobs always run."""
    jobs = [queue.add(stage="fetch") for _ in range(4)]
    held = [queue.take(job).job for job in jobs[:3]]
    assert not queue.read.exceeds_share(held[2], 2)  # no other tenant waits
    other = add_tenant(engine, "other")
    waiting, _ = queue.submit(new_job(other, stage="fetch"))
    assert [queue.read.exceeds_share(job, 2) for job in held] == [False, False, True]
    assert not queue.read.exceeds_share(held[2], 3)
    assert queue.read.exceeds_share(queue.take(jobs[3]).job, 3)
    assert not queue.read.exceeds_share(queue.take(waiting).job, 1)
    assert not queue.read.exceeds_share(held[2], 2)  # no other tenant waits any more
