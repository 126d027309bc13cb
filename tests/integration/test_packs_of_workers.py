"""Workers whose pack is not the deployment's end nobody's job."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from api_shim.health import Health
from api_shim.service import Service
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.deployment.pack import confirm_pack, pin_pack, pinned_pack
from pipeline.deployment.pack_guard import PackGuard
from pipeline.deployment.processes import ProcessTable
from pipeline.errors import FaceError, PackDamaged, PackMissing, ProviderUnavailable, WrongPack
from pipeline.jobs.model import JobState
from pipeline.operations import PLANS, Stage
from pipeline.sessions import registry
from pipeline.sessions.base import PackInfo
from pipeline.types import JsonObject
from tests.databases import LAST_DATABASE, ONE_DATABASE
from tests.integration.conftest import Script, message_of, raising
from tests.integration.test_run_job import add
from tests.integration.test_workers import exit_code
from tests.job_factory import Queue
from tests.stack import MakeCluster
from tests.unit.test_sessions_registry import manifest_pack
from tests.waiting import eventually
from workers.run_together import run_jobs
from workers.runtime import Runtime

STAGES = PLANS["verify"].stages


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "biden.jpg").read_bytes()


@pytest.fixture
def packs(tmp_path: Path) -> tuple[PackInfo, PackInfo]:
    """Two packs with different models."""
    made = [manifest_pack(tmp_path / "packs" / name) for name in ("first", "second")]
    first = registry.choose(Settings(models=str(made[0].parent), pack="first"))
    files = tuple(replace(file, sha256=file.sha256[::-1]) for file in first.files)
    return first, replace(first, name="second", path=made[1], files=files)


# Whole workers -------------------------------------------------------------------


@LAST_DATABASE
def test_a_machine_without_the_models_does_not_start(
    make_cluster: MakeCluster, tmp_path: Path, photo: bytes
) -> None:
    cluster = make_cluster()
    bare = str(tmp_path / "no-models")
    with cluster.upkeep(), cluster.worker(concurrency=1):
        assert cluster.wait([cluster.submit("features", photo)])[0].state is JobState.DONE
        for pack in ("auto", "dlib"):
            with cluster.worker(models=bare, pack=pack) as worker:
                assert exit_code(worker, 180.0) == 2
        jobs = cluster.wait([cluster.submit("features", photo) for _ in range(4)])
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1)}
    pinned = pinned_pack(cluster.engine)
    assert pinned is not None
    assert {job.pack for job in jobs} == {pinned.digest}
    assert "which is not on this machine" in cluster.logs()
    assert "models pin dlib" in cluster.logs()


def test_the_first_machine_must_not_choose_for_all(
    make_cluster: MakeCluster, tmp_path: Path, backend: str
) -> None:
    """With a server for the database there are others; a file belongs to one machine."""
    cluster = make_cluster()
    with cluster.worker(models=str(tmp_path / "no-models"), pack="auto", concurrency=1) as worker:
        if backend == "sqlite":
            eventually(lambda: ProcessTable(cluster.engine).alive())
            assert str(pinned_pack(cluster.engine)).startswith("'dlib'")
        else:
            assert exit_code(worker, 180.0) == 2
            assert "FACELINE_PACK is not set" in cluster.logs()
            assert pinned_pack(cluster.engine) is None


@ONE_DATABASE
def test_a_running_worker_gives_jobs_back_when_the_pack_changes(
    make_cluster: MakeCluster, photo: bytes, packs: tuple[PackInfo, PackInfo]
) -> None:
    cluster = make_cluster()
    table = ProcessTable(cluster.engine)
    edge = registry.choose(cluster.settings)
    with cluster.upkeep(), cluster.worker(concurrency=1):
        assert cluster.wait([cluster.submit("features", photo)])[0].state is JobState.DONE
        pin_pack(cluster.engine, packs[0])
        eventually(lambda: any(each.trouble for each in table.alive()))
        assert table.serving(Stage.DECODE) == []
        assert any("models pin edge" in str(each.trouble) for each in table.alive())
        jobs = [cluster.submit("features", photo) for _ in range(3)]
        # The message goes round: it is taken and sent again.
        eventually(lambda: "Jobs are given back" in cluster.logs())
        assert {cluster.job(job).state for job in jobs} == {JobState.QUEUED}
        pin_pack(cluster.engine, edge)
        done = cluster.wait(jobs)
    assert {(job.state, job.attempts) for job in done} == {(JobState.DONE, 1)}


def test_health_names_the_deployments_pack(
    tmp_path: Path, database_url: str, edge_settings: Settings
) -> None:
    """Not the one that the shim's machine would take, if it has any."""
    engine = open_engine(database_url, durable=False)
    shim = edge_settings.model_copy(
        update={"database_url": database_url, "data_dir": tmp_path, "pack": "auto"}
    )
    edge = registry.choose(edge_settings)
    pin_pack(engine, registry.choose(Settings(models=str(tmp_path), pack="dlib")))
    service = Service(shim)
    health = Health(service)

    def told() -> JsonObject:
        found: JsonObject = json.loads(asyncio.run(health.reply()).body)["pack"]
        return found

    assert told()["name"] == "dlib"
    pin_pack(engine, replace(edge, name="far", files=edge.files[1:]))
    eventually(lambda: told() == {"name": "far", "calibration": "unknown"})
    service.close()
    engine.dispose()


