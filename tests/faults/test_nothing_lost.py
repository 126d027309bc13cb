"""Row 1, 5 and 6 of the table of faults: dying workers, a dying and a wiped Redis.

Each run submits while the faults happen, and each fault strikes when a number of jobs
drawn beforehand is through, so that no clock decides what is tested.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import redis

from tests.cluster import Cluster, Process
from tests.databases import LAST_DATABASE, ONE_DATABASE
from tests.faults.conftest import open_journal
from tests.faults.journal import Journal, check_nothing_lost
from tests.servers import RedisServer
from tests.stack import MakeCluster

JOBS = 2000
KILLS = 10
BACKLOG = 600  # jobs in flight: enough that a wiped Redis loses hundreds of messages

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    # A job may be hit by every kill and must live.
    return make_cluster(max_attempts=KILLS + 1)


@pytest.fixture
def journal(cluster: Cluster) -> Journal:
    return open_journal(cluster)


class Submitter(threading.Thread):
    """Submits jobs as fast as they are done, a backlog ahead."""

    def __init__(self, cluster: Cluster, pictures: list[bytes], jobs: int) -> None:
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self._cluster = cluster
        self._pictures = pictures
        self._jobs = jobs

    def run(self) -> None:
        while len(self.accepted) < self._jobs:
            if len(self.accepted) - done(self._cluster) > BACKLOG:
                time.sleep(0.05)
                continue
            for picture in self._pictures:
                self.accepted.append(self._cluster.submit("locate", picture))


class Group:
    """One worker group that is there again after each death, as a supervisor does it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._process = self._start()

    def _start(self) -> Process:
        # What the jobs need: a new group is there the sooner.
        return self._cluster.worker("decode,detect")

    def kill(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        assert self._process.alive
        self._process.kill()
        meanwhile()
        self._process = self._start()

    def close(self) -> None:
        self._process.kill()


@pytest.fixture
def group(cluster: Cluster) -> Iterator[Group]:
    group = Group(cluster)
    yield group
    group.close()


def done(cluster: Cluster) -> int:
    return cluster.jobs.counts().get("done", 0)


def wait_done(cluster: Cluster, count: int, within_s: float = 120.0) -> None:
    until = time.monotonic() + within_s
    while done(cluster) < count:
        assert time.monotonic() < until, f"stuck at {cluster.jobs.counts()}\n{cluster.logs()}"
        time.sleep(0.02)


def strike(
    cluster: Cluster, pictures: list[bytes], faults: Sequence[tuple[int, Callable[[], None]]]
) -> list[str]:
    """Submit all jobs; each fault strikes when its number of jobs is through. The ids
    of the accepted jobs, which have all ended."""
    submitter = Submitter(cluster, pictures, JOBS)
    submitter.start()
    for count, fault in sorted(faults, key=lambda pair: pair[0]):
        wait_done(cluster, count)
        fault()
    submitter.join(300)
    assert not submitter.is_alive()
    cluster.wait(submitter.accepted, 120)
    return submitter.accepted


def kills(group: Group, seed: int) -> list[tuple[int, Callable[[], None]]]:
    counts = random.Random(seed).sample(range(20, JOBS - BACKLOG), KILLS)
    return [(count, group.kill) for count in counts]


@ONE_DATABASE
def test_workers_killed(
    cluster: Cluster, journal: Journal, group: Group, tiny_pictures: list[bytes]
) -> None:
    with cluster.upkeep():
        accepted = strike(cluster, tiny_pictures, kills(group, seed=1))
        check_nothing_lost(journal, accepted)
    assert len(accepted) == JOBS
    assert journal.returned() > 0, "no kill hit a running job"


@ONE_DATABASE
def test_workers_killed_and_redis_wiped(
    cluster: Cluster, journal: Journal, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    with cluster.upkeep(), redis.Redis.from_url(redis_server.url) as client:

        def wipe() -> None:
            wait_messages(cluster, 100)
            client.flushall()

        fault = JOBS // 2, lambda: group.kill(wipe)
        accepted = strike(cluster, tiny_pictures, [*kills(group, seed=2), fault])
        check_nothing_lost(journal, accepted)


@LAST_DATABASE
def test_workers_and_redis_killed(
    cluster: Cluster, journal: Journal, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    with cluster.upkeep():

        def restart() -> None:
            redis_server.kill()
            redis_server.start()

        def restart_full() -> None:
            wait_messages(cluster, 100)
            restart()

        # Once with a backlog that is lost, once under the hands of the workers.
        faults = [(JOBS // 3, lambda: group.kill(restart_full)), (JOBS // 2, restart)]
        accepted = strike(cluster, tiny_pictures, [*kills(group, seed=3), *faults])
        check_nothing_lost(journal, accepted)


@ONE_DATABASE
def test_redis_frozen(
    cluster: Cluster, journal: Journal, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    """Row 7: every connection stays open and nothing answers for ten seconds."""
    with cluster.upkeep():
        submitter = Submitter(cluster, tiny_pictures, BACKLOG)
        submitter.start()
        wait_done(cluster, 50)
        redis_server.freeze()
        time.sleep(10)
        redis_server.thaw()
        submitter.join(60)
        cluster.wait(submitter.accepted)
        check_nothing_lost(journal, submitter.accepted)


def wait_messages(cluster: Cluster, count: int) -> None:
    """Until there are messages to lose."""
    until = time.monotonic() + 30
    while cluster.dispatcher.depth("decode") < count:
        assert time.monotonic() < until, "the backlog does not grow"
        time.sleep(0.02)


@ONE_DATABASE
def test_loss_can_be_seen(
    cluster: Cluster, journal: Journal, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    """Without the reconciler a wiped Redis loses jobs; with it they come back."""
    with redis.Redis.from_url(redis_server.url) as client:
        submitter = Submitter(cluster, tiny_pictures, BACKLOG)
        submitter.start()
        submitter.join(60)
        client.flushall()
        wait_quiet(cluster)
    lost = cluster.jobs.waiting("decode")
    assert lost > 100
    with cluster.upkeep():
        cluster.wait(submitter.accepted)
        check_nothing_lost(journal, submitter.accepted)


def wait_quiet(cluster: Cluster) -> None:
    """Until the workers have nothing more to do: no message, no running job, and no
    change for two seconds."""
    last, since = -1, time.monotonic()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        through = done(cluster)
        busy = cluster.dispatcher.depth("decode") + cluster.jobs.counts().get("running", 0)
        if busy or through != last:
            last, since = through, time.monotonic()
        elif time.monotonic() - since > 2:
            return
        time.sleep(0.1)
    raise AssertionError(f"the workers did not come to rest\n{cluster.logs()}")
