"""``faceline jobs``: an operator finds a job, sees its way, and tries it again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from infra.cli.database import open_database
from infra.cli.jobs import timeline
from pipeline.accounts.tenants import TenantStore
from pipeline.config.settings import load_settings
from pipeline.encryption.vault import open_vault
from pipeline.errors import NotAPicture
from pipeline.jobs.model import Claim, Job, JobState, NewJob
from pipeline.jobs.store import JobStore
from tests.unit.infra.conftest import Faceline


class Desk:
    """A tenant with jobs in any state."""

    def __init__(self) -> None:
        settings = load_settings()
        self.engine = open_database(settings)
        self.store = JobStore(self.engine)
        self.tenant = TenantStore(self.engine, open_vault(settings)).create("shop")
        self._made = 0

    def queued(self) -> Job:
        self._made += 1
        job, _ = self.store.submit(
            NewJob(
                tenant_id=self.tenant.id, operation="locate", dialect="e", stage="decode",
                params={}, media=("t1/x",), request_id=f"r{self._made}", digest="d",
            )
        )
        return job

    def running(self) -> Claim:
        claim = self.store.claim(self.queued().id, "decode", "host.ab:7", 15.0, 3)
        assert claim is not None
        return claim

    def failed(self) -> Job:
        claim = self.running()
        self.store.fail(claim, NotAPicture(), [step(claim, "decode", 0.0, 3.0)])
        return self.read(claim.id)

    def done(self) -> Job:
        claim = self.running()
        trace = [step(claim, "decode", 0.010, 4.0), step(claim, "detect", 0.014, 16.0)]
        self.store.finish(claim, {"pictures": ["secret"]}, trace, None)
        return self.read(claim.id)

    def read(self, job_id: str) -> Job:
        job = self.store.read.find(job_id)
        assert job is not None
        return job


def step(claim: Claim, stage: str, after_s: float, took_ms: float) -> dict[str, object]:
    return {
        "stage": stage, "worker": "host.ab:7", "ms": took_ms,
        "at": claim.job.created_at + after_s,
    }


@pytest.fixture
def desk(faceline: Faceline) -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.engine.dispose()


def test_jobs_are_listed_newest_first_and_counted(faceline: Faceline, desk: Desk) -> None:
    first, second = desk.done(), desk.failed()

    outcome = faceline("jobs", "list")

    assert outcome.out.index(second.id) < outcome.out.index(first.id)
    assert "failed: not_a_picture" in outcome.out
    assert "1 done, 1 failed" in outcome.err


def test_a_list_can_be_narrowed(faceline: Faceline, desk: Desk) -> None:
    failed = desk.failed()
    desk.done()

    outcome = faceline("jobs", "list", "--state", "failed", "--app", "shop", "--json")

    assert [job["id"] for job in json.loads(outcome.out)] == [failed.id]


def test_a_job_is_found_by_how_its_id_begins(faceline: Faceline, desk: Desk) -> None:
    job = desk.done()

    outcome = faceline("jobs", "show", job.id[:10])

    assert job.id in outcome.out
    assert "decode" in outcome.out
    assert "detect" in outcome.out


def test_results_are_shown_only_when_asked_for(faceline: Faceline, desk: Desk) -> None:
    job = desk.done()

    assert "result" not in json.loads(faceline("jobs", "show", job.id, "--json").out)
    whole = json.loads(faceline("jobs", "show", job.id, "--json", "--result").out)
    assert whole["result"] == {"pictures": ["secret"]}


def test_the_timeline_stands_on_a_common_scale(desk: Desk) -> None:
    job = desk.done()
    decode, detect = timeline(job, job.created_at)

    assert decode.split("|")[1] == (" " * 13 + "#" * 5).ljust(40)
    assert detect.split("|")[1] == (" " * 19 + "#" * 21).ljust(40)
    assert decode.endswith("host.ab:7")


def test_a_failed_job_can_be_tried_again(faceline: Faceline, desk: Desk) -> None:
    job = desk.failed()

    outcome = faceline("jobs", "retry", job.id)

    assert outcome.code == 0
    again = desk.read(job.id)
    assert (again.state, again.stage, again.attempts) == (JobState.QUEUED, "decode", 0)


@pytest.mark.parametrize("command", ["show", "retry"])
def test_an_unknown_job_is_said_to_be_unknown(faceline: Faceline, command: str) -> None:
    outcome = faceline("jobs", command, "feed")

    assert outcome.code == 1
    assert "no job has the id 'feed'. To do: `faceline jobs list` shows the ids." in outcome.err


def test_a_finished_job_is_not_tried_again(faceline: Faceline, desk: Desk) -> None:
    outcome = faceline("jobs", "retry", desk.done().id)

    assert outcome.code == 1
    assert "No failed or cancelled job that" in outcome.err


def test_the_oldest_jobs_that_have_not_ended_come_first(faceline: Faceline, desk: Desk) -> None:
    first, second = desk.queued(), desk.running()
    desk.done()

    listed = json.loads(faceline("jobs", "list", "--oldest", "--json").out)
    assert [job["id"] for job in listed] == [first.id, second.id]
    shown = faceline("jobs", "list", "--oldest")
    assert shown.out.index(first.id) < shown.out.index(second.id)
    assert "age" in shown.out
    waiting = faceline("jobs", "list", "--oldest", "--state", "queued", "--json")
    assert [job["id"] for job in json.loads(waiting.out)] == [first.id]
