"""Many at once: threads and processes on one job table, SQLite and PostgreSQL."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from sqlalchemy import Engine

from pipeline.database.engine import open_engine
from pipeline.errors import MediaUnavailable, ReplayedRequest
from pipeline.jobs.model import Claim, Job, JobState, NewJob, SignedRequest
from pipeline.jobs.store import JobStore
from pipeline.metering.limits import ALL_OPERATIONS, Limit
from pipeline.metering.usage import UsageStore, day_of
from tests.job_factory import ATTEMPTS, LEASE_S, Clock, Queue, new_job

AT_ONCE = 6
ROUNDS = 25

Answer = TypeVar("Answer")


def race(work: Callable[[int], Answer]) -> list[Answer]:
    """The results of ``work`` in ``AT_ONCE`` threads that start together."""
    barrier = threading.Barrier(AT_ONCE)

    def run(number: int) -> Answer:
        barrier.wait(30)
        return work(number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, range(AT_ONCE)))


def _claim(queue: Queue, job: Job, number: int) -> Claim | None:
    return queue.try_take(job, f"worker-{number}")


def _submit(queue: Queue, new: NewJob, _: int) -> tuple[Job, bool]:
    return queue.submit(new)


def _end(queue: Queue, claim: Claim, number: int) -> bool:
    if number % 2:
        return queue.cancel(queue.tenant, claim.id)[1]
    return queue.finish(claim, {"by": number}, [], None)


def test_one_of_many_claims_wins(queue: Queue) -> None:
    for _ in range(ROUNDS):
        job = queue.add()
        claims = race(partial(_claim, queue, job))
        assert sum(claim is not None for claim in claims) == 1
        seen = queue.see(job)
        assert (seen.attempts, seen.fence, seen.messages) == (1, 1, 1)


def test_one_of_many_claims_wins_an_expired_lease(queue: Queue, clock: Clock) -> None:
    for _ in range(ROUNDS):
        job = queue.add()
        queue.take(job)
        clock.forward(LEASE_S + 1)
        claims = race(partial(_claim, queue, job))
        assert sum(claim is not None for claim in claims) == 1
        assert queue.see(job).fence == 2


def test_many_submits_with_one_key_make_one_job(queue: Queue) -> None:
    for turn in range(ROUNDS):
        new = new_job(queue.tenant, idempotency_key=f"key-{turn}")
        answers = race(partial(_submit, queue, new))
        assert len({job.id for job, _ in answers}) == 1
        assert sum(made for _, made in answers) == 1


def test_copies_of_a_signed_request_make_one_job(queue: Queue, engine: Engine) -> None:
    """As the shims of several machines get them; the quota has room for one."""
    limits = {ALL_OPERATIONS: Limit(daily=ROUNDS)}

    def submit(once: SignedRequest, _: int) -> tuple[Job, bool]:
        return queue.submit(new_job(queue.tenant, once=once, limits=limits))

    for turn in range(ROUNDS):
        answers = race(partial(submit, SignedRequest(f"{turn:064}", 2e9)))
        assert len({job.id for job, _ in answers}) == 1
        assert sum(made for _, made in answers) == 1
    usage = UsageStore(engine, queue.clock).report([day_of(queue.clock.now)])
    assert [row.counts.charged for row in usage] == [ROUNDS]


def test_one_signature_of_many_is_accepted(queue: Queue) -> None:
    def accepted(new: NewJob, _: int) -> bool:
        try:
            queue.submit(new)
        except ReplayedRequest:
            return False
        return True

    for turn in range(ROUNDS):
        new = new_job(queue.tenant, once=SignedRequest(f"{turn:064}", 2e9, answered=False))
        assert sum(race(partial(accepted, new))) == 1
    assert queue.read.counts() == {"queued": ROUNDS}


def test_cancel_and_finish_agree_on_the_end(queue: Queue) -> None:
    for _ in range(ROUNDS):
        job = queue.add()
        claim = queue.take(job)

        assert sum(race(partial(_end, queue, claim))) == 1
        seen = queue.see(job)
        assert (seen.state is JobState.DONE) == (seen.result is not None)


def test_everything_at_once_neither_locks_nor_loses(queue: Queue) -> None:
    """Workers, a heartbeat, two reconcilers and a purge on the same rows: no deadlock,
    and every job ends once."""
    jobs = [queue.add() for _ in range(120)]
    ended: list[str] = []

    def work(number: int) -> None:
        order = random.Random(number)
        for job in order.sample(jobs, len(jobs)):
            claim = queue.try_take(job, f"worker-{number}")
            if number == 0:
                queue.upkeep.release_dead(99, worker=f"worker-{order.randrange(1, AT_ONCE)}")
                queue.upkeep.mark_published([item.id for item in order.sample(jobs, 40)])
                queue.upkeep.purge(3600)
            if claim is None:
                continue
            queue.renew([claim], LEASE_S)
            if order.random() < 0.5:
                queue.retry_later(
                    claim, MediaUnavailable(), stage="decode", pause_s=0, retry_for_s=900
                )
            elif queue.finish(claim, {}, [], None):
                ended.append(job.id)

    race(work)
    for job in jobs:
        claim = queue.try_take(job, most=99)
        if claim is not None and queue.finish(claim, {}, [], None):
            ended.append(job.id)
    assert sorted(ended) == sorted(job.id for job in jobs)
    assert queue.read.counts() == {"done": len(jobs)}


def test_processes_share_the_jobs_without_overlap(queue: Queue, database_url: str) -> None:
    jobs = [queue.add() for _ in range(80)]
    ids = [job.id for job in jobs]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        shares = list(pool.map(_work_off, [database_url] * 2, [ids] * 2))
    assert sorted(shares[0] + shares[1]) == sorted(ids)
    assert queue.read.counts() == {"done": len(ids)}
    assert {queue.see(job).attempts for job in jobs} == {1}


def _work_off(url: str, ids: list[str]) -> list[str]:
    """Claim and finish all jobs available; their ids."""
    engine = open_engine(url, durable=False)
    store = JobStore(engine)
    mine = []
    for job_id in ids:
        claim = store.claim(job_id, "decode", "process", LEASE_S, ATTEMPTS)
        if claim is not None and store.finish(claim, {}, [], None):
            mine.append(job_id)
    engine.dispose()
    return mine
