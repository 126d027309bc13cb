"""A job that kills whoever works on it ends by itself, and harms no other."""

from __future__ import annotations

import time

import pytest

from pipeline.jobs.model import Job, JobState
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_ledger
from tests.faults.faulty_decoder import MARK
from tests.faults.ledger import Ledger
from tests.stack import MakeYard
from tests.yard import Process, Yard

NEIGHBOURS = 40
FAULTY = "tests.faults.faulty_worker"


def submit_around(yard: Yard, pictures: list[bytes]) -> tuple[str, list[str]]:
    """(the poisonous job, its neighbours before and after it)."""
    before = [yard.submit("locate", pictures[index % 8]) for index in range(NEIGHBOURS // 2)]
    poison = yard.submit("locate", pictures[0] + MARK)
    after = [yard.submit("locate", pictures[index % 8]) for index in range(NEIGHBOURS // 2)]
    return poison, before + after


def faulty(yard: Yard, fault: str) -> Process:
    environment = {"FAULT": fault, "FAULT_FILE": str(yard.folder / "fault")}
    return yard.worker(module=FAULTY, environment=environment)


def check_ended_as_crashed(job: Job, attempts: int) -> None:
    assert (job.state, job.error_code) == (JobState.FAILED, "job_crashed")
    assert job.attempts == attempts
    assert job.result is None


def check_neighbours(yard: Yard, ledger: Ledger, neighbours: list[str], *, killed: bool) -> None:
    jobs = yard.wait(neighbours)
    assert {job.state for job in jobs} == {JobState.DONE}
    assert all(ledger.ends()[job.id] == 1 for job in jobs)
    if not killed:
        assert {job.attempts for job in jobs} == {1}


def test_poison_kills_its_process(make_yard: MakeYard, tiny_pictures: list[bytes]) -> None:
    # With this lease only the parent of the dead process can be so quick.
    yard = make_yard(lease_s=600.0, max_attempts=3)
    ledger = open_ledger(yard)
    with faulty(yard, "kill_process"), yard.upkeep():
        poison, neighbours = submit_around(yard, tiny_pictures)
        check_ended_as_crashed(yard.wait([poison])[0], attempts=3)
        check_neighbours(yard, ledger, neighbours, killed=False)
        later = yard.submit("locate", tiny_pictures[1])
        assert yard.wait([later])[0].state is JobState.DONE
    assert ledger.ends()[poison] == 1


@ONE_DATABASE
@pytest.mark.heavy
def test_poison_kills_the_whole_worker(make_yard: MakeYard, tiny_pictures: list[bytes]) -> None:
    yard = make_yard(lease_s=2.0, max_attempts=3)
    ledger = open_ledger(yard)
    deaths = 0
    group = faulty(yard, "kill_group")
    with yard.upkeep():
        poison, neighbours = submit_around(yard, tiny_pictures)
        until = time.monotonic() + 90
        while not yard.job(poison).ended:
            assert time.monotonic() < until, yard.logs()
            if not group.alive:
                deaths += 1
                group = faulty(yard, "kill_group")
            time.sleep(0.05)
        check_ended_as_crashed(yard.job(poison), attempts=3)
        check_neighbours(yard, ledger, neighbours, killed=True)
    group.kill()
    assert deaths >= 3
    assert ledger.ends()[poison] == 1


@ONE_DATABASE
def test_a_process_that_dies_once(make_yard: MakeYard, tiny_pictures: list[bytes]) -> None:
    yard = make_yard(lease_s=600.0, max_attempts=3)
    ledger = open_ledger(yard)
    with faulty(yard, "kill_process_once"), yard.upkeep():
        victim, neighbours = submit_around(yard, tiny_pictures)
        job = yard.wait([victim])[0]
        assert (job.error_code, job.attempts) != ("job_crashed", 3)
        assert job.attempts == 2
        check_neighbours(yard, ledger, neighbours, killed=False)
    assert ledger.ends()[victim] == 1


@ONE_DATABASE
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("hang", "job_timed_out"),
        pytest.param("hang_deaf", "job_crashed", marks=pytest.mark.heavy),
    ],
)
def test_time_limit(
    make_yard: MakeYard, tiny_pictures: list[bytes], fault: str, code: str
) -> None:
    yard = make_yard(lease_s=600.0, max_attempts=1, job_time_limit_s=2.0)
    ledger = open_ledger(yard)

    with faulty(yard, fault), yard.upkeep():
        victim, neighbours = submit_around(yard, tiny_pictures)
        assert yard.wait([victim])[0].error_code == code
        check_neighbours(yard, ledger, neighbours, killed=False)
    assert ledger.ends()[victim] == 1
