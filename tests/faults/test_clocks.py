"""Processes whose clocks are wrong harm nobody: what is stored goes by the database's time."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from pipeline import storage_keys
from pipeline.database.clock import database_time
from pipeline.database.engine import read_values, writing
from pipeline.database.schema import jobs, signed_requests
from pipeline.deployment.processes import ProcessTable, Role
from pipeline.jobs.model import JobState
from pipeline.operations import Stage
from tests.cluster import Cluster
from tests.databases import BACKENDS, LAST_DATABASE, ONE_DATABASE
from tests.integration.test_workers import exit_code
from tests.programs import find_faketime
from tests.stack import MakeCluster
from tests.waiting import eventually

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return (test_data / "photos" / "biden.jpg").read_bytes()


def shifted(seconds: float) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds ahead."""
    return {
        "LD_PRELOAD": str(find_faketime()), "FAKETIME": f"{seconds:+g}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1",
    }


@pytest.fixture
def server_cluster(make_cluster: MakeCluster, backend: str) -> Cluster:
    """A cluster whose database is a server, with a clock of its own."""
    if backend == "sqlite":
        assert BACKENDS == ("sqlite",)
        pytest.skip("SQLite has the clock of each process")
    return make_cluster(lease_s=20.0)


def offset_of(cluster: Cluster, role: Role) -> float:
    """Seconds by which the clock of the process with this role is ahead; 0 before it is seen."""
    found = [each for each in ProcessTable(cluster.engine).alive() if each.role is role]
    return found[0].clock_offset if found else 0.0


def hold(cluster: Cluster, lease_s: float) -> str:
    """The id of a job that a worker, which nobody sees, has claimed for ``lease_s`` seconds."""
    job = cluster.submit("locate", b"picture", ring=False)
    claim = cluster.jobs.claim(job, Stage.DECODE, "elsewhere:1", lease_s, 3)
    assert claim is not None
    return job


@LAST_DATABASE
def test_upkeep_a_minute_ahead_takes_nobody_for_dead(server_cluster: Cluster) -> None:
    cluster = server_cluster
    healthy, dead = hold(cluster, 45.0), hold(cluster, 0.001)
    with cluster.upkeep(environment=shifted(60)):
        eventually(lambda: offset_of(cluster, Role.UPKEEP) > 50, cluster.logs())
        eventually(lambda: cluster.job(dead).state is JobState.QUEUED, cluster.logs())
        found = cluster.job(healthy)
    assert (found.state, found.worker, found.attempts) == (JobState.RUNNING, "elsewhere:1", 1)
    assert "clock of the database is 60 s behind" in cluster.logs()


@LAST_DATABASE
def test_upkeep_a_day_ahead_deletes_nothing_too_early(server_cluster: Cluster) -> None:
    """Results, pictures and signed requests that are seconds old."""
    cluster = server_cluster
    old, fresh = (cluster.submit("locate", b"picture", ring=False) for _ in range(2))
    now = database_time(cluster.engine)
    media = storage_keys.transient_media(
        cluster.tenant, "0" * 32, cluster.media.name(cluster.tenant, b"upload"), now
    )
    cluster.media.put(media, b"upload")
    with writing(cluster.engine) as connection:
        for job, ago_s in ((old, 30 * HOUR_S), (fresh, 1.0)):
            connection.execute(
                update(jobs).where(jobs.c.id == job)
                .values(state=JobState.DONE.value, finished_at=now - ago_s)
            )
        for digest, until in (("past", now - 1), ("known", now + HOUR_S)):
            connection.execute(
                insert(signed_requests)
                .values(tenant_id=cluster.tenant, digest=digest, expires_at=until)
            )
    with cluster.upkeep(environment=shifted(25 * HOUR_S)):
        eventually(
            lambda: read_values(cluster.engine, select(signed_requests.c.digest)) == ["known"],
            cluster.logs(),
        )
        eventually(lambda: offset_of(cluster, Role.UPKEEP) > 24 * HOUR_S, cluster.logs())
    assert cluster.jobs.read.find(old) is None
    assert cluster.job(fresh).state is JobState.DONE
    assert cluster.media.get(media) == b"upload"


@LAST_DATABASE
def test_a_worker_whose_clock_is_wrong_works(server_cluster: Cluster, photo: bytes) -> None:
    """Behind, its leases would have run out before they began; ahead, nobody would free them."""
    cluster = server_cluster
    began = time.time()
    with cluster.upkeep():
        for shift in (-25 * HOUR_S, 25 * HOUR_S):
            with cluster.worker(concurrency=1, environment=shifted(shift)):
                (job,) = cluster.wait([cluster.submit("locate", photo)])
            assert (job.state, job.attempts) == (JobState.DONE, 1)
            assert job.finished_at is not None
            assert began - 60 < job.finished_at < time.time() + 60


@ONE_DATABASE
@pytest.mark.parametrize("seconds", [60.0, -60.0])
def test_without_a_server_a_process_with_another_time_does_not_start(
    make_cluster: MakeCluster, backend: str, seconds: float
) -> None:
    """There is one machine and one time, Redis's; the message says what to do."""
    if backend != "sqlite":
        pytest.skip("the database is a server")
    cluster = make_cluster()
    healthy = hold(cluster, 30.0)
    for process in (
        cluster.upkeep(environment=shifted(seconds)),
        cluster.worker(environment=shifted(seconds)),
    ):
        with process:
            assert exit_code(process, 180.0) == 2
    assert "Set both clocks by NTP" in cluster.logs()
    assert cluster.job(healthy).state is JobState.RUNNING
