"""Several jobs in one worker, on a real database and a real Redis; the stages are scripted."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Connection

from pipeline.errors import DatabaseFull, DatabaseUnavailable, FaceExists, MediaUnavailable, NoFace
from pipeline.execution.context import JobContext, JobOutcome
from pipeline.jobs.model import Job, JobState
from pipeline.operations import PLANS, Stage
from pipeline.storage_keys import DONE_CHANNEL
from pipeline.types import JsonObject, VectorModel
from tests.integration.conftest import Script, message_of
from tests.job_factory import Clock, Queue, new_job
from workers import company as company_module
from workers import run_job as run_job_module
from workers import run_together as run_together_module
from workers.company import Company
from workers.connection import open_redis
from workers.dispatch import Dispatcher
from workers.run_together import run_jobs
from workers.running_notes import RunningNotes
from workers.runtime import Runtime
from workers.waiting_messages import WaitingMessages
from workers.watchdog import Watchdog

PATIENCE_S = 600.0


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs may take as long as a busy machine needs; a test of the limit moves a clock."""
    monkeypatch.setattr(run_together_module, "PATIENCE_S", PATIENCE_S)


@pytest.fixture
def jobs(queue: Queue) -> list[Job]:
    return [add(queue) for _ in range(4)]


def add(queue: Queue, operation: str = "verify", media: tuple[str, ...] = ()) -> Job:
    job, _ = queue.submit(new_job(queue.tenant, operation=operation, media=media))
    return job


def run(jobs: list[Job], runtime: Runtime) -> int:
    return run_jobs(message_of(jobs[0]), runtime, [job.id for job in jobs[1:]])


def states(queue: Queue, jobs: list[Job]) -> list[JobState]:
    return [queue.see(job).state for job in jobs]


def raising_for(victim: Job, error: BaseException) -> Any:
    def act(job: Job) -> None:
        if job.id == victim.id:
            raise error

    return act


