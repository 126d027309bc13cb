"""Messages that come twice, too late or never: the claim decides, not the message."""

from __future__ import annotations

import time

import pytest

from pipeline.jobs.model import JobState
from tests.databases import ONE_DATABASE
from tests.faults.conftest import open_ledger
from tests.faults.faulty_decoder import MARK
from tests.stack import MakeYard
from tests.yard import Process, Yard

FAULTY = "tests.faults.faulty_worker"

pytestmark = pytest.mark.heavy


def impatient(yard: Yard, fault: str, place: str = "decode") -> Process:
    """A worker whose messages come back after two seconds without an answer."""
    environment = {
        "FAULT": fault, "FAULT_PLACE": place, "FAULT_VISIBILITY": "short",
        "FAULT_FILE": str(yard.folder / "fault"),
    }
    return yard.worker(module=FAULTY, environment=environment)


def deliveries(yard: Yard, job_id: str) -> int:
    return sum(
        line.count(f"delivered job={job_id}")
        for log in yard.folder.glob("*.log")
        for line in log.read_text().splitlines()
    )


def wait_delivered(yard: Yard, job_id: str, times: int) -> None:
    until = time.monotonic() + 60
    while deliveries(yard, job_id) < times:
        assert time.monotonic() < until, yard.logs()
        time.sleep(0.1)


@ONE_DATABASE
def test_job_outlives_lease_and_visibility(
    make_yard: MakeYard, tiny_pictures: list[bytes]
) -> None:
    """The job takes eight seconds; its message comes back after two, and its lease
    would end after one and a half were it not renewed."""
    yard = make_yard(lease_s=1.5)
    ledger = open_ledger(yard)
    with impatient(yard, "slow"), impatient(yard, "slow"), yard.upkeep():
        slow = yard.submit("locate", tiny_pictures[0] + MARK)
        job = yard.wait([slow])[0]
        wait_delivered(yard, slow, 2)
    assert (job.state, job.attempts, job.messages) == (JobState.DONE, 1, 1)
    assert ledger.ends()[slow] == 1


def test_worker_dies_between_the_end_and_the_answer(
    make_yard: MakeYard, tiny_pictures: list[bytes]
) -> None:
    """The end is committed, the message is not acknowledged: it comes back, and
    nothing happens."""
    yard = make_yard(lease_s=1.5)
    ledger = open_ledger(yard)
    with impatient(yard, "kill_group_once", "after_the_end") as first, yard.upkeep():
        job_id = yard.submit("locate", tiny_pictures[0])
        before = yard.wait([job_id])[0]
        until = time.monotonic() + 30
        while first.alive:
            assert time.monotonic() < until
            time.sleep(0.05)
        with impatient(yard, "kill_group_once", "after_the_end"):
            wait_delivered(yard, job_id, 2)
            other = yard.submit("locate", tiny_pictures[1])
            assert yard.wait([other])[0].state is JobState.DONE
    assert yard.job(job_id) == before
    assert ledger.ends()[job_id] == 1


@ONE_DATABASE
def test_never_sent(make_yard: MakeYard, tiny_pictures: list[bytes]) -> None:
    """The shim died between the row and the message."""
    yard = make_yard()
    ledger = open_ledger(yard)
    with yard.worker(), yard.upkeep():
        jobs = [yard.submit("locate", picture, ring=False) for picture in tiny_pictures]
        assert {job.state for job in yard.wait(jobs)} == {JobState.DONE}
    assert all(ledger.ends()[job_id] == 1 for job_id in jobs)
