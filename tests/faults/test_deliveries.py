"""Messages that come twice, too late or never: the claim decides, not the message."""

from __future__ import annotations

import time

import pytest

from pipeline.jobs.model import JobState
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_journal
from tests.faults.faulty_decoder import MARK
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

FAULTY = "tests.faults.faulty_worker"

pytestmark = pytest.mark.heavy


def impatient(cluster: Cluster, fault: str, place: str = "decode") -> Process:
    """A worker whose messages come back after two seconds without an answer."""
    environment = {
        "FAULT": fault, "FAULT_PLACE": place, "FAULT_VISIBILITY": "short",
        "FAULT_FILE": str(cluster.folder / "fault"),
    }
    return cluster.worker(module=FAULTY, environment=environment)


def deliveries(cluster: Cluster, job_id: str) -> int:
    return sum(
        line.count(f"delivered job={job_id}")
        for log in cluster.folder.glob("*.log")
        for line in log.read_text().splitlines()
    )


def wait_delivered(cluster: Cluster, job_id: str, times: int) -> None:
    until = time.monotonic() + TIMEOUT_S
    while deliveries(cluster, job_id) < times:
        assert time.monotonic() < until, cluster.logs()
        time.sleep(0.1)


@ONE_DATABASE
def test_job_outlives_lease_and_visibility(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    """The job takes eight seconds; its message comes back after two, and its lease
    would end after one and a half were it not renewed."""
    cluster = make_cluster(lease_s=1.5)
    journal = open_journal(cluster)
    with impatient(cluster, "slow"), impatient(cluster, "slow"), cluster.upkeep():
        slow = cluster.submit("locate", tiny_pictures[0] + MARK)
        job = cluster.wait([slow])[0]
        wait_delivered(cluster, slow, 2)
    assert (job.state, job.attempts, job.messages) == (JobState.DONE, 1, 1)
    assert journal.ends()[slow] == 1


def test_worker_dies_between_the_end_and_the_answer(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    """The end is committed, the message is not acknowledged: it is redelivered
    without effect."""
    cluster = make_cluster(lease_s=1.5)
    journal = open_journal(cluster)
    with impatient(cluster, "kill_group_once", "after_the_end") as first, cluster.upkeep():
        job_id = cluster.submit("locate", tiny_pictures[0])
        before = cluster.wait([job_id])[0]
        until = time.monotonic() + TIMEOUT_S
        while first.alive:
            assert time.monotonic() < until
            time.sleep(0.05)
        with impatient(cluster, "kill_group_once", "after_the_end"):
            wait_delivered(cluster, job_id, 2)
            other = cluster.submit("locate", tiny_pictures[1])
            assert cluster.wait([other])[0].state is JobState.DONE
    assert cluster.job(job_id) == before
    assert journal.ends()[job_id] == 1


@ONE_DATABASE
def test_never_sent(make_cluster: MakeCluster, tiny_pictures: list[bytes]) -> None:
    """The shim died between the row and the message."""
    cluster = make_cluster()
    journal = open_journal(cluster)
    with cluster.worker(), cluster.upkeep():
        jobs = [cluster.submit("locate", picture, ring=False) for picture in tiny_pictures]
        assert {job.state for job in cluster.wait(jobs)} == {JobState.DONE}
    assert all(journal.ends()[job_id] == 1 for job_id in jobs)
