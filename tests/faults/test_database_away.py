"""PostgreSQL dies in the middle of work and comes back."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import pytest

from pipeline.errors import DatabaseUnavailable
from pipeline.jobs.model import JobState
from tests.cluster import Cluster
from tests.servers import PostgresServer
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

JOBS = 300
AWAY_S = 3.0

pytestmark = pytest.mark.heavy


def wait_done(cluster: Cluster, count: int) -> None:
    """Wait for a job; asks again while the database is away, like the shim."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        with contextlib.suppress(DatabaseUnavailable):
            if cluster.jobs.read.counts().get("done", 0) >= count:
                return
        time.sleep(0.05)
    raise AssertionError(f"{cluster.jobs.read.counts()}\n{cluster.logs()}")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_postgres_killed_and_restarted(
    make_cluster: MakeCluster, tiny_pictures: list[bytes], postgres_server: PostgresServer
) -> None:
    cluster = make_cluster()
    ids = [cluster.submit("locate", tiny_pictures[number % 8]) for number in range(JOBS)]
    with cluster.worker() as worker, cluster.upkeep() as upkeep:
        wait_done(cluster, JOBS // 6)
        postgres_server.kill()
        try:
            time.sleep(AWAY_S)
        finally:
            postgres_server.start()
        wait_done(cluster, JOBS)
        assert worker.alive
        assert upkeep.alive
    jobs = [cluster.job(job_id) for job_id in ids]
    assert Counter(job.state for job in jobs) == {JobState.DONE: JOBS}
    assert all(job.result is not None and len(job.trace) == 2 for job in jobs)
    assert all(job.lease_until is None for job in jobs)
