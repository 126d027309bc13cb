"""Real worker processes: borders between them, their start and their end."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from pipeline.jobs.model import JobState
from pipeline.operations import Stage
from tests.cluster import Cluster, Process
from tests.conftest import models_directory
from tests.databases import ONE_DATABASE
from tests.servers import RedisServer
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S
from workers.app import make_app
from workers.connection import open_redis

JUNK = [b"", b"{}", b"not json", b"\x80\x04N.", b'{"body": "x", "headers": {}, "properties": {}}']

BODIES: list[tuple[object, str]] = [
    ([[{"v": 9, "job": "x", "stage": "decode"}], {}, {}], "json"),
    ([[], {}, {}], "json"),
    ([["text"], {"more": 1}, {}], "json"),
    ({"no": "task"}, "json"),
    ([[{"v": 1, "job": "x", "stage": "decode"}], {}, {}], "pickle"),
]


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "biden.jpg").read_bytes()


def stages_run(cluster: Cluster, job_id: str) -> list[str]:
    return [step["stage"] for step in cluster.job(job_id).trace]


def exit_code(process: Process, within_s: float = 60.0) -> int:
    until = time.monotonic() + within_s
    while process.alive:
        assert time.monotonic() < until
        time.sleep(0.05)
    return process.stop()


@pytest.mark.heavy
def test_a_lost_intermediate_starts_the_job_over(
    make_cluster: MakeCluster, redis_server: RedisServer, photo: bytes
) -> None:
    cluster = make_cluster()
    with cluster.upkeep(), cluster.worker("decode,detect", 1) as first:
        job_id = cluster.submit("features", photo)
        wait_stage(cluster, job_id, Stage.EMBED)
        with open_redis(redis_server.url, 5.0) as client:
            client.flushall()
        with cluster.worker("embed", 1):
            job = cluster.wait([job_id])[0]
        assert first.alive
    assert (job.state, job.attempts) == (JobState.DONE, 1)
    assert stages_run(cluster, job_id) == ["decode", "detect", "decode", "detect", "embed"]


@ONE_DATABASE
@pytest.mark.heavy
def test_pixels_that_redis_should_not_carry_are_made_again(
    make_cluster: MakeCluster, redis_server: RedisServer, photo: bytes
) -> None:
    cluster = make_cluster(redis_budget_mb=1)
    with open_redis(redis_server.url, 5.0) as client:
        client.set("ballast", bytes(4 * 1024 * 1024))
    with cluster.upkeep(), cluster.worker("decode", 1), cluster.worker("detect,embed", 1):
        job = cluster.wait([cluster.submit("features", photo)])[0]
    assert job.state is JobState.DONE
    assert [step["stage"] for step in job.trace] == ["decode", "decode", "detect", "embed"]
    assert job.trace[1]["worker"] == job.trace[2]["worker"]


def wait_stage(cluster: Cluster, job_id: str, stage: Stage) -> None:
    until = time.monotonic() + TIMEOUT_S
    while cluster.job(job_id).stage != stage or cluster.job(job_id).state is not JobState.QUEUED:
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.02)


def test_stopping_ends_what_runs_and_leaves_no_process(
    make_cluster: MakeCluster, photo: bytes
) -> None:
    """SIGTERM in the middle of work: no attempt is burnt, the rest is done later."""
    cluster = make_cluster(lease_s=600.0)
    ids = [cluster.submit("features", photo) for _ in range(60)]
    with cluster.upkeep():
        with cluster.worker() as first:
            until = time.monotonic() + TIMEOUT_S
            while cluster.jobs.read.counts().get("done", 0) < 5:
                assert time.monotonic() < until, cluster.logs()
                time.sleep(0.01)
            children = first.children()
            assert first.stop() == 0
        assert not any(map(psutil.pid_exists, children))
        counts = cluster.jobs.read.counts()
        assert counts.get("running", 0) == 0
        assert 0 < counts["queued"] < len(ids), "it was to be stopped in the middle"
        with cluster.worker():
            jobs = cluster.wait(ids)
    assert {(job.state, job.attempts, job.messages) for job in jobs} == {(JobState.DONE, 1, 1)}


@ONE_DATABASE
def test_a_missing_pack_ends_the_start(make_cluster: MakeCluster, tmp_path: Path) -> None:
    cluster = make_cluster()
    empty = tmp_path / "no-models"
    empty.mkdir()
    with cluster.worker(models=str(empty)) as worker:
        assert exit_code(worker) == 2
    assert "'edge' was not found" in cluster.logs()


@ONE_DATABASE
def test_a_damaged_pack_ends_the_start(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """Found by the processes, not by their parent: the worker ends all the same."""
    damaged = tmp_path / "models" / "edge"
    damaged.mkdir(parents=True)
    for file in (models_directory() / "edge").iterdir():
        (damaged / file.name).write_bytes(file.read_bytes())
    model = damaged / "det_500m.onnx"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    cluster = make_cluster()
    with cluster.worker(models=str(damaged.parent)) as worker:
        assert exit_code(worker) == 1
    assert "A worker process cannot start" in cluster.logs()


@ONE_DATABASE
def test_processes_are_renewed(make_cluster: MakeCluster, photo: bytes) -> None:
    cluster = make_cluster(jobs_per_process=5)
    with cluster.upkeep(), cluster.worker("decode,detect", 1):
        jobs = cluster.wait([cluster.submit("locate", photo) for _ in range(20)])
    workers = {step["worker"] for job in jobs for step in job.trace}
    assert {job.state for job in jobs} == {JobState.DONE}
    assert len(workers) >= 4


@ONE_DATABASE
def test_junk_in_the_queue_harms_nobody(
    make_cluster: MakeCluster, redis_server: RedisServer, photo: bytes
) -> None:
    """A foreign message is put aside; the next message is served."""
    cluster = make_cluster()
    with cluster.upkeep(), cluster.worker("decode,detect", 1) as worker:
        cluster.wait([cluster.submit("locate", photo)])
        with open_redis(redis_server.url, 5.0) as client:
            for junk in JUNK:
                client.lpush("faceline.decode", junk)
        with make_app(cluster.settings).connection_for_write() as connection:
            producer = connection.Producer()
            for body, serializer in BODIES:
                producer.publish(
                    body, exchange="", routing_key="faceline.decode", serializer=serializer,
                    headers={"task": "faceline.decode", "id": "1", "lang": "py"},
                )
        jobs = cluster.wait([cluster.submit("locate", photo) for _ in range(3)])
        assert {job.state for job in jobs} == {JobState.DONE}
        assert worker.alive
