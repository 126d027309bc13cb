"""Two index processes, one truth: a request sees the changes of the one before, whichever
process answers it, and one process answers the requests of the other when that is killed."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from pipeline.gallery.faces import FaceStore
from pipeline.jobs.model import Job, JobState
from pipeline.operations import EnrolParams, SearchParams
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

pytestmark = pytest.mark.heavy

ROUNDS = {"sqlite": 300, "postgresql": 50}
SEARCHES = 1000
KILLS = 6


@pytest.fixture
def cluster(make_cluster: MakeCluster) -> Iterator[Cluster]:
    # One detector size is enough for pictures that are all face.
    cluster = make_cluster(detection_sizes="128")
    with cluster.upkeep(), cluster.worker(concurrency=2):
        yield cluster


@pytest.fixture(scope="module")
def pictures(test_data: Path) -> list[bytes]:
    """A picture each of many people, of which a detector sees exactly one face."""
    files = sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))
    return [file.read_bytes() for file in files[: 2 * max(ROUNDS.values())]]


def run(
    cluster: Cluster, operation: str, picture: bytes, params: EnrolParams | SearchParams
) -> Job:
    """One job, followed by its own row: others may be under way."""
    job_id = cluster.submit(operation, picture, params=params)
    until = time.monotonic() + TIMEOUT_S
    while not (job := cluster.job(job_id)).ended:
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.005)
    return job


def found(job: Job) -> list[int]:
    assert job.state is JobState.DONE, job.error
    assert job.result is not None
    return [hit["id"] for hit in job.result["hits"]]


def test_read_your_writes(cluster: Cluster, pictures: list[bytes]) -> None:
    """A face is found by the search right after its enrolment, by none after its deletion."""
    faces = FaceStore(cluster.engine, cluster.media)
    rounds = ROUNDS[cluster.engine.dialect.name]
    seen = missed = lingered = 0
    answered: Counter[tuple[str, str]] = Counter()
    with cluster.index(), cluster.index():
        for picture in pictures:
            if seen == rounds:
                break
            enrolled = run(cluster, "enrol", picture, EnrolParams(faces="largest"))
            if enrolled.error_code == "no_face":
                continue
            assert enrolled.result is not None, enrolled.error
            (face,) = enrolled.result["faces"]
            # Replicas take turns: three searches a round let each see either change.
            for _ in range(2):
                search = run(cluster, "search", picture, SearchParams(k=3))
                missed += face["id"] not in found(search)
                answered["enrol", search.trace[-1]["worker"]] += 1
            faces.delete(cluster.tenant, face["id"])
            search = run(cluster, "search", picture, SearchParams(k=3))
            lingered += face["id"] in found(search)
            answered["delete", search.trace[-1]["worker"]] += 1
            seen += 1
    assert (seen, missed, lingered) == (rounds, 0, 0)
    assert len(answered) == 4, f"a replica answered next to nothing: {answered}"


@ONE_DATABASE
def test_killed_under_load(cluster: Cluster, pictures: list[bytes]) -> None:
    """SIGKILL and SIGTERM, in turn, of index processes, now one, now the other, while
    searches come in."""
    enrolled = [
        run(cluster, "enrol", picture, EnrolParams(faces="largest")) for picture in pictures[:30]
    ]
    known = [
        (picture, job.result["faces"][0]["id"])
        for picture, job in zip(pictures, enrolled, strict=False)
        if job.result is not None
    ]
    jobs = [
        (cluster.submit("search", picture, params=SearchParams(k=1)), face_id)
        for picture, face_id in islice(cycle(known), SEARCHES)
    ]
    chance = random.Random(5)
    with contextlib.ExitStack() as stack:
        index = [stack.enter_context(cluster.index()) for _ in range(2)]
        for number in range(KILLS):
            gone = chance.randrange(2)
            wait_serving(index[gone], cluster)
            wait_done(cluster, cluster.jobs.read.counts()["done"] + chance.randrange(1, 20))
            if number % 2:
                assert index[gone].stop() == 0
            else:
                index[gone].kill()
            index[gone] = stack.enter_context(cluster.index())
        done = cluster.jobs.read.counts()["done"]
        assert done < len(known) + SEARCHES, "the load had ended before"
        ended = cluster.wait([job_id for job_id, _ in jobs], 180)
    assert [found(job) for job in ended] == [[face_id] for _, face_id in jobs]


def wait_serving(process: Process, cluster: Cluster) -> None:
    until = time.monotonic() + TIMEOUT_S
    while "serves index" not in process.log.read_text():
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.02)


def wait_done(cluster: Cluster, count: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while cluster.jobs.read.counts()["done"] < count:
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.005)
