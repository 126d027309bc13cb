"""No accepted job is lost or done twice when workers die and when Redis dies, is wiped or
hangs.

Each run submits while the faults happen. A fault strikes once a number of jobs, drawn
beforehand, has ended, and once there is something for it to hit: no clock decides what is
tested.
"""

from __future__ import annotations

import os
import random
import signal
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
LOST = 200  # jobs whose messages are wiped before a worker is there

# Seconds for anything here on a machine that is busy with other work.
WITHIN_S = 300.0

pytestmark = pytest.mark.heavy


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
    """One worker group, restarted after each death as by a supervisor."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._process = self._start()

    def _start(self) -> Process:
        # Only the stages that the jobs need: a new group starts sooner.
        return self._cluster.worker("decode,detect")

    def kill(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Kill it while it holds a job, and start it again."""
        assert self._process.alive
        until = time.monotonic() + WITHIN_S
        # Stopped, it can neither claim nor end a job between the look and the kill.
        while not self._stopped_in_a_job():
            os.killpg(self._process.pid, signal.SIGCONT)
            assert time.monotonic() < until, "no job is running"
            time.sleep(0.02)
        self._process.kill()
        meanwhile()
        self._process = self._start()

    def _stopped_in_a_job(self) -> bool:
        os.killpg(self._process.pid, signal.SIGSTOP)
        return self._cluster.jobs.read.counts().get("running", 0) > 0

    def close(self) -> None:
        self._process.kill()


@pytest.fixture
def group(cluster: Cluster) -> Iterator[Group]:
    group = Group(cluster)
    yield group
    group.close()


def done(cluster: Cluster) -> int:
    return cluster.jobs.read.counts().get("done", 0)


def wait_done(cluster: Cluster, count: int) -> None:
    until = time.monotonic() + WITHIN_S
    while done(cluster) < count:
        assert time.monotonic() < until, f"stuck at {cluster.jobs.read.counts()}\n{cluster.logs()}"
        time.sleep(0.02)


def strike(
    cluster: Cluster, pictures: list[bytes], faults: Sequence[tuple[int, Callable[[], None]]]
) -> list[str]:
    """Submit all jobs; each fault strikes when its number of jobs has ended. The ids
    of the accepted jobs, which have all ended."""
    submitter = Submitter(cluster, pictures, JOBS)
    submitter.start()
    for count, fault in sorted(faults, key=lambda pair: pair[0]):
        wait_done(cluster, count)
        fault()
    submitter.join(WITHIN_S)
    assert not submitter.is_alive()
    cluster.wait(submitter.accepted, WITHIN_S)
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

        # Once with a backlog that is lost, once while the workers run.
        faults = [(JOBS // 3, lambda: group.kill(restart_full)), (JOBS // 2, restart)]
        accepted = strike(cluster, tiny_pictures, [*kills(group, seed=3), *faults])
        check_nothing_lost(journal, accepted)


@ONE_DATABASE
def test_redis_frozen(
    cluster: Cluster, journal: Journal, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    """Every connection stays open and nothing answers for ten seconds."""
    with cluster.upkeep():
        submitter = Submitter(cluster, tiny_pictures, BACKLOG)
        submitter.start()
        wait_done(cluster, 50)
        redis_server.freeze()
        time.sleep(10)
        redis_server.thaw()
        submitter.join(WITHIN_S)
        assert not submitter.is_alive()
        cluster.wait(submitter.accepted, WITHIN_S)
        check_nothing_lost(journal, submitter.accepted)


def wait_messages(cluster: Cluster, count: int) -> None:
    """Wait until there are messages to lose."""
    until = time.monotonic() + WITHIN_S
    while cluster.dispatcher.depth("decode") < count:
        assert time.monotonic() < until, "the backlog does not grow"
        time.sleep(0.02)


@ONE_DATABASE
def test_loss_can_be_seen(
    cluster: Cluster, journal: Journal, redis_server: RedisServer, tiny_pictures: list[bytes]
) -> None:
    """Without the reconciler a wiped Redis loses jobs; with it they come back."""
    picture = tiny_pictures[0]
    lost = [cluster.submit("locate", picture) for _ in range(LOST)]
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    with cluster.worker("decode,detect"):
        # Messages are taken in order: once this one is through, no earlier one is left.
        later = cluster.submit("locate", picture)
        wait_done(cluster, 1)
        assert cluster.job(later).ended
        assert cluster.jobs.upkeep.count_waiting("decode") == LOST
        with cluster.upkeep():
            accepted = [*lost, later]
            cluster.wait(accepted, WITHIN_S)
            check_nothing_lost(journal, accepted)
