"""PostgreSQL dies in the middle of work and comes back."""

from __future__ import annotations

import contextlib
import time
from collections import Counter

import pytest

from pipeline.errors import DatabaseUnavailable
from pipeline.jobs.model import JobState
from tests.servers import PostgresServer
from tests.stack import MakeYard
from tests.yard import Yard

JOBS = 300
AWAY_S = 3.0

pytestmark = pytest.mark.heavy


def wait_done(yard: Yard, count: int) -> None:
    """As the shim does: a database that is away is asked again."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with contextlib.suppress(DatabaseUnavailable):
            if yard.jobs.counts().get("done", 0) >= count:
                return
        time.sleep(0.05)
    raise AssertionError(f"{yard.jobs.counts()}\n{yard.logs()}")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_postgres_killed_and_restarted(
    make_yard: MakeYard, tiny_pictures: list[bytes], postgres_server: PostgresServer
) -> None:
    yard = make_yard()
    ids = [yard.submit("locate", tiny_pictures[number % 8]) for number in range(JOBS)]
    with yard.worker() as worker, yard.upkeep() as upkeep:
        wait_done(yard, JOBS // 6)
        postgres_server.kill()
        try:
            time.sleep(AWAY_S)
        finally:
            postgres_server.start()
        wait_done(yard, JOBS)
        assert worker.alive
        assert upkeep.alive
    jobs = [yard.job(job_id) for job_id in ids]
    assert Counter(job.state for job in jobs) == {JobState.DONE: JOBS}
    assert all(job.result is not None and len(job.trace) == 2 for job in jobs)
    assert all(job.lease_until is None for job in jobs)