def test_all_end_in_one_go(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    uploads = [f"t1/transient/2026010100/{name}/{'0' * 64}" for name in "ab"]
    for key in uploads:
        runtime.resources.media.put(key, b"picture")
    jobs = [*jobs, add(queue, media=tuple(uploads))]
    with (
        open_redis(runtime.settings.broker_url, 5.0) as client,
        client.pubsub(ignore_subscribe_messages=True) as channel,
    ):
        channel.subscribe(DONE_CHANNEL)
        channel.get_message(timeout=1)
        assert run(jobs, runtime) == 5
        heard = [channel.get_message(timeout=5) for _ in jobs]
    assert [message["data"].decode() for message in heard if message] == [job.id for job in jobs]
    for job in jobs:
        done = queue.see(job)
        assert (done.state, done.messages, done.attempts) == (JobState.DONE, 1, 1)
        assert done.result == {"sizes": [[0, 1], [1, 1], [2, 1]]}
        assert [step["stage"] for step in done.trace] == ["decode", "detect", "embed"]
        assert {step["together"] for step in done.trace} == {5}
    assert not any(runtime.resources.media.exists(key) for key in uploads)
    assert runtime.notes.of(os.getpid()) is None


def test_each_ends_by_its_own_error(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    errors: dict[str, BaseException] = {
        jobs[0].id: NoFace(picture=1), jobs[1].id: ZeroDivisionError("a bug"),
        jobs[2].id: MediaUnavailable(),
    }

    def act(job: Job) -> None:
        if job.id in errors:
            raise errors[job.id]

    script.acts[Stage.DETECT] = act
    run(jobs, runtime)
    rows = [queue.see(job) for job in jobs]
    assert [(row.state, row.error_code) for row in rows] == [
        (JobState.FAILED, "no_face"), (JobState.FAILED, "internal"), (JobState.QUEUED, None),
        (JobState.DONE, None),
    ]
    assert rows[2].attempts == 0
    assert rows[2].error is not None
    assert rows[2].error["code"] == "media_unavailable"


def test_a_failing_effect_ends_its_own_job(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    emptied: list[int] = []
    discarded: list[tuple[str, ...]] = []

    def finish(plan: Any, job: Job, context: JobContext, resources: Any) -> JobOutcome:
        def effect(connection: Connection) -> JsonObject:
            if job.id == jobs[1].id:
                raise FaceExists
            return {"of": job.id}

        return JobOutcome({}, effect, (f"key of {job.id}",))

    trash = SimpleNamespace(
        try_empty=emptied.append, discard_now=lambda tenant, keys: discarded.append(keys)
    )
    tools = SimpleNamespace(**vars(runtime.resources), trash=trash)
    monkeypatch.setattr(run_job_module, "finish", finish)
    run(jobs, replace(runtime, resources=cast(Any, tools)))
    assert [queue.see(job).error_code for job in jobs] == [None, "face_exists", None, None]
    assert [queue.see(job).result for job in jobs] == [
        {"of": jobs[0].id}, None, {"of": jobs[2].id}, {"of": jobs[3].id},
    ]
    assert emptied == [queue.tenant]
    assert discarded == [(f"key of {jobs[1].id}",)]


def test_a_job_that_does_not_end_gives_the_others_back(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    script.acts[Stage.DETECT] = raising_for(jobs[1], SoftTimeLimitExceeded())
    run(jobs, runtime)
    rows = [queue.see(job) for job in jobs]
    assert rows[1].error_code == "job_timed_out"
    assert [(row.state, row.attempts) for row in rows if row.id != jobs[1].id] == [
        (JobState.QUEUED, 0)
    ] * 3
    assert runtime.dispatcher.depth("decode") == 3


def test_the_time_limit_over_all_of_them(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody knows which job it was: they run alone from then on."""
    embedding(script, monkeypatch, error=SoftTimeLimitExceeded())
    run(jobs, runtime)
    assert [(queue.see(job).state, queue.see(job).attempts) for job in jobs] == [
        (JobState.QUEUED, 1)
    ] * 4
    assert run(jobs, runtime) == 1


def test_the_time_limit_at_the_end_undoes_nothing(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end, tries = queue.together.end, []

    def interrupted(ends: Any) -> Any:
        tries.append(ends)
        if len(tries) == 1:
            raise SoftTimeLimitExceeded
        return end(ends)

    monkeypatch.setattr(queue.together, "end", interrupted)
    run(jobs, runtime)
    assert states(queue, jobs) == [JobState.DONE] * 4


def test_what_has_not_started_is_given_back_after_a_while(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A clock of the test's own: on a busy machine the first job alone can take longer.
    clock = Clock()
    monkeypatch.setattr(
        run_together_module, "time",
        SimpleNamespace(monotonic=clock, time=time.time, perf_counter=time.perf_counter),
    )
    script.acts[Stage.DECODE] = lambda job: clock.forward(0.6 * PATIENCE_S)
    run(jobs, runtime)
    found = states(queue, jobs)
    assert found == [JobState.DONE] * 2 + [JobState.QUEUED] * 2
    assert {queue.see(job).attempts for job in jobs[2:]} == {0}
    assert runtime.dispatcher.depth("decode") == 2


def test_faces_are_embedded_together(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = embedding(script, monkeypatch)
    run([*jobs, add(queue, "locate")], runtime)
    assert batches == [4]
    for job in jobs:
        done = queue.see(job)
        assert done.state is JobState.DONE
        assert [step["stage"] for step in done.trace] == ["decode", "detect", "embed"]
        assert {step["together"] for step in done.trace} == {5}
    assert Stage.EMBED not in script.ran


def test_faces_that_cannot_be_embedded_together_are_embedded_alone(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embedding(script, monkeypatch, error=ValueError("crops of two sizes"))
    run(jobs, runtime)
    assert states(queue, jobs) == [JobState.DONE] * 4
    assert script.ran.count(Stage.EMBED) == 4


def embedding(
    script: Script, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None
) -> list[int]:
    """Jobs with a crop each, and how many are embedded at a time."""
    batches: list[int] = []
    run_stage = script.run_stage

    def with_crops(
        stage: Stage, plan: Any, job: Job, context: JobContext, resources: Any
    ) -> JobContext:
        found = run_stage(stage, plan, job, context, resources)
        crops = [[np.zeros((4, 4, 3), np.uint8)]] if stage is Stage.DETECT else []
        return replace(found, crops=crops)

    def together(contexts: list[JobContext], resources: Any) -> list[JobContext]:
        if error is not None:
            raise error
        batches.append(len(contexts))
        return [replace(each, crops=[], model=VectorModel("p", "m", 4)) for each in contexts]

    monkeypatch.setattr(run_job_module, "run_stage", with_crops)
    monkeypatch.setattr(run_together_module, "embed_faces_together", together)
    return batches


def test_borders(queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]) -> None:
    """Three workers, a stage each; one job ends in between."""
    script.acts[Stage.DETECT] = raising_for(jobs[2], NoFace())
    for stage in PLANS["verify"].stages:
        here = replace(runtime, served=frozenset({stage}), name=f"worker-{stage}")
        waiting = [queue.see(job) for job in jobs if not queue.see(job).ended]
        assert {job.stage for job in waiting} == {stage}
        run(waiting, here)
    rows = [queue.see(job) for job in jobs]
    assert [row.error_code for row in rows] == [None, None, "no_face", None]
    for row in rows:
        if row.error_code is None:
            assert row.result == {"sizes": [[0, 1], [1, 1], [2, 1]]}
            assert [step["together"] for step in row.trace] == [4, 4, 3]
            assert row.attempts == 1
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        left = client.keys("faceline:intermediate:*")
    assert len(left) == 1, "that of the job which ended expires"


def test_a_job_cancelled_meanwhile_changes_nothing(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    def act(job: Job) -> None:
        if job.id == jobs[3].id:
            queue.cancel(queue.tenant, jobs[0].id)

    script.acts[Stage.DETECT] = act
    run(jobs, runtime)
    assert states(queue, jobs) == [JobState.CANCELLED] + [JobState.DONE] * 3
    assert queue.see(jobs[0]).result is None


def test_the_ends_wait_for_the_database(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    end, tries = queue.together.end, []

    def away_twice(ends: Any) -> Any:
        tries.append(ends)
        if len(tries) < 3:
            raise DatabaseUnavailable
        return end(ends)

    monkeypatch.setattr(queue.together, "end", away_twice)
    monkeypatch.setattr(run_job_module, "END_PAUSE_S", 0.01)
    run(jobs, runtime)
    assert states(queue, jobs) == [JobState.DONE] * 4
    assert len(tries) == 3
    assert len(script.ran) == 12


def test_all_claims_are_renewed(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    renewed: list[float] = []

    def act(job: Job) -> None:
        if job.id == jobs[0].id:
            before = queue.see(jobs[3]).lease_until
            assert before is not None
            queue.clock.forward(100)
            until = time.monotonic() + 60
            while (queue.see(jobs[3]).lease_until or 0.0) <= before:
                assert time.monotonic() < until
                time.sleep(0.02)
            renewed.append(before)

    script.acts[Stage.DECODE] = act
    run(jobs, runtime)
    assert renewed
    assert states(queue, jobs) == [JobState.DONE] * 4


def test_messages_that_come_twice(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    doubled = [*jobs, *jobs]
    assert run(doubled, runtime) == 4
    before = [queue.see(job) for job in jobs]
    assert run(doubled, runtime) == 0
    assert [queue.see(job) for job in jobs] == before
    assert len(script.ran) == 12


def test_the_survivor_knows_which_job_ran(
    queue: Queue, runtime: Runtime, script: Script, jobs: list[Job]
) -> None:
    seen: list[str | None] = []
    script.acts[Stage.DETECT] = lambda job: seen.append(runtime.notes.of(os.getpid()))
    run(jobs, runtime)
    assert seen == [job.id for job in jobs]


def test_a_note_outlives_its_process() -> None:
    notes = RunningNotes()
    child = os.fork()
    if child == 0:
        notes.write("ab" * 16)
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert notes.of(child) == "ab" * 16
    assert notes.of(os.getpid()) is None


def test_the_watchdog_ends_the_job_that_runs(
    queue: Queue, runtime: Runtime, jobs: list[Job]
) -> None:
    claims, _ = queue.together.claim(
        [job.id for job in jobs], "decode", runtime.name, 30.0, 3
    )
    limited = replace(
        runtime, settings=runtime.settings.model_copy(update={"job_time_limit_s": 0.01})
    )
    replaced: list[bool] = []
    with limited.leases.held(*claims):
        limited.leases.running(claims[2])
        time.sleep(0.05)
        Watchdog(limited, lambda: replaced.append(True))._check()
    rows = [queue.see(job) for job in jobs]
    assert [(row.state, row.error_code) for row in rows] == [
        (JobState.QUEUED, None), (JobState.QUEUED, None), (JobState.FAILED, "job_timed_out"),
        (JobState.QUEUED, None),
    ]
    assert replaced == [True]


# Messages --------------------------------------------------------------------------


@pytest.fixture
def company(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Iterator[Company]:
    settings = runtime.settings.model_copy(update={"concurrency": 2})
    monkeypatch.setattr(company_module, "IDLE_S", 60.0)
    company = Company(settings, runtime.served)
    yield company
    company.close()


def publish(dispatcher: Dispatcher, count: int) -> list[str]:
    ids = [f"{number:032x}" for number in range(count)]
    assert all(dispatcher.publish(job_id, "decode") for job_id in ids)
    return ids


def test_each_process_leaves_the_others_their_share(
    runtime: Runtime, company: Company
) -> None:
    ids = publish(runtime.dispatcher, 10)
    company.note("decode", 1, 0.001)
    assert company.take("decode") == ids[:5]
    assert company.take("decode") == ids[5:7]
    assert company.take("decode") == ids[7:8]
    assert company.take("decode") == ids[8:9]
    assert company.take("decode") == []
    assert runtime.dispatcher.depth("decode") == 1


@pytest.mark.parametrize(
    ("each_s", "taken"), [(0.001, 7), (0.03, 2), (0.05, 1), (0.06, 0), (2.0, 0)]
)
def test_long_jobs_take_little_company(
    runtime: Runtime, company: Company, each_s: float, taken: int
) -> None:
    publish(runtime.dispatcher, 40)
    company.note("decode", 4, 4 * each_s)
    assert len(company.take("decode")) == taken


def test_waiting_counts_less_than_work(
    runtime: Runtime, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four jobs in 0.4 seconds, of which the process works for 0.04: 32.5 ms each."""
    publish(runtime.dispatcher, 40)
    seconds, worked = iter([10.0, 10.4, 10.4, 10.4]), iter([1.0, 1.04])
    clocks = SimpleNamespace(
        monotonic=lambda: next(seconds), process_time=lambda: next(worked)
    )
    monkeypatch.setattr(company_module, "time", clocks)
    with company.measure("decode") as jobs:
        jobs.append(4)
    assert len(company.take("decode")) == 2


def test_an_idle_process_does_not_look(
    runtime: Runtime, company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(runtime.dispatcher, 8)
    assert company.take("decode") == [], "how long a job takes is not known"
    company.note("decode", 1, 0.001)
    monkeypatch.setattr(company_module, "IDLE_S", 0.01)
    time.sleep(0.03)
    assert company.take("decode") == []
    assert runtime.dispatcher.depth("decode") == 8


@pytest.mark.parametrize("update", [{"jobs_together": 1}, {"max_attempts": 1}])
def test_company_can_be_switched_off(runtime: Runtime, update: dict[str, int]) -> None:
    publish(runtime.dispatcher, 8)
    settings = runtime.settings.model_copy(update=update)
    company = Company(settings, runtime.served)
    company.note("decode", 1, 0.001)
    assert company.take("decode") == []
    company.close()


@pytest.mark.parametrize("stage", ["fetch", "liveness", "bulk"])
def test_long_stages_run_alone(runtime: Runtime, company: Company, stage: str) -> None:
    for number in range(8):
        runtime.dispatcher.publish(f"{number:032x}", stage)
    company.note(stage, 1, 0.001)
    assert company.take(stage) == []


@pytest.fixture
def messages(runtime: Runtime) -> Iterator[WaitingMessages]:
    messages = WaitingMessages(runtime.settings)
    yield messages
    messages.close()


def test_junk_among_the_messages(runtime: Runtime, messages: WaitingMessages) -> None:
    first, second = publish(runtime.dispatcher, 2)
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        message = client.lpop("faceline.decode")
        assert message is not None
        parts = json.loads(message)
        junk = [
            b"\xff\x00", b"{", b"[]", b"{}", b"null", b'{"body": 7}',
            *(json.dumps({**parts, "body": body}) for body in ("AAAA" + parts["body"], "%", "")),
        ]
        client.lpush("faceline.decode", *junk, message)
    assert messages.take("decode", 20, 1) == [first, second]
    assert runtime.dispatcher.depth("decode") == 0


def test_a_message_of_another_stage_is_not_taken_for_this(
    runtime: Runtime, messages: WaitingMessages
) -> None:
    publish(runtime.dispatcher, 1)
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        client.rename("faceline.decode", "faceline.embed")
    assert messages.take("embed", 20, 1) == []


def test_without_a_broker_no_job_has_company(
    runtime: Runtime, messages: WaitingMessages, redis_server: Any
) -> None:
    publish(runtime.dispatcher, 4)
    redis_server.kill()
    assert messages.take("decode", 3, 1) == []
    assert messages.take("decode", 3, 1) == []


def test_another_broker_keeps_its_messages(runtime: Runtime) -> None:
    settings = runtime.settings.model_copy(update={"broker_url": "amqp://localhost"})
    company = Company(settings, runtime.served)
    company.note("decode", 1, 0.001)
    assert company.take("decode") == []


def test_results_without_room_cost_no_attempt(
    jobs: list[Job], queue: Queue, runtime: Runtime, script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full database takes claims, which need no room, and no results."""

    def no_room(*_: object) -> None:
        raise DatabaseFull

    with monkeypatch.context() as full:
        full.setattr(run_together_module, "write_patiently", no_room)
        for _ in range(runtime.settings.max_attempts + 1):
            with pytest.raises(DatabaseFull):
                run(jobs, runtime)
            for job in jobs:
                waiting = queue.see(job)
                assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
    run(jobs, runtime)
    assert {queue.see(job).state for job in jobs} == {JobState.DONE}
