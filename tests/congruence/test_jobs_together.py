"""Several jobs claimed and ended in one transaction, on SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from pipeline.database.engine import reading, writing
from pipeline.database.schema import discarded, job_pictures
from pipeline.errors import DatabaseUnavailable, FaceExists, MediaUnavailable, NoFace
from pipeline.gallery.trash import discard
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import Claim, Job, JobState, WaitingPicture
from pipeline.jobs.together import JobEnd
from pipeline.metering.usage import UsageStore, day_of, month_of
from pipeline.storage_keys import row_media
from pipeline.types import JsonObject
from tests.job_factory import ATTEMPTS, LEASE_S, Clock, Queue, add_tenant, new_job

TRACE = [{"stage": "decode", "worker": "w", "ms": 1.0, "at": 1.0}]


def claim(queue: Queue, jobs: list[Job], worker: str = "w") -> tuple[list[Claim], list[str]]:
    return queue.together.claim([job.id for job in jobs], "decode", worker, LEASE_S, ATTEMPTS)


def claim_all(queue: Queue, jobs: list[Job]) -> list[Claim]:
    claims, alone = claim(queue, jobs)
    assert (len(claims), alone) == (len(jobs), [])
    return claims


def noting(queue: Queue, key: str) -> Any:
    def effect(connection: Connection) -> JsonObject:
        discard(connection, queue.tenant, key, 0.0)
        return {"noted": key}

    return effect


def noted(engine: Engine) -> set[str]:
    with reading(engine) as connection:
        return set(connection.execute(select(discarded.c.media_key)).scalars())


# Claims ----------------------------------------------------------------------------


def test_claims_come_in_the_order_of_the_messages(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(5)]
    random.Random(7).shuffle(jobs)
    claims = claim_all(queue, jobs)
    assert [found.id for found in claims] == [job.id for job in jobs]
    for found in claims:
        seen = queue.see(found.job)
        assert (seen.state, seen.attempts, seen.messages, seen.fence, seen.worker) == (
            JobState.RUNNING, 1, 1, 1, "w",
        )
        assert seen.started_at == queue.clock.now


def test_only_what_waits_is_claimed(queue: Queue) -> None:
    first, held, gone, elsewhere, paused, good = (queue.add() for _ in range(6))
    queue.take(held)
    queue.cancel(queue.tenant, gone.id)
    queue.hand_over(queue.take(elsewhere), "embed", [])
    queue.retry_later(
        queue.take(paused), MediaUnavailable(), stage="decode", pause_s=60, retry_for_s=900
    )
    claims, alone = claim(queue, [first, held, gone, elsewhere, paused, good, good, first])
    assert [found.id for found in claims] == [first.id, good.id]
    assert alone == []


def test_others_run_although_the_first_is_gone(queue: Queue) -> None:
    gone, other = queue.add(), queue.add()
    queue.cancel(queue.tenant, gone.id)
    claims, _ = claim(queue, [gone, other])
    assert [found.id for found in claims] == [other.id]


def test_a_job_whose_worker_died_takes_no_company(queue: Queue) -> None:
    suspect, *others = (queue.add() for _ in range(3))
    queue.take(suspect, "dead")
    queue.upkeep.release_dead(ATTEMPTS, worker="dead")
    claims, alone = claim(queue, [suspect, *others])
    assert [found.id for found in claims] == [suspect.id]
    assert alone == [job.id for job in others]
    assert {queue.see(job).state for job in others} == {JobState.QUEUED}


def test_a_job_whose_worker_died_is_no_company(queue: Queue) -> None:
    first, suspect, other = (queue.add() for _ in range(3))
    queue.take(suspect, "dead")
    queue.upkeep.release_dead(ATTEMPTS, worker="dead")
    claims, alone = claim(queue, [first, suspect, other])
    assert [found.id for found in claims] == [first.id, other.id]
    assert alone == [suspect.id]


def test_two_workers_share_without_overlap(queue: Queue) -> None:
    """Both have every message, in different orders."""
    for seed in range(12):
        jobs = [queue.add() for _ in range(10)]
        gate = threading.Barrier(2)

        def take(number: int, jobs: list[Job] = jobs, gate: threading.Barrier = gate,
                 seed: int = seed) -> list[str]:
            mine = random.Random(seed * 2 + number).sample(jobs, len(jobs))
            gate.wait(60)
            return [found.id for found in claim(queue, mine, f"w{number}")[0]]

        with ThreadPoolExecutor(2) as pool:
            taken = [job_id for ids in pool.map(take, range(2)) for job_id in ids]
        assert max(Counter(taken).values()) == 1
        assert {queue.see(job).attempts for job in jobs if job.id in taken} == {1}
        # A row that the other had locked is left to it; its own message comes again.
        left = [job for job in jobs if job.id not in taken]
        assert all(queue.see(job).state is JobState.QUEUED for job in left)


# Deaths ----------------------------------------------------------------------------


def test_only_the_culprit_is_charged(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(4)]
    claim_all(queue, jobs)
    back, ended = queue.upkeep.release_dead(ATTEMPTS, worker="w", culprit=jobs[2].id)
    assert ([job.id for job in back], ended) == ([job.id for job in jobs], [])
    assert [job.attempts for job in back] == [0, 0, 1, 0]


def test_a_culprit_at_its_last_attempt_ends_alone(queue: Queue) -> None:
    jobs = [queue.add() for _ in range(3)]
    claim_all(queue, jobs)
    back, ended = queue.upkeep.release_dead(1, worker="w", culprit=jobs[0].id)
    assert [job.id for job in ended] == [jobs[0].id]
    assert [job.id for job in back] == [jobs[1].id, jobs[2].id]


@pytest.mark.parametrize("culprit", [None, "0" * 32])
def test_without_a_culprit_all_are_charged_once_and_run_alone(
    queue: Queue, culprit: str | None
) -> None:
    jobs = [queue.add() for _ in range(3)]
    claim_all(queue, jobs)
    back, _ = queue.upkeep.release_dead(ATTEMPTS, worker="w", culprit=culprit)
    assert [job.attempts for job in back] == [1, 1, 1]
    claims, alone = claim(queue, [queue.add(), *jobs])
    assert len(claims) == 1
    assert sorted(alone) == sorted(job.id for job in jobs)


# Ends ------------------------------------------------------------------------------


def test_each_ends_by_its_own_end(queue: Queue, engine: Engine) -> None:
    done, effective, failed = claim_all(queue, [queue.add() for _ in range(3)])
    outcomes = queue.together.end(
        [
            JobEnd(done, TRACE, result={"n": 1}),
            JobEnd(effective, TRACE, result={}, effect=noting(queue, "t1/a")),
            JobEnd(failed, TRACE, error=NoFace(picture=1)),
        ]
    )
    assert outcomes == [True, True, True]
    rows = [queue.see(found.job) for found in (done, effective, failed)]
    assert [row.state for row in rows] == [JobState.DONE, JobState.DONE, JobState.FAILED]
    assert [row.result for row in rows] == [{"n": 1}, {"noted": "t1/a"}, None]
    assert rows[2].error == {
        "code": "no_face", "message": NoFace().message, "picture": 1,
    }
    assert all(row.trace == TRACE and row.lease_until is None for row in rows)
    assert {row.finished_at for row in rows} == {queue.clock.now}
    assert noted(engine) == {"t1/a"}


def test_a_failing_effect_changes_nothing_and_harms_none(queue: Queue, engine: Engine) -> None:
    claims = claim_all(queue, [queue.add() for _ in range(3)])

    def failing(connection: Connection) -> JsonObject:
        discard(connection, queue.tenant, "t1/undone", 0.0)
        raise FaceExists

    effects = [noting(queue, "t1/a"), failing, noting(queue, "t1/b")]
    outcomes = queue.together.end(
        [
            JobEnd(found, [], result={}, effect=effect)
            for found, effect in zip(claims, effects, strict=True)
        ]
    )
    assert outcomes[0] is outcomes[2] is True
    assert isinstance(outcomes[1], FaceExists)
    assert queue.see(claims[1].job).state is JobState.RUNNING
    assert noted(engine) == {"t1/a", "t1/b"}


def test_a_value_that_cannot_be_stored_harms_none(queue: Queue, engine: Engine) -> None:
    claims = claim_all(queue, [queue.add() for _ in range(2)])

    def twice(connection: Connection) -> JsonObject:
        # An error of the database itself, which PostgreSQL answers by refusing the transaction.
        discard(connection, queue.tenant, "t1/same", 0.0)
        discard(connection, queue.tenant, "t1/same", 0.0)
        return {}

    outcomes = queue.together.end(
        [
            JobEnd(claims[0], [], result={}, effect=twice),
            JobEnd(claims[1], [], result={}, effect=noting(queue, "t1/b")),
        ]
    )
    assert isinstance(outcomes[0], Exception)
    assert outcomes[1] is True
    assert noted(engine) == {"t1/b"}


def test_a_database_that_goes_away_undoes_all(queue: Queue, engine: Engine) -> None:
    claims = claim_all(queue, [queue.add() for _ in range(2)])

    def away(connection: Connection) -> JsonObject:
        raise DatabaseUnavailable

    ends = [
        JobEnd(claims[0], [], result={}, effect=noting(queue, "t1/a")),
        JobEnd(claims[1], [], result={}, effect=away),
    ]
    with pytest.raises(DatabaseUnavailable):
        queue.together.end(ends)
    assert noted(engine) == set()
    assert {queue.see(found.job).state for found in claims} == {JobState.RUNNING}


def test_lost_claims_change_nothing(queue: Queue, engine: Engine, clock: Clock) -> None:
    cancelled, taken, good = claim_all(queue, [queue.add() for _ in range(3)])
    queue.cancel(queue.tenant, cancelled.id)
    clock.forward(LEASE_S + 1)
    queue.take(taken.job, "another")
    ends = [
        JobEnd(found, [], result={}, effect=noting(queue, f"t1/{found.id}"))
        for found in (cancelled, taken, good)
    ]
    assert queue.together.end(ends) == [False, False, True]
    assert noted(engine) == {f"t1/{good.id}"}
    assert queue.see(cancelled.job).state is JobState.CANCELLED
    assert queue.see(taken.job).worker == "another"


def test_costs_are_settled_once_a_job(queue: Queue, engine: Engine, clock: Clock) -> None:
    usage = UsageStore(engine, clock)
    other = add_tenant(engine, "other")
    tenants = [queue.tenant, queue.tenant, other, queue.tenant]
    jobs = [queue.submit(new_job(tenant, limits={}))[0] for tenant in tenants]
    claims = claim_all(queue, jobs)
    errors = [None, MediaUnavailable(), MediaUnavailable(), MediaUnavailable()]
    queue.together.end(
        [
            JobEnd(found, [], result=None if error else {}, error=error)
            for found, error in zip(claims, errors, strict=True)
        ]
    )
    month = usage.report([month_of(day_of(clock()))])
    found = {row.tenant_id: (row.counts.charged, row.counts.refunded) for row in month}
    assert found == {queue.tenant: (1, 2), other: (0, 1)}


def test_pictures_in_rows_go_with_the_jobs_that_used_them(queue: Queue, engine: Engine) -> None:
    def failing(connection: Connection) -> JsonObject:
        raise FaceExists

    jobs = [add_with_picture(queue) for _ in range(5)]
    done, effective, undone, unusable, faulty = claim_all(queue, jobs)
    queue.together.end(
        [
            JobEnd(done, [], result={}),
            JobEnd(effective, [], result={}, effect=noting(queue, "t1/a")),
            JobEnd(undone, [], result={}, effect=failing),
            JobEnd(unusable, [], error=NoFace()),
            JobEnd(faulty, [], error=MediaUnavailable()),
        ]
    )
    with reading(engine) as connection:
        left = set(connection.execute(select(job_pictures.c.job_seq)).scalars())
    # One may be run again, and the other still runs.
    assert left == {undone.job.seq, faulty.job.seq}


def add_with_picture(queue: Queue) -> Job:
    job_id = uuid.uuid4().hex
    key = row_media(queue.tenant, job_id, 0, "0" * 64)
    return queue.add(id=job_id, media=(key,), pictures=(WaitingPicture(0, data=b"bytes"),))


def test_hand_over_and_release_count_no_attempt(queue: Queue) -> None:
    handed, gone, released, charged = claim_all(queue, [queue.add() for _ in range(4)])
    queue.cancel(queue.tenant, gone.id)
    assert queue.together.hand_over([(handed, "embed", TRACE), (gone, "embed", TRACE)]) == [
        True, False,
    ]
    assert queue.together.release([released]) == [True]
    assert queue.together.release([charged], charged=True) == [True]
    rows = [queue.see(found.job) for found in (handed, released, charged)]
    assert [(row.state, row.stage, row.attempts) for row in rows] == [
        (JobState.QUEUED, "embed", 0), (JobState.QUEUED, "decode", 0),
        (JobState.QUEUED, "decode", 1),
    ]
    assert rows[0].trace == TRACE
    assert all(row.lease_until is None and row.worker is None for row in rows)


def test_ends_renewals_and_cancels_do_not_wait_for_each_other(queue: Queue) -> None:
    """Locks are taken in one order, so that no transaction is a deadlock's victim."""
    for seed in range(8):
        claims = claim_all(queue, [queue.add() for _ in range(8)])
        mixed = random.Random(seed).sample(claims, len(claims))
        gate = threading.Barrier(3)

        def end(mixed: list[Claim] = mixed, gate: threading.Barrier = gate) -> object:
            gate.wait(60)
            ends = [JobEnd(found, [], result={}) for found in mixed]
            return queue.together.end(ends)

        def renew(claims: list[Claim] = claims, gate: threading.Barrier = gate) -> object:
            gate.wait(60)
            queue.renew(claims, LEASE_S)
            return None

        def cancel(claims: list[Claim] = claims, gate: threading.Barrier = gate) -> object:
            gate.wait(60)
            return [queue.cancel(queue.tenant, found.id) for found in claims[::3]]

        with ThreadPoolExecutor(3) as pool:
            for work in [pool.submit(each) for each in (end, renew, cancel)]:
                work.result(60)
        assert all(queue.see(found.job).ended for found in claims)


def test_two_ends_of_one_tenant_follow_each_other(queue: Queue, engine: Engine) -> None:
    """Effects that lock the tenant's row, in transactions of several jobs."""
    def locking(connection: Connection) -> JsonObject:
        lock_tenant(connection, queue.tenant)
        return {}

    for _ in range(6):
        groups = [claim_all(queue, [queue.add(limits={}) for _ in range(4)])
                  for _ in range(2)]
        gate = threading.Barrier(2)

        def end(claims: list[Claim], gate: threading.Barrier = gate) -> list[bool | Exception]:
            gate.wait(60)
            return queue.together.end(
                [
                    JobEnd(found, [], error=MediaUnavailable()) if number % 2
                    else JobEnd(found, [], result={}, effect=locking)
                    for number, found in enumerate(claims)
                ]
            )

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(end, groups)) == [[True] * 4] * 2
    with writing(engine) as connection:
        lock_tenant(connection, queue.tenant)
