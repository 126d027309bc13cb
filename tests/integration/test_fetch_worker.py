"""The worker that fetches: apart from the others, without models, and only when it may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pipeline.jobs.model import Job, JobState, NewJob
from pipeline.plans import Stage
from tests.picture_server import PictureServer, body, status
from tests.servers import RedisServer
from tests.yard import Process, Yard, open_yard

MakeYard = Callable[..., Yard]

WITHIN_S = 60.0


@pytest.fixture
def make_yard(tmp_path: Path, redis_server: RedisServer) -> Iterator[MakeYard]:
    """A queue whose machines hold no models."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            open_yard(tmp_path, redis_server.url, tmp_path / "no-models", **settings)
        )


def submit(yard: Yard, *urls: str, tenant: int | None = None) -> str:
    """A job all of whose pictures are to be fetched."""
    job, _ = yard.jobs.submit(
        NewJob(
            tenant_id=tenant or yard.tenant, operation="matrix", dialect="c", stage=Stage.FETCH,
            params={"fetch": list(urls)}, media=("",) * len(urls), request_id="r", digest="d",
        )
    )
    yard.dispatcher.ring(job.id, Stage.FETCH)
    return job.id


def eventually(yard: Yard, job_id: str, condition: Callable[[Job], bool]) -> Job:
    until = time.monotonic() + WITHIN_S
    while not condition(job := yard.job(job_id)):
        assert time.monotonic() < until, yard.logs()
        time.sleep(0.02)
    return job


def libraries(worker: Process) -> set[str]:
    """The files that the processes of a worker have mapped."""
    return {
        Path(item.path).name
        for pid in (worker.pid, *worker.children())
        for item in psutil.Process(pid).memory_maps()
    }


def test_it_fetches_and_hands_over_and_loads_no_model(
    make_yard: MakeYard, pictures: PictureServer
) -> None:
    yard = make_yard(**pictures.settings)
    urls = [pictures.serve(path, body(path.encode())) for path in ("/a", "/b")]
    with yard.worker("fetch", 1) as worker:
        good = submit(yard, *urls)
        handed = eventually(yard, good, lambda job: job.stage == Stage.DECODE)
        assert (handed.state, handed.attempts) == (JobState.QUEUED, 0)
        stored = [item.key for item in yard.media.walk(f"t{yard.tenant}/transient/")]
        assert sorted(map(yard.media.get, stored)) == [b"/a", b"/b"]
        assert {key.split("/")[3] for key in stored} == {good}

        bad = submit(yard, urls[0], pictures.serve("/c", status(403)))
        failed = eventually(yard, bad, lambda job: job.ended)
        assert failed.error is not None
        assert (failed.error_code, failed.error["picture"]) == ("download_refused", 1)
        assert "403" not in str(failed.error)
        assert not [name for name in libraries(worker) if "onnxruntime" in name]
    assert yard.dispatcher.depth(Stage.DECODE) == 1


def test_it_does_not_start_where_fetching_is_off(make_yard: MakeYard) -> None:
    yard = make_yard()
    with yard.worker("fetch", 1) as worker:
        until = time.monotonic() + WITHIN_S
        while worker.alive:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert worker.stop() == 2
    assert "FACELINE_FETCH_URLS is off" in yard.logs()


def test_jobs_that_wait_end_when_it_is_switched_off(make_yard: MakeYard) -> None:
    yard = make_yard()
    job_id = submit(yard, "http://pictures.example/")
    with yard.upkeep(fetch_urls=True):
        time.sleep(1.0)
        assert yard.job(job_id).state is JobState.QUEUED
    with yard.upkeep():
        ended = eventually(yard, job_id, lambda job: job.ended)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "download_refused")
    assert ended.error is not None
    assert "switched off" in ended.error["message"]
