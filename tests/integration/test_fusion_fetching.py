"""Jobs with pictures to fetch, through a worker whose stages are scripted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.errors import NoFace
from pipeline.jobs.model import Job, JobState
from pipeline.plans import PLANS, Stage
from tests.integration.conftest import Script, raising, ring
from tests.job_factory import Queue, new_job
from workers.connection import open_redis
from workers.fusion import carry_out
from workers.runtime import Runtime

FETCHED = ("t1/transient/2026010100/up/" + "1" * 64, "t1/transient/2026010100/got/" + "2" * 64)


def add_fetching(queue: Queue, runtime: Runtime, script: Script) -> Job:
    """A job with one picture uploaded and one to be fetched; its fetch stage is scripted."""
    for key in FETCHED:
        runtime.tools.media.put(key, b"picture")
    script.media = list(FETCHED)
    job, _ = queue.submit(
        new_job(
            queue.tenant, operation="matrix", stage=Stage.FETCH, media=(FETCHED[0], ""),
            params={"fetch": [None, "http://pictures.example/a.jpg"]},
        )
    )
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
        carry_out(ring(queue.see(job)), replace(runtime, served=frozenset(served)))
    assert queue.see(job).state is (JobState.DONE if error is None else JobState.FAILED)
    assert [runtime.tools.media.exists(key) for key in FETCHED] == [False, False]
    seen = dict(zip(script.ran, script.seen, strict=True))
    assert seen[Stage.FETCH] == (FETCHED[0], "")
    assert seen[Stage.DECODE] == seen[Stage.DETECT] == FETCHED


def test_nothing_is_fetched_again_for_pixels_that_did_not_travel(
    queue: Queue, runtime: Runtime, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = add_fetching(queue, runtime, script)
    monkeypatch.setattr("workers.intermediates.LARGEST", -1)
    for stage in PLANS["matrix"].stages:
        carry_out(ring(queue.see(job)), replace(runtime, served=frozenset({stage})))
    assert queue.see(job).state is JobState.DONE
    assert script.ran.count(Stage.FETCH) == 1
    assert script.ran.count(Stage.DECODE) > 1


def test_a_job_that_lost_its_input_fetches_again(
    queue: Queue, runtime: Runtime, script: Script
) -> None:
    job = add_fetching(queue, runtime, script)
    carry_out(ring(job), replace(runtime, served=frozenset({Stage.FETCH})))
    with open_redis(runtime.settings.broker_url, 5.0) as client:
        client.delete(*client.keys("faceline:intermediate:*"))
    carry_out(ring(queue.see(job)), replace(runtime, served=frozenset({Stage.DECODE})))
    assert queue.see(job).stage == Stage.FETCH


def test_a_job_without_urls_is_not_fetched(
    queue: Queue, runtime: Runtime, script: Script
) -> None:
    job = queue.add(operation="matrix", media=FETCHED)
    carry_out(ring(job), runtime)
    assert script.ran == [Stage.DECODE, Stage.DETECT, Stage.EMBED]
