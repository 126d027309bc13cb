"""A job that kills its workers ends by itself, and harms no other."""

from __future__ import annotations

import time

import pytest

from pipeline.jobs.model import Job, JobState
from pipeline.jobs.timeline import JobEvent, timeline
from tests.cluster import Cluster, Process
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_journal
from tests.faults.faulty_decoder import MARK
from tests.faults.journal import Journal
from tests.stack import MakeCluster
from tests.waiting import TIMEOUT_S

NEIGHBOURS = 40
FAULTY = "tests.faults.faulty_worker"


def submit_around(cluster: Cluster, pictures: list[bytes]) -> tuple[str, list[str]]:
    """(the poisonous job, its neighbours before and after it)."""
    before = [cluster.submit("locate", pictures[index % 8]) for index in range(NEIGHBOURS // 2)]
    poison = cluster.submit("locate", pictures[0] + MARK)
    after = [cluster.submit("locate", pictures[index % 8]) for index in range(NEIGHBOURS // 2)]
    return poison, before + after


def faulty(cluster: Cluster, fault: str) -> Process:
    environment = {"FAULT": fault, "FAULT_FILE": str(cluster.folder / "fault")}
    return cluster.worker(module=FAULTY, environment=environment)


def check_ended_as_crashed(job: Job, attempts: int) -> None:
    assert (job.state, job.error_code) == (JobState.FAILED, "job_crashed")
    assert job.attempts == attempts
    assert job.result is None
    lost = [each for each in timeline(job, time.time()) if each.event is JobEvent.LOST]
    assert len(lost) == attempts
    assert len({each.worker for each in lost} - {""}) > 1


def check_neighbours(
    cluster: Cluster, journal: Journal, neighbours: list[str], *, killed: bool
) -> None:
    jobs = cluster.wait(neighbours)
    assert {job.state for job in jobs} == {JobState.DONE}
    assert all(journal.ends()[job.id] == 1 for job in jobs)
    if not killed:
        assert {job.attempts for job in jobs} == {1}


def test_poison_kills_its_process(make_cluster: MakeCluster, tiny_pictures: list[bytes]) -> None:
    # With this lease only the parent of the dead process can be so quick.
    cluster = make_cluster(lease_s=600.0, max_attempts=3)
    journal = open_journal(cluster)
    with faulty(cluster, "kill_process"), cluster.upkeep():
        poison, neighbours = submit_around(cluster, tiny_pictures)
        check_ended_as_crashed(cluster.wait([poison])[0], attempts=3)
        check_neighbours(cluster, journal, neighbours, killed=False)
        later = cluster.submit("locate", tiny_pictures[1])
        assert cluster.wait([later])[0].state is JobState.DONE
    assert journal.ends()[poison] == 1


@ONE_DATABASE
@pytest.mark.heavy
def test_poison_kills_the_whole_worker(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    cluster = make_cluster(lease_s=2.0, max_attempts=3)
    journal = open_journal(cluster)
    deaths = 0
    group = faulty(cluster, "kill_group")
    with cluster.upkeep():
        poison, neighbours = submit_around(cluster, tiny_pictures)
        until = time.monotonic() + TIMEOUT_S
        while not cluster.job(poison).ended:
            assert time.monotonic() < until, cluster.logs()
            if not group.alive:
                deaths += 1
                group = faulty(cluster, "kill_group")
            time.sleep(0.05)
        check_ended_as_crashed(cluster.job(poison), attempts=3)
        check_neighbours(cluster, journal, neighbours, killed=True)
    group.kill()
    assert deaths >= 3
    assert journal.ends()[poison] == 1


@ONE_DATABASE
def test_a_process_that_dies_once(make_cluster: MakeCluster, tiny_pictures: list[bytes]) -> None:
    cluster = make_cluster(lease_s=600.0, max_attempts=3)
    journal = open_journal(cluster)
    with faulty(cluster, "kill_process_once"), cluster.upkeep():
        victim, neighbours = submit_around(cluster, tiny_pictures)
        job = cluster.wait([victim])[0]
        assert (job.error_code, job.attempts) != ("job_crashed", 3)
        assert job.attempts == 2
        lost, *stages = timeline(job, time.time())
        assert lost.event is JobEvent.LOST
        assert {each.event for each in stages} == {JobEvent.STAGE}
        assert lost.worker
        assert lost.worker not in {each.worker for each in stages}
        check_neighbours(cluster, journal, neighbours, killed=False)
    assert journal.ends()[victim] == 1


@ONE_DATABASE
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("hang", "job_timed_out"),
        pytest.param("hang_deaf", "job_crashed", marks=pytest.mark.heavy),
    ],
)
def test_time_limit(
    make_cluster: MakeCluster, tiny_pictures: list[bytes], fault: str, code: str
) -> None:
    cluster = make_cluster(lease_s=600.0, max_attempts=1, job_time_limit_s=2.0)
    journal = open_journal(cluster)

    with faulty(cluster, fault), cluster.upkeep():
        victim, neighbours = submit_around(cluster, tiny_pictures)
        assert cluster.wait([victim])[0].error_code == code
        check_neighbours(cluster, journal, neighbours, killed=False)
    assert journal.ends()[victim] == 1
