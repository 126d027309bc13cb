"""A worker's loop on a real database and a real Redis; the stages are scripted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Engine

from pipeline.errors import (
    DatabaseUnavailable,
    FaceExists,
    MediaCorrupt,
    MediaUnavailable,
    NoFace,
    WrongMasterKey,
)
from pipeline.jobs.model import Job, JobState
from pipeline.operations import PLANS, Stage
from pipeline.storage_keys import DONE_CHANNEL
from tests.integration.conftest import Script, message_of, raising
from tests.job_factory import Queue, new_job
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S
from workers import run_job as run_job_module
from workers.connection import open_redis
from workers.leases import Leases
from workers.messages import StageMessage
from workers.run_job import LONGEST_PAUSE_S, SHORTEST_PAUSE_S
from workers.run_together import run_jobs
from workers.runtime import Runtime

STAGES = PLANS["verify"].stages


def add(queue: Queue, operation: str = "verify", media: tuple[str, ...] = ()) -> Job:
    job, _ = queue.submit(new_job(queue.tenant, operation=operation, media=media))
    return job


def test_all_stages_in_one_go(queue: Queue, runtime: Runtime, script: Script) -> None:
    job = add(queue)
    run_jobs(message_of(job), runtime)
    done = queue.see(job)
    assert (done.state, done.messages, done.attempts) == (JobState.DONE, 1, 1)
    assert done.result == {"sizes": [[0, 1], [1, 1], [2, 1]]}
    assert [step["stage"] for step in done.trace] == ["decode", "detect", "embed"]
    assert {step["worker"] for step in done.trace} == {runtime.name}
    assert all(step["ms"] >= 0 for step in done.trace)
    assert abs(done.trace[0]["at"] - time.time()) < 60


def test_a_second_message_does_nothing(queue: Queue, runtime: Runtime, script: Script) -> None:
    job = add(queue)
    run_jobs(message_of(job), runtime)
    before = queue.see(job)
    run_jobs(message_of(job), runtime)
    run_jobs(StageMessage(1, job.id, "embed"), runtime)
    run_jobs(StageMessage(1, "0" * 32, "decode"), runtime)
    assert queue.see(job) == before
    assert len(script.ran) == 3


def test_borders(queue: Queue, runtime: Runtime, script: Script) -> None:
    """Three workers, a stage each: three messages, the context goes on in Redis."""
    job = add(queue)
    for number, stage in enumerate(STAGES, 1):
        here = replace(runtime, served=frozenset({stage}), name=f"worker-{stage}")
        run_jobs(message_of(queue.see(job)), here)
        assert queue.see(job).messages == number
        waiting = [other for other in Stage if runtime.dispatcher.depth(other)]
        assert waiting == list(STAGES[1 : number + 1])
    done = queue.see(job)
    assert (done.state, done.attempts) == (JobState.DONE, 1)
    assert done.result == {"sizes": [[0, 1], [1, 1], [2, 1]]}
    assert [step["worker"] for step in done.trace] == [f"worker-{stage}" for stage in STAGES]
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        assert client.keys("faceline:intermediate:*") == []


def test_an_end_wakes_whoever_waits(queue: Queue, runtime: Runtime, script: Script) -> None:
    good, bad = add(queue), add(queue)
    with (
        open_redis(runtime.settings.broker_url, 5.0) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        channel.subscribe(DONE_CHANNEL)
        channel.get_message(timeout=1)
        run_jobs(message_of(good), runtime)
        script.acts[Stage.DETECT] = raising(NoFace(picture=0))
        run_jobs(message_of(bad), runtime)
        messages = [channel.get_message(timeout=5) for _ in range(2)]
    assert [message["data"].decode() for message in messages if message] == [good.id, bad.id]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoFace(picture=1), "no_face"),
        (SoftTimeLimitExceeded(), "job_timed_out"),
        (ZeroDivisionError("a bug"), "internal"),
        (MemoryError(), "internal"),
    ],
)
def test_errors_that_end_a_job(
    queue: Queue, runtime: Runtime, script: Script, error: Exception, code: str
) -> None:
    job = add(queue)
    script.acts[Stage.DETECT] = raising(error)
    run_jobs(message_of(job), runtime)
    failed = queue.see(job)
    assert (failed.state, failed.error_code, failed.result) == (JobState.FAILED, code, None)
    assert failed.error is not None
    assert "a bug" not in failed.error["message"]
    assert failed.error["picture"] == getattr(error, "picture", None)
    assert [step["stage"] for step in failed.trace] == ["decode"]


@pytest.mark.parametrize(
    ("act", "kept"),
    [
        (None, False),
        (raising(NoFace(picture=1)), False),
        (raising(FaceExists()), False),
        (raising(ZeroDivisionError("a bug")), True),  # an operator may try it again
        (raising(MediaUnavailable()), True),
    ],
    ids=["done", "bad input", "a conflict", "a fault of ours", "not ended"],
)
def test_uploads_go_with_their_job(
    queue: Queue, runtime: Runtime, script: Script,
    act: Callable[[Job], None] | None, kept: bool,
) -> None:
    uploads = tuple(f"t1/transient/2026010100/{name}/{'0' * 64}" for name in ("a", "b"))
    for key in uploads:
        runtime.resources.media.put(key, b"picture")
    if act is not None:
        script.acts[Stage.DETECT] = act
    run_jobs(message_of(add(queue, media=uploads)), runtime)
    assert [runtime.resources.media.exists(key) for key in uploads] == [kept, kept]


def test_an_older_worker_gives_back_what_it_does_not_know(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the upgrade takes, the job waits for a worker that knows its operation."""
    monkeypatch.setattr("time.time", queue.clock)
    job = add(queue)
    with monkeypatch.context() as older:
        older.delitem(PLANS, "verify")
        for _ in range(3):
            run_jobs(message_of(job), runtime)
            waiting = queue.see(job)
            assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
            queue.clock.forward(runtime.settings.retry_for_s)
    assert script.ran == []
    run_jobs(message_of(job), runtime)
    assert queue.see(job).state is JobState.DONE


