"""Chunks of batches whose workers die, hang or lose their servers: every item ends once, and
every enrolled picture has one record."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.batches.model import Batch, BatchState, ItemState
from tests.batch_feeder import Feeder
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.faults.faulty_decoder import MARK
from tests.faults.records import check_one_record_each
from tests.servers import PostgresServer, RedisServer
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

FAULTY = "tests.faults.faulty_worker"

PEOPLE = 80
AGAIN = 10  # pictures that are in the batch a second time
KILLS = 3


@pytest.fixture(scope="module")
def people(test_data: Path) -> list[bytes]:
    """Pictures of one face each."""
    files = sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))[:PEOPLE]
    return [file.read_bytes() for file in files]


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Cluster:
    return make_cluster(detection_sizes="128", lease_s=2.0, max_attempts=50)


def faulty(cluster: Cluster, fault: str, **settings: object) -> Process:
    environment = {"FAULT": fault, "FAULT_PLACE": "bulk"}
    return cluster.worker(
        stages="bulk", module=FAULTY, environment=environment, concurrency=1, **settings
    )


def check_ended(feeder: Feeder, batch: Batch, items: int) -> Counter[ItemState]:
    """All items have ended, as the counters of the batch say; the gallery has one record
    of each picture that was enrolled."""
    ended = feeder.items(batch)
    found = feeder.store.get(None, batch.id)
    states = Counter(item.state for item in ended)
    assert found.state is BatchState.DONE
    assert len(ended) == found.items == items
    assert (found.enrolled, found.duplicate, found.rejected, found.waiting) == (
        states[ItemState.ENROLLED], states[ItemState.DUPLICATE], states[ItemState.REJECTED], 0
    )
    enrolled = [item.sha256 for item in ended if item.state is ItemState.ENROLLED]
    assert len(set(enrolled)) == len(enrolled), "a picture was enrolled twice"
    check_one_record_each(feeder.cluster, set(enrolled))
    return states


@ONE_DATABASE
def test_a_picture_that_kills_its_process(
    make_cluster: MakeCluster, people: list[bytes]
) -> None:
    # With this lease only the parent of the dead process can be so quick.
    cluster = make_cluster(lease_s=600.0, max_attempts=2)
    feeder = Feeder(cluster)
    pictures = [*people[:5], people[5] + MARK, *people[6:12]]
    with faulty(cluster, "kill_process", bulk_nice=0), cluster.upkeep():
        batch = feeder.wait(feeder.feed(pictures, chunk=6))
    states = check_ended(feeder, batch, len(pictures))
    poison = feeder.items(batch)[5]
    assert (poison.state, poison.reason) == (ItemState.REJECTED, "job_crashed")
    others = [item for item in feeder.items(batch) if item.number != poison.number]
    assert {item.reason for item in others} <= {"", "no_face"}
    assert states[ItemState.ENROLLED] > 0


@ONE_DATABASE
def test_a_picture_that_hangs_every_worker(make_cluster: MakeCluster, people: list[bytes]) -> None:
    cluster = make_cluster()
    feeder = Feeder(cluster)
    # The limit includes opening the models at the first job, which a busy machine slows down.
    with faulty(cluster, "hang", bulk_time_limit_s=10.0, bulk_nice=0), cluster.upkeep():
        batch = feeder.wait(feeder.feed([people[0], people[1] + MARK], chunk=2), 240.0)
    check_ended(feeder, batch, 2)
    assert feeder.items(batch)[1].reason == "job_timed_out"


@pytest.mark.heavy
@ONE_DATABASE
def test_workers_and_redis_are_killed(
    cluster: Cluster, redis_server: RedisServer, people: list[bytes]
) -> None:
    chance = random.Random(12)
    feeder = Feeder(cluster)
    pictures = people + people[:AGAIN]
    chance.shuffle(pictures)
    with cluster.upkeep():
        batch = feeder.feed(pictures, chunk=4)
        for _ in range(KILLS):
            with cluster.worker(stages="bulk"):
                wait_for_more(feeder, batch, chance.randrange(1, 12))
                redis_server.kill()
                redis_server.start()
        with cluster.worker(stages="bulk"):
            feeder.wait(batch)
    states = check_ended(feeder, batch, len(pictures))
    assert states[ItemState.DUPLICATE] >= AGAIN - states[ItemState.REJECTED]


@pytest.mark.heavy
@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_database_is_away(
    cluster: Cluster, postgres_server: PostgresServer, people: list[bytes]
) -> None:
    feeder = Feeder(cluster)
    batch = feeder.feed(people, chunk=4)
    with ExitStack() as stack:
        processes = [stack.enter_context(each) for each in (cluster.worker(stages="bulk"),
                                                           cluster.upkeep())]
        wait_for_more(feeder, batch, 8)
        postgres_server.kill()
        try:
            time.sleep(1.0)
        finally:
            postgres_server.start()
        until = time.monotonic() + TIMEOUT_S
        while not feeder.store.get(None, batch.id).ended:
            assert time.monotonic() < until, cluster.logs()
            time.sleep(0.1)
        assert all(process.alive for process in processes)
    check_ended(feeder, batch, len(people))


def wait_for_more(feeder: Feeder, batch: Batch, more: int) -> None:
    """Wait until ``more`` items have ended, or all."""
    first = feeder.store.get(None, batch.id)
    until = time.monotonic() + TIMEOUT_S
    while (now := feeder.store.get(None, batch.id)).waiting > max(first.waiting - more, 0):
        assert time.monotonic() < until, (now, feeder.cluster.logs())
        time.sleep(0.01)