# One process, its stages scripted ------------------------------------------------


def with_pack(runtime: Runtime, engine: Engine, info: PackInfo, *stages: Stage) -> Runtime:
    served = frozenset(stages) or runtime.served
    return replace(runtime, guard=PackGuard(engine, info), served=served)


def test_no_worker_goes_on_with_what_another_pack_made(
    queue: Queue, runtime: Runtime, script: Script, engine: Engine,
    packs: tuple[PackInfo, PackInfo],
) -> None:
    first, second = packs
    job = add(queue)
    run_jobs(message_of(job), with_pack(runtime, engine, first, *STAGES[:2]))
    waiting = queue.see(job)
    assert (waiting.stage, waiting.pack) == ("embed", first.digest)
    run_jobs(message_of(waiting), with_pack(runtime, engine, second, Stage.EMBED))
    back = queue.see(job)
    assert (back.state, back.stage, back.attempts) == (JobState.QUEUED, "decode", 0)
    run_jobs(message_of(back), with_pack(runtime, engine, second))
    done = queue.see(job)
    assert (done.state, done.pack) == (JobState.DONE, second.digest)
    assert [step["stage"] for step in done.trace] == [
        "decode", "detect", "decode", "detect", "embed"
    ]


def test_a_value_in_redis_says_which_pack_made_it(
    queue: Queue, runtime: Runtime, script: Script, engine: Engine,
    packs: tuple[PackInfo, PackInfo],
) -> None:
    """A slow worker of another pack, which has lost the job, writes its value last."""
    first, second = packs
    job, other = add(queue), add(queue)
    run_jobs(message_of(job), with_pack(runtime, engine, second, *STAGES[:2]))
    run_jobs(message_of(other), with_pack(runtime, engine, first, *STAGES[:2]))
    context, _ = runtime.intermediates.get(other.id, "embed")
    runtime.intermediates.put(job.id, "embed", context)
    run_jobs(message_of(queue.see(job)), with_pack(runtime, engine, second, Stage.EMBED))
    assert (queue.see(job).state, queue.see(job).stage) == (JobState.QUEUED, "decode")


def test_a_worker_without_models_or_of_an_older_version_fits_all(
    queue: Queue, runtime: Runtime, script: Script, engine: Engine,
    packs: tuple[PackInfo, PackInfo],
) -> None:
    job = add(queue)
    run_jobs(message_of(job), replace(runtime, served=frozenset(STAGES[:2])))
    assert queue.see(job).pack is None
    run_jobs(message_of(queue.see(job)), with_pack(runtime, engine, packs[0], Stage.EMBED))
    assert queue.see(job).state is JobState.DONE


def test_a_pack_that_changes_during_a_job_ends_it_not(
    queue: Queue, runtime: Runtime, script: Script, engine: Engine,
    packs: tuple[PackInfo, PackInfo],
) -> None:
    first, second = packs
    confirm_pack(first, engine)
    job = add(queue)
    here = with_pack(runtime, engine, first)

    def change(_: object) -> None:
        pin_pack(engine, second)
        assert here.guard is not None
        here.guard.look()

    script.acts[Stage.EMBED] = change
    run_jobs(message_of(job), here)
    back = queue.see(job)
    assert (back.state, back.attempts, back.result) == (JobState.QUEUED, 0, None)
    assert back.error is not None
    assert back.error["code"] == WrongPack.code


@pytest.mark.parametrize(
    "error", [PackMissing("gone"), PackDamaged("cut"), ProviderUnavailable(), WrongPack("other")]
)
def test_a_fault_of_the_machine_never_ends_a_job(
    queue: Queue, runtime: Runtime, script: Script, error: FaceError
) -> None:
    job = add(queue)
    script.acts[Stage.DETECT] = raising(error)
    for _ in range(6):
        queue.clock.forward(runtime.settings.retry_for_s)
        run_jobs(message_of(queue.see(job)), runtime)
        waiting = queue.see(job)
        assert (waiting.state, waiting.attempts) == (JobState.QUEUED, 0)
        assert waiting.error is not None
        assert waiting.error["code"] == error.code
        assert math.isfinite(waiting.error.get("since", 0.0))
    script.acts.clear()
    queue.clock.forward(3600)
    run_jobs(message_of(queue.see(job)), runtime)
    assert queue.see(job).state is JobState.DONE
