"""Jobs that end with an effect: the effect and the end of the job succeed or fail together."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from sqlalchemy import Connection, Engine, select

from pipeline.config.settings import Settings
from pipeline.database.engine import reading
from pipeline.database.schema import discarded
from pipeline.errors import (
    FaceExists,
    MediaUnavailable,
    PackDamaged,
    PackMismatch,
    TenantNotFound,
)
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.gallery.trash import Trash, discard
from pipeline.jobs.model import Effect, Job, JobState
from pipeline.jobs.together import JobEnd
from pipeline.media.directory import DirectoryStore
from pipeline.operations import PLANS
from pipeline.types import JsonObject
from tests.job_factory import Queue, new_job
from tests.servers import RedisServer
from workers import run_job as run_job_module
from workers.dispatch import Dispatcher
from workers.intermediates import Intermediates
from workers.job_notifier import JobNotifier
from workers.leases import Leases
from workers.messages import StageMessage
from workers.run_together import run_jobs
from workers.runtime import Runtime

DATA = b"picture"
HASH = hashlib.sha256(DATA).hexdigest()
KEY = f"t1/images/job/{HASH}"
OLD = f"t1/faces/old/{HASH}"


@pytest.fixture
def media(tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    return DirectoryStore(tmp_path_factory.mktemp("media"))


@pytest.fixture
def runtime(
    engine: Engine, queue: Queue, redis_server: RedisServer, media: DirectoryStore
) -> Iterator[Runtime]:
    settings = Settings(broker_url=redis_server.url, lease_s=3.0)
    queue.clock.now = time.time()
    trash = Trash(engine, media)
    tools = cast(Resources, type("Tools", (), {"trash": trash, "media": media}))
    runtime = Runtime(
        name="host.group:1", settings=settings, served=frozenset(PLANS["enrol"].stages),
        resources=tools, store=queue, leases=Leases(queue, settings.lease_s),
        intermediates=Intermediates(settings), dispatcher=Dispatcher(settings),
        notifier=JobNotifier(settings),
    )
    yield runtime
    for part in (runtime.leases, runtime.intermediates, runtime.dispatcher, runtime.notifier):
        part.close()


@pytest.fixture
def run(
    queue: Queue, runtime: Runtime, media: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Job]:
    """Carry out an enrolment whose effect is the given one, with an object stored for it."""

    def pass_on(
        stage: Any, plan: Any, job: Job, context: JobContext, resources: Any
    ) -> JobContext:
        return context

    def run(effect: Effect, operation: str = "enrol") -> Job:
        def finish(plan: Any, job: Job, context: JobContext, resources: Any) -> JobOutcome:
            media.put(KEY, DATA)
            return JobOutcome({"from": "stages"}, effect, (KEY,))

        monkeypatch.setattr(run_job_module, "run_stage", pass_on)
        monkeypatch.setattr(run_job_module, "finish", finish)
        stage = PLANS[operation].stages[0]
        job, _ = queue.submit(new_job(queue.tenant, operation=operation, stage=stage))
        run_jobs(StageMessage(1, job.id, job.stage), runtime)
        return queue.see(job)

    return run


def noted(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.execute(select(discarded.c.media_key)).scalars())


def test_what_an_effect_returns_is_the_result(
    run: Callable[..., Job], engine: Engine, queue: Queue, media: DirectoryStore
) -> None:
    media.put(OLD, DATA)

    def effect(connection: Connection) -> JsonObject:
        discard(connection, queue.tenant, OLD, 0.0)
        return {"id": 7}

    job = run(effect)
    assert (job.state, job.result) == (JobState.DONE, {"id": 7})
    assert not media.exists(OLD), "what the effect put aside is gone with it"
    assert media.exists(KEY)
    assert noted(engine) == []


@pytest.mark.parametrize(
    ("error", "code"), [(FaceExists(), "face_exists"), (ZeroDivisionError("bug"), "internal")]
)
def test_an_effect_that_fails_leaves_nothing(
    run: Callable[..., Job], engine: Engine, queue: Queue, media: DirectoryStore,
    error: Exception, code: str,
) -> None:
    def effect(connection: Connection) -> JsonObject:
        discard(connection, queue.tenant, OLD, 0.0)
        raise error

    job = run(effect)
    assert (job.state, job.error_code, job.result) == (JobState.FAILED, code, None)
    assert not media.exists(KEY), "nobody will ever name it"
    assert noted(engine) == []


def test_a_job_that_was_cancelled_has_no_effect(
    run: Callable[..., Job], queue: Queue, media: DirectoryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its object stays for the sweep: another holder of the job may have named it."""
    end = queue.together.end

    def cancel_first(ends: Sequence[JobEnd]) -> list[bool | Exception]:
        for each in ends:
            queue.cancel(each.claim.job.tenant_id, each.claim.id)
        return end(ends)

    monkeypatch.setattr(queue.together, "end", cancel_first)
    ran = []

    def effect(connection: Connection) -> JsonObject:
        ran.append(connection)
        return {}

    assert run(effect).state is JobState.CANCELLED
    assert ran == []
    assert media.exists(KEY)


def test_a_chunk_waits_for_the_right_pack(
    run: Callable[..., Job], engine: Engine, queue: Queue, media: DirectoryStore
) -> None:
    """None of its pictures is at fault: they are neither refused nor tried one by one."""

    def effect(connection: Connection) -> JsonObject:
        raise PackMismatch

    job = run(effect, "bulk")
    assert (job.state, job.attempts) == (JobState.QUEUED, 0)
    assert job.error is not None
    assert job.error["code"] == "pack_mismatch"
    assert not media.exists(KEY), "the next try stores its own"
    assert noted(engine) == []


@pytest.mark.parametrize(
    ("error", "state"),
    [(PackDamaged(), JobState.QUEUED), (MediaUnavailable(), JobState.QUEUED),
     (TenantNotFound(), JobState.QUEUED), (ZeroDivisionError("bug"), JobState.FAILED)],
)
def test_a_chunk_is_patient_with_all_but_its_pictures(
    queue: Queue, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception,
    state: JobState,
) -> None:
    def stage(*arguments: Any) -> JobContext:
        raise error

    monkeypatch.setattr(run_job_module, "run_stage", stage)
    job, _ = queue.submit(new_job(queue.tenant, operation="bulk", stage="bulk"))
    run_jobs(StageMessage(1, job.id, job.stage), runtime)
    for _ in range(3):
        queue.clock.forward(3 * runtime.settings.retry_for_s)
        run_jobs(StageMessage(1, job.id, job.stage), runtime)
    assert queue.see(job).state is state
