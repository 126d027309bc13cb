"""The worker that fetches: apart from the others, without models, and only when it may."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from pipeline.accounts.tenants import TenantStore
from pipeline.encryption.vault import open_vault
from pipeline.jobs.model import Job, JobState, NewJob
from pipeline.operations import FetchedPictureLimits, MatrixParams, Stage
from tests.cluster import Cluster, Process, open_cluster
from tests.picture_server import PictureServer, body, status
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S

MakeCluster = Callable[..., Cluster]


@pytest.fixture
def make_cluster(tmp_path: Path, redis_server: RedisServer) -> Iterator[MakeCluster]:
    """A queue whose machines hold no models."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            open_cluster(tmp_path, redis_server.url, tmp_path / "no-models", **settings)
        )


def submit(cluster: Cluster, *urls: str, tenant: int | None = None) -> str:
    """A job all of whose pictures are to be fetched."""
    limits = FetchedPictureLimits(max_bytes=10**6, max_side=4000, formats=("jpeg", "png"))
    params = MatrixParams(auto_rotate=(False,) * len(urls), lifetime_s=60.0, bounds=limits)
    job, _ = cluster.jobs.submit(
        NewJob(
            tenant_id=tenant or cluster.tenant, operation="matrix", dialect="c", stage=Stage.FETCH,
            params={**params.to_json(), "fetch": list(urls)}, media=("",) * len(urls),
            request_id="r", digest="d",
        )
    )
    cluster.dispatcher.publish(job.id, Stage.FETCH)
    return job.id


def eventually(cluster: Cluster, job_id: str, condition: Callable[[Job], bool]) -> Job:
    until = time.monotonic() + TIMEOUT_S
    while not condition(job := cluster.job(job_id)):
        assert time.monotonic() < until, cluster.logs()
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
    make_cluster: MakeCluster, pictures: PictureServer
) -> None:
    cluster = make_cluster(**pictures.settings)
    urls = [pictures.serve(path, body(path.encode())) for path in ("/a", "/b")]
    with cluster.worker("fetch", 1) as worker:
        good = submit(cluster, *urls)
        handed = eventually(cluster, good, lambda job: job.stage == Stage.DECODE)
        assert (handed.state, handed.attempts) == (JobState.QUEUED, 0)
        stored = [item.key for item in cluster.media.walk(f"t{cluster.tenant}/transient/")]
        assert sorted(map(cluster.media.get, stored)) == [b"/a", b"/b"]
        assert {key.split("/")[3] for key in stored} == {good}

        bad = submit(cluster, urls[0], pictures.serve("/c", status(403)))
        failed = eventually(cluster, bad, lambda job: job.ended)
        assert failed.error is not None
        assert (failed.error_code, failed.error["picture"]) == ("download_refused", 1)
        assert "403" not in str(failed.error)
        assert not [name for name in libraries(worker) if "onnxruntime" in name]
    assert cluster.dispatcher.depth(Stage.DECODE) == 1


def test_without_the_master_key_it_fetches_for_applications_in_clear(
    make_cluster: MakeCluster, pictures: PictureServer, tmp_path: Path
) -> None:
    """The jobs of encrypted applications wait for a worker that has the key."""
    cluster = make_cluster(
        **pictures.settings, database_url=f"sqlite:///{tmp_path}/jobs.db",
        media_url=f"file://{tmp_path}/pictures",
    )
    vault = open_vault(cluster.settings)
    encrypted = TenantStore(cluster.engine, vault).create("encrypted", encrypted=True).id
    url = pictures.serve("/a", body(b"a picture"))
    keyless = tmp_path / "keyless"
    with cluster.worker("fetch", 1, data_dir=keyless):
        waiting = submit(cluster, url, tenant=encrypted)
        job = eventually(cluster, waiting, lambda job: job.error is not None)
        assert (job.state, job.attempts) == (JobState.QUEUED, 0)
        assert job.error is not None
        assert "no master key" in job.error["message"]
        plain = submit(cluster, url)
        eventually(cluster, plain, lambda job: job.stage == Stage.DECODE)
    assert not (keyless / "master.key").exists()
    with cluster.worker("fetch", 1), cluster.upkeep(reconcile_interval_s=0.2):
        eventually(cluster, waiting, lambda job: job.stage == Stage.DECODE)
    stored = list(cluster.media.walk(f"t{encrypted}/"))
    assert b"a picture" not in [cluster.media.get(item.key) for item in stored]


def test_it_does_not_start_where_fetching_is_off(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    with cluster.worker("fetch", 1) as worker:
        until = time.monotonic() + TIMEOUT_S
        while worker.alive:
            assert time.monotonic() < until
            time.sleep(0.02)
        assert worker.stop() == 2
    assert "FACELINE_FETCH_URLS is off" in cluster.logs()


def test_jobs_that_wait_end_when_it_is_switched_off(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    job_id = submit(cluster, "http://pictures.example/")
    with cluster.upkeep(fetch_urls=True):
        time.sleep(1.0)
        assert cluster.job(job_id).state is JobState.QUEUED
    with cluster.upkeep():
        ended = eventually(cluster, job_id, lambda job: job.ended)
    assert (ended.state, ended.error_code) == (JobState.FAILED, "download_refused")
    assert ended.error is not None
    assert "switched off" in ended.error["message"]