def test_a_worker_with_another_master_key_gives_the_job_back(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", queue.clock)
    job = add(queue)
    script.acts[Stage.DECODE] = raising(WrongMasterKey())
    for _ in range(3):
        run_jobs(message_of(job), runtime)
        assert (queue.see(job).state, queue.see(job).attempts) == (JobState.QUEUED, 0)
        queue.clock.forward(runtime.settings.retry_for_s)
    del script.acts[Stage.DECODE]
    run_jobs(message_of(job), runtime)
    assert queue.see(job).state is JobState.DONE


def test_pauses_grow_and_end(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that stays away: the job is tried ever more rarely, then fails with the
    store's error."""
    monkeypatch.setattr("time.time", queue.clock)
    job = add(queue)
    script.acts[Stage.DECODE] = raising(MediaUnavailable())
    pauses = []
    run_jobs(message_of(job), runtime)
    while queue.see(job).state is JobState.QUEUED:
        before = queue.clock.now
        while not queue.upkeep.ended_pauses("decode", 1):
            queue.clock.forward(0.25)
        pauses.append(queue.clock.now - before)
        run_jobs(message_of(job), runtime)
    failed = queue.see(job)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "media_unavailable")
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
    assert sum(pauses) > 800
    assert failed.attempts == 1


@pytest.mark.parametrize(("processes", "step_s", "claims"), [(1, 40, 8), (2, 40, 3), (2, 20, 4)])
def test_a_damaged_object_fails_its_job_after_several_claims(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch,
    processes: int, step_s: float, claims: int,
) -> None:
    """Three claims of two processes, or eight of the only one, and a minute."""
    monkeypatch.setattr("time.time", queue.clock)
    script.acts[Stage.DECODE] = raising(MediaCorrupt("The stored object k is damaged.", picture=1))
    job, tries = add(queue), 0
    while not queue.see(job).ended:
        tries += 1
        run_jobs(message_of(job), replace(runtime, name=f"worker:{tries % processes}"))
        queue.clock.forward(step_s)
    failed = queue.see(job)
    assert (failed.state, failed.error_code) == (JobState.FAILED, "media_corrupt")
    assert (failed.messages, failed.attempts) == (claims, 1)
    assert failed.error is not None
    assert failed.error["picture"] == 1
    assert failed.error["message"].startswith(
        f"The stored object k is damaged. So read {claims} claims in {processes} processes"
    )


def test_other_failures_between_do_not_hide_the_damage(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", queue.clock)
    job = add(queue)
    for tries in range(1, 7):
        error = MediaUnavailable() if tries % 2 else MediaCorrupt("damaged")
        script.acts[Stage.DECODE] = raising(error)
        run_jobs(message_of(job), replace(runtime, name=f"worker:{tries}"))
        queue.clock.forward(40)
    assert queue.see(job).error_code == "media_corrupt"


def test_a_cancelled_job_changes_nothing_any_more(
    queue: Queue, runtime: Runtime, script: Script
) -> None:
    job = add(queue)
    script.acts[Stage.DETECT] = lambda job: cast(None, queue.cancel(job.tenant_id, job.id))
    run_jobs(message_of(job), runtime)
    cancelled = queue.see(job)
    assert (cancelled.state, cancelled.result) == (JobState.CANCELLED, None)


def test_the_end_waits_for_the_database(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, tries = queue.together.end, []

    def away_twice(*arguments: Any) -> list[bool | Exception]:
        tries.append(arguments)
        if len(tries) < 3:
            raise DatabaseUnavailable
        return end(*arguments)

    monkeypatch.setattr(queue.together, "end", away_twice)
    monkeypatch.setattr(run_job_module, "END_PAUSE_S", 0.01)
    job = add(queue)
    run_jobs(message_of(job), runtime)
    assert queue.see(job).state is JobState.DONE
    assert len(tries) == 3
    assert len(script.ran) == 3


def test_a_database_that_stays_away_gives_the_job_up(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*arguments: Any) -> list[bool | Exception]:
        raise DatabaseUnavailable

    monkeypatch.setattr(queue.together, "end", away)
    monkeypatch.setattr(run_job_module, "END_PAUSE_S", 1.0)
    short = replace(runtime, settings=runtime.settings.model_copy(update={"lease_s": 0.5}))
    job = add(queue)
    with pytest.raises(DatabaseUnavailable):
        run_jobs(message_of(job), short)
    assert queue.see(job).state is JobState.RUNNING, "its lease runs out, then it is put back"


def test_redis_away_at_a_border(
    queue: Queue, runtime: Runtime, script: Script, redis_server: RedisServer
) -> None:
    """The job goes back to the stage where this worker took it, and loses no attempt."""
    job = add(queue)
    redis_server.kill()
    run_jobs(message_of(job), replace(runtime, served=frozenset({Stage.DECODE})))
    back = queue.see(job)
    assert (back.state, back.stage, back.attempts) == (JobState.QUEUED, "decode", 0)
    assert back.error is not None
    assert back.error["code"] == "broker_unavailable"


def test_redis_away_at_the_end_costs_nothing(
    queue: Queue, runtime: Runtime, script: Script, redis_server: RedisServer
) -> None:
    job = add(queue)
    redis_server.kill()
    run_jobs(message_of(job), runtime)
    assert queue.see(job).state is JobState.DONE


# Leases --------------------------------------------------------------------------


def test_a_held_claim_is_renewed(engine: Engine, queue: Queue) -> None:
    queue.clock.now = time.time()
    claim = queue.take(queue.add())
    leases = Leases(queue, 0.3)
    try:
        with leases.held(claim):
            first = queue.see(claim.job).lease_until
            queue.clock.forward(100)
            until = time.monotonic() + TIMEOUT_S
            while queue.see(claim.job).lease_until == first:
                assert time.monotonic() < until
                time.sleep(0.02)
        renewed = queue.see(claim.job).lease_until
        queue.clock.forward(100)
        time.sleep(0.5)
        assert queue.see(claim.job).lease_until == renewed, "renewed after it was let go"
    finally:
        leases.close()


def test_a_lost_claim_is_not_renewed(queue: Queue) -> None:
    claim = queue.take(queue.add())
    queue.cancel(queue.tenant, claim.id)
    queue.renew([claim], 100)
    assert queue.see(claim.job).lease_until is None
