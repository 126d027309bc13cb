"""Workers that die while they enrol: every accepted picture has one record, and every
object a row."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from pipeline import storage_keys
from pipeline.jobs.model import JobState
from pipeline.operations import EnrolParams
from tests.cluster import Cluster
from tests.databases import ONE_DATABASE
from tests.faults.records import check_one_record_each
from tests.stack import MakeCluster

pytestmark = pytest.mark.heavy

PEOPLE = 150
TWICE = 50  # of them are sent a second time, while the first is under way
KILLS = 6


@ONE_DATABASE
def test_killed_while_enrolling(
    make_cluster: MakeCluster, test_data: Path
) -> None:
    chance = random.Random(11)
    files = sorted((test_data / "lfw_aligned").rglob("*_0001.jpg"))[:PEOPLE]
    pictures = [file.read_bytes() for file in files]
    work = pictures + pictures[:TWICE]
    chance.shuffle(work)
    cluster = make_cluster(detection_sizes="128", lease_s=2.0, max_attempts=50)
    with cluster.upkeep():
        ids = [
            cluster.submit("enrol", picture, params=EnrolParams(faces="largest"))
            for picture in work
        ]
        for _ in range(KILLS):
            with cluster.worker() as worker:
                before = ended(cluster)
                while ended(cluster) < min(before + chance.randrange(1, 12), len(ids)):
                    assert worker.alive, cluster.logs()
                    time.sleep(0.01)
        with cluster.worker():
            jobs = cluster.wait(ids, 240)
        assert {job.error_code for job in jobs} <= {None, "no_face"}, cluster.logs()
        done = {job.media[0] for job in jobs if job.state is JobState.DONE}
        check_one_record_each(cluster, {storage_keys.media_hash(key) for key in done})


def ended(cluster: Cluster) -> int:
    counts = cluster.jobs.read.counts()
    return counts.get("done", 0) + counts.get("failed", 0)
