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

from tests.databases import LAST_DATABASE, ONE_DATABASE
from tests.faults.conftest import open_ledger
from tests.faults.ledger import Ledger, check_nothing_lost
from tests.servers import RedisServer
from tests.stack import MakeYard
from tests.yard import Process, Yard

JOBS = 2000
KILLS = 10
BACKLOG = 600  # jobs in flight: enough that a wiped Redis loses hundreds of messages

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(600)]


@pytest.fixture
def yard(make_yard: MakeYard) -> Yard:
    # A job may be hit by every kill and must live.
    return make_yard(max_attempts=KILLS + 1)


@pytest.fixture
def ledger(yard: Yard) -> Ledger:
    return open_ledger(yard)


class Submitter(threading.Thread):
    """Submits jobs as fast as they are done, a backlog ahead."""

    def __init__(self, yard: Yard, pictures: list[bytes], jobs: int) -> None:
        super().__init__(daemon=True)
        self.accepted: list[str] = []
        self._yard = yard
        self._pictures = pictures
        self._jobs = jobs

    def run(self) -> None:
        while len(self.accepted) < self._jobs:
            if len(self.accepted) - done(self._yard) > BACKLOG:
                time.sleep(0.05)
                continue
            for picture in self._pictures:
                self.accepted.append(self._yard.submit("locate", picture))


class Group:
    """One worker group that is there again after each death, as a supervisor does it."""

    def __init__(self, yard: Yard) -> None:
        self._yard = yard
        self._process = self._start()

    def _start(self) -> Process:
        # What the jobs need: a new group is there the sooner.
        return self._yard.worker("decode,detect")

    def kill(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        assert self._process.alive
        self._process.kill()
        meanwhile()
        self._process = self._start()

    def close(self) -> None:
        self._process.kill()


@pytest.fixture
def group(yard: Yard) -> Iterator[Group]:
    group = Group(yard)
    yield group
    group.close()


def done(yard: Yard) -> int:
    return yard.jobs.counts().get("done", 0)


def wait_done(yard: Yard, count: int, within_s: float = 120.0) -> None:
    until = time.monotonic() + within_s
    while done(yard) < count:
        assert time.monotonic() < until, f"stuck at {yard.jobs.counts()}\n{yard.logs()}"
        time.sleep(0.02)


def strike(
    yard: Yard, pictures: list[bytes], faults: Sequence[tuple[int, Callable[[], None]]]
) -> list[str]:
    """Submit all jobs; each fault strikes when its number of jobs is through. The ids
    of the accepted jobs, which have all ended."""
    submitter = Submitter(yard, pictures, JOBS)
    submitter.start()
    for count, fault in sorted(faults, key=lambda pair: pair[0]):
        wait_done(yard, count)
        fault()
    submitter.join(300)
    assert not submitter.is_alive()
    yard.wait(submitter.accepted, 120)
    return submitter.accepted


def kills(group: Group, seed: int) -> list[tuple[int, Callable[[], None]]]:
    counts = random.Random(seed).sample(range(20, JOBS - BACKLOG), KILLS)
    return [(count, group.kill) for count in counts]


@ONE_DATABASE
def test_workers_killed(
    yard: Yard, ledger: Ledger, group: Group, tiny_pictures: list[bytes]
) -> None:
    with yard.upkeep():
        accepted = strike(yard, tiny_pictures, kills(group, seed=1))
        check_nothing_lost(ledger, accepted)
    assert len(accepted) == JOBS
    assert ledger.returned() > 0, "no kill hit a running job"


@ONE_DATABASE
def test_workers_killed_and_redis_wiped(
    yard: Yard, ledger: Ledger, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    with yard.upkeep(), redis.Redis.from_url(redis_server.url) as client:

        def wipe() -> None:
            wait_messages(yard, 100)
            client.flushall()

        fault = JOBS // 2, lambda: group.kill(wipe)
        accepted = strike(yard, tiny_pictures, [*kills(group, seed=2), fault])
        check_nothing_lost(ledger, accepted)


@LAST_DATABASE
def test_workers_and_redis_killed(
    yard: Yard, ledger: Ledger, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    with yard.upkeep():

        def restart() -> None:
            redis_server.kill()
            redis_server.start()

        def restart_full() -> None:
            wait_messages(yard, 100)
            restart()

        # Once with a backlog that is lost, once under the hands of the workers.
        faults = [(JOBS // 3, lambda: group.kill(restart_full)), (JOBS // 2, restart)]
        accepted = strike(yard, tiny_pictures, [*kills(group, seed=3), *faults])
        check_nothing_lost(ledger, accepted)


@ONE_DATABASE
def test_redis_frozen(
    yard: Yard, ledger: Ledger, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    """Row 7: every connection stays open and nothing answers for ten seconds."""
    with yard.upkeep():
        submitter = Submitter(yard, tiny_pictures, BACKLOG)
        submitter.start()
        wait_done(yard, 50)
        redis_server.freeze()
        time.sleep(10)
        redis_server.thaw()
        submitter.join(60)
        yard.wait(submitter.accepted)
        check_nothing_lost(ledger, submitter.accepted)


def wait_messages(yard: Yard, count: int) -> None:
    """Until there are messages to lose."""
    until = time.monotonic() + 30
    while yard.dispatcher.depth("decode") < count:
        assert time.monotonic() < until, "the backlog does not grow"
        time.sleep(0.02)


@ONE_DATABASE
def test_loss_can_be_seen(
    yard: Yard, ledger: Ledger, group: Group, redis_server: RedisServer,
    tiny_pictures: list[bytes],
) -> None:
    """Without the reconciler a wiped Redis loses jobs; with it they come back."""
    with redis.Redis.from_url(redis_server.url) as client:
        submitter = Submitter(yard, tiny_pictures, BACKLOG)
        submitter.start()
        submitter.join(60)
        client.flushall()
        wait_quiet(yard)
    lost = yard.jobs.waiting("decode")
    assert lost > 100
    with yard.upkeep():
        yard.wait(submitter.accepted)
        check_nothing_lost(ledger, submitter.accepted)


def wait_quiet(yard: Yard) -> None:
    """Until the workers have nothing more to do: no message, no running job, and no
    change for two seconds."""
    last, since = -1, time.monotonic()
    until = time.monotonic() + 60
    while time.monotonic() < until:
        through = done(yard)
        busy = yard.dispatcher.depth("decode") + yard.jobs.counts().get("running", 0)
        if busy or through != last:
            last, since = through, time.monotonic()
        elif time.monotonic() - since > 2:
            return
        time.sleep(0.1)
    raise AssertionError(f"the workers did not come to rest\n{yard.logs()}")
