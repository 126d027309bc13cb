"""Challenges: each belongs to one tenant and one face, lasts a while, and serves one job."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from pipeline.database.engine import reading
from pipeline.database.schema import challenges
from pipeline.encryption.hashing import digest
from pipeline.errors import ChallengeUnusable, FaceNotFound, IdempotencyConflict
from pipeline.jobs.challenges import Challenge, ChallengeStore
from pipeline.jobs.model import Job, JobState
from tests.congruence.test_encryption import Harness
from tests.congruence.test_job_races import AT_ONCE, race
from tests.job_factory import LEASE_S, Clock, new_job

LIFE_S = 60.0
ORDER = (3, 1, 5)


@dataclass(frozen=True, slots=True)
class Issuer:
    """One tenant with two faces, and its challenges."""

    harness: Harness
    store: ChallengeStore
    tenant: int
    face: int
    other_face: int

    def issue(self, **options: bool) -> str:
        """The digest of a new challenge for the first face."""
        return digest(self.store.issue(self.tenant, self.face, ORDER, LIFE_S, **options))

    def submit(self, challenge: str, **values: str) -> tuple[Job, bool]:
        return self.harness.jobs.submit(new_job(self.tenant, challenge=challenge, **values))

    def refusal(self, challenge: str, **values: str) -> str | None:
        """The reason why a job with the challenge is refused; None when it is accepted."""
        try:
            self.submit(challenge, **values)
        except ChallengeUnusable as error:
            return error.reason
        return None

    def stored(self) -> list[str]:
        with reading(self.harness.engine) as connection:
            return list(connection.execute(select(challenges.c.digest)).scalars())


@pytest.fixture
def issuer(engine: Engine, tmp_path: Path, clock: Clock) -> Issuer:
    harness = Harness(engine, tmp_path / "media", clock)
    tenant = harness.tenants.create("somebody").id
    faces = [harness.enrol(tenant, name, seed=name) for name in (b"one", b"two")]
    return Issuer(harness, ChallengeStore(engine, clock), tenant, *faces)


def _refused(issuer: Issuer, challenge: str, _: int) -> str | None:
    return issuer.refusal(challenge)


def test_a_challenge_is_found_by_its_tenant_for_its_face(issuer: Issuer) -> None:
    plain, mirrored = issuer.issue(), issuer.issue(mirrored=True)
    assert plain != mirrored
    find = partial(issuer.store.find, issuer.tenant)
    assert find(issuer.face, plain) == Challenge(ORDER, mirrored=False)
    assert find(issuer.face, mirrored) == Challenge(ORDER, mirrored=True)
    with pytest.raises(ChallengeUnusable, match="another face"):
        find(issuer.other_face, plain)
    stranger = issuer.harness.tenants.create("stranger").id
    with pytest.raises(ChallengeUnusable, match="not known"):
        issuer.store.find(stranger, issuer.face, plain)
    with pytest.raises(ChallengeUnusable, match="not known"):
        find(issuer.face, digest("guessed"))


def test_only_a_tenants_own_faces_are_challenged(issuer: Issuer) -> None:
    stranger = issuer.harness.tenants.create("stranger").id
    for tenant, face in ((stranger, issuer.face), (issuer.tenant, 999_999)):
        with pytest.raises(FaceNotFound):
            issuer.store.issue(tenant, face, ORDER, LIFE_S)
    assert issuer.stored() == []


def test_the_id_is_not_stored(issuer: Issuer) -> None:
    name = issuer.store.issue(issuer.tenant, issuer.face, ORDER, LIFE_S)
    assert issuer.stored() == [digest(name)]


def test_a_challenge_serves_one_job(issuer: Issuer) -> None:
    challenge = issuer.issue()
    assert issuer.refusal(challenge) is None
    assert issuer.refusal(challenge) == "used"
    assert issuer.refusal(digest("guessed")) == "unknown"


def test_a_refused_job_leaves_nothing(issuer: Issuer) -> None:
    challenge = issuer.issue()
    issuer.submit(challenge)
    with pytest.raises(ChallengeUnusable):
        issuer.submit(challenge, id="f" * 32)
    assert issuer.harness.jobs.read.find("f" * 32) is None


def test_of_many_jobs_at_once_one_takes_it(issuer: Issuer) -> None:
    for _ in range(10):
        challenge = issuer.issue()
        reasons = race(partial(_refused, issuer, challenge))
        assert sorted(map(str, reasons)) == ["None", *["used"] * (AT_ONCE - 1)]


def test_a_challenge_expires_and_is_forgotten_later(issuer: Issuer, clock: Clock) -> None:
    late, taken = issuer.issue(), issuer.issue()
    issuer.submit(taken)
    clock.forward(LIFE_S + 1)
    assert issuer.refusal(late) == "expired"
    assert issuer.refusal(taken) == "used"
    issuer.harness.jobs.upkeep.purge(1e9, 10)
    assert len(issuer.stored()) == 2
    clock.forward(3600)
    issuer.harness.jobs.upkeep.purge(1e9, 10)
    assert issuer.stored() == []
    assert issuer.refusal(late) == "unknown"


def test_the_same_request_again_is_the_same_job(issuer: Issuer, clock: Clock) -> None:
    challenge = issuer.issue()
    first, _ = issuer.submit(challenge, idempotency_key="once")
    clock.forward(LIFE_S + 1)
    again, created = issuer.submit(challenge, idempotency_key="once")
    assert (again.id, created) == (first.id, False)
    with pytest.raises(IdempotencyConflict):
        issuer.submit(challenge, idempotency_key="once", digest="e" * 64)


def test_many_repetitions_at_once_are_one_job(issuer: Issuer) -> None:
    challenge = issuer.issue()
    answers = race(lambda _: issuer.submit(challenge, idempotency_key="once"))
    assert len({job.id for job, _ in answers}) == 1
    assert sum(created for _, created in answers) == 1


def test_a_job_that_is_run_again_keeps_its_challenge(issuer: Issuer) -> None:
    challenge = issuer.issue()
    job, _ = issuer.submit(challenge)
    jobs = issuer.harness.jobs
    claim = jobs.claim(job.id, job.stage, "w", LEASE_S, 3)
    assert claim is not None
    assert jobs.fail(claim, FaceNotFound(), [])
    jobs.retry(job.id, job.stage)
    retried = jobs.read.find(job.id)
    assert retried is not None
    assert retried.state is JobState.QUEUED
    assert retried.params == job.params
    assert issuer.refusal(challenge) == "used"


def test_challenges_go_with_their_face(issuer: Issuer) -> None:
    issuer.issue()
    issuer.harness.faces.delete(issuer.tenant, issuer.face)
    assert issuer.stored() == []
