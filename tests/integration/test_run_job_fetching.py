"""Jobs with pictures to fetch, through a worker whose stages are scripted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine

from pipeline.errors import NoFace
from pipeline.execution.context import JobContext
from pipeline.jobs.model import Job, JobState
from pipeline.operations import PLANS, Stage
from tests.integration.conftest import Script, message_of, raising
from tests.job_factory import Queue, add_tenant, new_job
from workers.connection import open_redis
from workers.run_together import run_jobs
from workers.runtime import Runtime

UPLOADED = "t1/transient/2026010100/up/" + "1" * 64


def fetched(job: Job) -> str:
    return f"t{job.tenant_id}/transient/2026010100/{job.id}/{'2' * 64}"


def add_fetching(queue: Queue, runtime: Runtime, script: Script) -> Job:
    """A job with one picture uploaded and one to be fetched; its fetch stage is scripted."""
    job, _ = queue.submit(
        new_job(
            queue.tenant, operation="matrix", stage=Stage.FETCH, media=(UPLOADED, ""),
            params={"fetch": [None, "http://pictures.example/a.jpg"]},
        )
    )
    script.media = [UPLOADED, fetched(job)]
    for key in script.media:
        runtime.resources.media.put(key, b"picture")
    return job


@pytest.mark.parametrize("error", [None, NoFace(picture=1)], ids=["done", "bad input"])
@pytest.mark.parametrize("apart", [False, True], ids=["one worker", "a worker a stage"])
def test_what_was_fetched_goes_with_its_job(
    queue: Queue, runtime: Runtime, script: Script, apart: bool, error: NoFace | None
) -> None:
    job = add_fetching(queue, runtime, script)
    if error is not None:
        script.acts[Stage.DETECT] = raising(error)
    stages = PLANS["matrix"].stages
    for served in [{stage} for stage in stages] if apart else [set(stages)]:
        run_jobs(message_of(queue.see(job)), replace(runtime, served=frozenset(served)))
    assert queue.see(job).state is (JobState.DONE if error is None else JobState.FAILED)
    assert [runtime.resources.media.exists(key) for key in script.media] == [False, False]
    seen = dict(zip(script.ran, script.seen, strict=True))
    assert seen[Stage.FETCH] == (UPLOADED, "")
    assert seen[Stage.DECODE] == seen[Stage.DETECT] == tuple(script.media)


def test_nothing_is_fetched_again_for_pixels_that_did_not_travel(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_fetching(queue, runtime, script)
    monkeypatch.setattr("workers.intermediates.LARGEST", -1)
    for stage in PLANS["matrix"].stages:
        run_jobs(message_of(queue.see(job)), replace(runtime, served=frozenset({stage})))
    assert queue.see(job).state is JobState.DONE
    assert script.ran.count(Stage.FETCH) == 1
    assert script.ran.count(Stage.DECODE) > 1


def test_a_job_that_lost_its_input_fetches_again(
    queue: Queue, runtime: Runtime, script: Script
) -> None:
    job = add_fetching(queue, runtime, script)
    run_jobs(message_of(job), replace(runtime, served=frozenset({Stage.FETCH})))
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        client.delete(*client.keys("faceline:intermediate:*"))
    run_jobs(message_of(queue.see(job)), replace(runtime, served=frozenset({Stage.DECODE})))
    assert queue.see(job).stage == Stage.FETCH


def test_a_job_without_urls_is_not_fetched(
    queue: Queue, runtime: Runtime, script: Script
) -> None:
    job = queue.add(operation="matrix", media=(UPLOADED, UPLOADED))
    run_jobs(message_of(job), runtime)
    assert script.ran == [Stage.DECODE, Stage.DETECT, Stage.EMBED]


def test_who_crowds_others_waits(
    engine: Engine, queue: Queue, runtime: Runtime, script: Script
) -> None:
    """The tenant's older jobs run and another tenant's picture waits: that one goes first."""
    running = [add_fetching(queue, runtime, script) for _ in range(runtime.settings.fetch_share)]
    for job in running:
        queue.take(job)
    late = add_fetching(queue, runtime, script)
    other, _ = queue.submit(
        new_job(
            add_tenant(engine, "other"), operation="matrix", stage=Stage.FETCH,
            media=(UPLOADED, ""), params={"fetch": [None, "http://pictures.example/a.jpg"]},
        )
    )
    run_jobs(message_of(late), runtime)
    assert (queue.see(late).state, script.ran) == (JobState.QUEUED, [])
    everything = replace(runtime, served=frozenset(PLANS["matrix"].stages))
    script.media = [UPLOADED, fetched(other)]
    run_jobs(message_of(other), everything)
    assert queue.see(other).state is JobState.DONE
    script.media = [UPLOADED, fetched(late)]
    queue.clock.forward(60)
    run_jobs(message_of(late), everything)
    assert queue.see(late).state is JobState.DONE


@pytest.mark.parametrize(
    "forged",
    [
        [UPLOADED, "t2/images/a/b"], [UPLOADED, UPLOADED], [UPLOADED], ["t1/images/a/b", UPLOADED],
        [UPLOADED, f"t2/transient/2026010100/{'0' * 32}/b"],
    ],
    ids=["a stored picture", "another upload", "too few", "in place of the upload", "a tenant's"],
)
def test_media_of_others_are_not_taken(
    queue: Queue, runtime: Runtime, script: Script, forged: list[str]
) -> None:
    """Data in Redis may be forged: they must not lead to another's pictures."""
    job = add_fetching(queue, runtime, script)
    run_jobs(message_of(job), replace(runtime, served=frozenset({Stage.FETCH})))
    runtime.intermediates.put(job.id, Stage.DECODE, JobContext(media=forged))
    run_jobs(message_of(queue.see(job)), replace(runtime, served=frozenset({Stage.DECODE})))
    assert (queue.see(job).stage, script.ran) == (Stage.FETCH, [Stage.FETCH])
