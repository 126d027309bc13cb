"""A picture that harms its decoder costs one job, at once, and no worker."""

from __future__ import annotations

import pytest

from pipeline.jobs.model import JobState
from tests.databases import ONE_DATABASE
from tests.faults.faulty_decoder import MARK
from tests.stack import MakeCluster

FAULTY = "tests.faults.faulty_worker"
NEIGHBOURS = 12


@ONE_DATABASE
@pytest.mark.parametrize("fault", ["crash", "hang", "eat"])
def test_it_ends_as_a_damaged_picture(
    make_cluster: MakeCluster, tiny_pictures: list[bytes], fault: str
) -> None:
    # No message is sent again because a job waits, on a slow machine either: a second one would
    # come from a worker that died.
    cluster = make_cluster(lease_s=600.0, resend_after_s=600.0, max_attempts=3,
                           decode_limit_s=1.0, decode_memory_mb=256)
    environment = {"FAULT": fault, "FAULT_PLACE": "decoder"}
    with cluster.worker(module=FAULTY, environment=environment, concurrency=1) as worker:
        first = cluster.submit("locate", tiny_pictures[0])
        cluster.wait([first])
        processes = worker.children()
        poison = [cluster.submit("locate", tiny_pictures[0] + MARK + bytes([n])) for n in range(2)]
        others = [cluster.submit("locate", tiny_pictures[n % 8]) for n in range(NEIGHBOURS)]
        ended, done = cluster.wait(poison), cluster.wait(others)
        assert worker.children() == processes
    assert {(job.state, job.error_code) for job in ended} == {
        (JobState.FAILED, "picture_corrupt")
    }
    assert {job.state for job in done} == {JobState.DONE}
    assert {job.attempts for job in ended + done} == {1}
    assert {job.messages for job in ended + done} == {1}
