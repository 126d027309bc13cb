"""Worker processes that take waiting jobs along."""

from __future__ import annotations

from pipeline.jobs.model import JobState
from pipeline.operations import Stage
from tests.databases import ONE_DATABASE
from tests.stack import MakeCluster

JOBS = 60


@ONE_DATABASE
def test_no_job_of_two_processes_is_run_twice_or_left(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    """The messages of half of the jobs come twice, and the messages of some are gone."""
    cluster = make_cluster(detection_sizes="32", resend_after_s=1.0)
    ids = [
        cluster.submit("locate", tiny_pictures[number % 8], ring=number % 5 > 0)
        for number in range(JOBS)
    ]
    for job_id in ids[::2]:
        cluster.dispatcher.publish(job_id, "decode")
    with cluster.worker(stages="decode,detect", concurrency=2), cluster.upkeep():
        jobs = cluster.wait(ids)
    assert {job.state for job in jobs} == {JobState.DONE}
    assert {(job.attempts, job.messages, job.fence) for job in jobs} == {(1, 1, 1)}
    steps = [step for job in jobs for step in job.trace]
    assert len(steps) == 2 * JOBS
    together = [step.get("together", 1) for step in steps]
    assert 1 < max(together) <= cluster.settings.jobs_together


@ONE_DATABASE
def test_stages_of_their_own_take_company_too(
    make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    cluster = make_cluster(detection_sizes="32")
    ids = [cluster.submit("locate", tiny_pictures[number % 8]) for number in range(JOBS)]
    with (
        cluster.worker(stages="decode", concurrency=1),
        cluster.worker(stages="detect", concurrency=1), cluster.upkeep(),
    ):
        jobs = cluster.wait(ids)
    assert {(job.state, job.attempts) for job in jobs} == {(JobState.DONE, 1)}
    for stage in (Stage.DECODE, Stage.DETECT):
        steps = [step for job in jobs for step in job.trace if step["stage"] == stage]
        assert len(steps) == JOBS
        assert max(step.get("together", 1) for step in steps) > 1
