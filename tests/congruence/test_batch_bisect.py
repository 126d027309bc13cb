"""Chunks whose jobs end without a result, on both databases."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, Engine, delete, select

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.chunks import lock_items, record_outcomes
from pipeline.batches.model import (
    Batch,
    BatchItem,
    BatchOptions,
    BatchState,
    ItemOutcome,
    ItemState,
    NewItem,
)
from pipeline.batches.store import BatchStore
from pipeline.database.engine import reading, writing
from pipeline.database.schema import discarded, jobs
from pipeline.errors import FaceError, JobTimedOut
from pipeline.jobs.model import Job, JobState
from pipeline.sources.base import About
from tests.job_factory import ATTEMPTS, LEASE_S, Clock, Queue


class Harness:
    """A batch with waiting items, and a bisector."""

    def __init__(self, engine: Engine, queue: Queue, clock: Clock) -> None:
        self.engine = engine
        self.queue = queue
        self.store = BatchStore(engine, clock)
        self.splitter = ChunkBisector(engine, clock, ATTEMPTS)

    def feed(self, count: int, chunk: int, source: str = "somewhere") -> tuple[Batch, list[Job]]:
        batch, _ = self.store.open(self.queue.tenant, source, source, BatchOptions())
        batch = self.store.acquire(batch.id, "me", LEASE_S)
        items = [
            NewItem(
                number, f"{number}.jpg", About(), ItemState.WAITING, sha256=f"{number:064}",
                media_key=f"t{self.queue.tenant}/images/{batch.id}.{number}/{number:064}",
            )
            for number in range(1, count + 1)
        ]
        added = self.store.add(batch, "me", items, chunk_size=chunk)
        return self.store.finish_reading(batch.id, "me"), list(added.jobs)

    def fail(self, job: Job, error: FaceError) -> None:
        assert self.queue.fail(self.queue.take(job), error, [])

    def crash(self, job: Job) -> None:
        """Crash the worker of a job until the job is given up."""
        while not self.queue.see(job).ended:
            self.queue.take(job)
            self.queue.clock.forward(LEASE_S + 1)
            self.queue.upkeep.release_dead(ATTEMPTS)

    def finish(self, job: Job) -> None:
        """End a job without enrolling anything."""
        batch_id, numbers = job.params["batch"], job.params["items"]

        def effect(connection: Connection) -> None:
            waiting = lock_items(connection, batch_id, numbers)
            outcomes = [
                ItemOutcome(each.item.number, ItemState.REJECTED, reason="no_face")
                for each in waiting
            ]
            record_outcomes(connection, waiting, outcomes, 0.0)

        assert self.queue.finish(self.queue.take(job), {}, [], effect)

    def items(self, batch: Batch) -> list[BatchItem]:
        return self.store.items(batch.id)

    def numbers(self, made: Sequence[Job]) -> list[list[int]]:
        return [job.params["items"] for job in made]


@pytest.fixture
def harness(engine: Engine, queue: Queue, clock: Clock) -> Harness:
    return Harness(engine, queue, clock)


def test_a_chunk_that_crashed_is_halved(harness: Harness) -> None:
    batch, (job,) = harness.feed(5, chunk=5)
    harness.crash(job)
    made = harness.splitter.round()
    assert harness.numbers(made) == [[1, 2, 3], [4, 5]]
    assert [item.job_id for item in harness.items(batch)] == [made[0].id] * 3 + [made[1].id] * 2
    assert {item.tries for item in harness.items(batch)} == {1}
    assert harness.splitter.round() == []


def test_one_crashing_picture_is_isolated_and_the_others_are_enrolled(harness: Harness) -> None:
    batch, waiting = harness.feed(32, chunk=32)
    crashes = 0
    while waiting:
        for job in waiting:
            if 13 in job.params["items"]:
                harness.crash(job)
                crashes += harness.queue.see(job).attempts - job.attempts
            else:
                harness.finish(job)
        waiting = harness.splitter.round()
    ended = {item.number: item for item in harness.items(batch)}
    assert ended[13].reason == "job_crashed"
    assert "died" in ended[13].detail
    assert {item.reason for item in ended.values() if item.number != 13} == {"no_face"}
    assert harness.store.get(None, batch.id).state is BatchState.DONE
    # Whole, then the halves of 16, 8, 4 and 2 once, then alone.
    assert crashes == ATTEMPTS + 4 + ATTEMPTS


@pytest.mark.parametrize("error", [JobTimedOut(), FaceError()])
def test_a_single_picture_is_rejected_with_its_jobs_error(
    harness: Harness, error: FaceError
) -> None:
    batch, (job,) = harness.feed(1, chunk=1)
    harness.fail(job, error)
    assert harness.splitter.round() == []
    (item,) = harness.items(batch)
    assert (item.state, item.reason) == (ItemState.REJECTED, error.code)
    ended = harness.store.get(None, batch.id)
    assert (ended.state, ended.rejected, ended.waiting) == (BatchState.DONE, 1, 0)
    with reading(harness.engine) as connection:
        left = list(connection.execute(select(discarded.c.media_key)).scalars())
    assert left == [f"t{harness.queue.tenant}/images/{batch.id}.1/{1:064}"]


def test_a_chunk_that_runs_or_waits_is_left_alone(harness: Harness) -> None:
    _, (running, _) = harness.feed(4, chunk=2)
    harness.queue.take(running)
    assert harness.splitter.round() == []


def test_items_of_a_cancelled_job_are_cancelled(harness: Harness) -> None:
    batch, (job, other) = harness.feed(4, chunk=2)
    harness.queue.cancel(harness.queue.tenant, job.id)
    assert harness.splitter.round() == []
    states = [item.state for item in harness.items(batch)]
    assert states == [ItemState.CANCELLED] * 2 + [ItemState.WAITING] * 2
    assert harness.store.get(None, batch.id).cancelled == 2
    harness.finish(other)
    assert harness.store.get(None, batch.id).state is BatchState.DONE


def test_items_of_a_job_that_is_gone_get_another(harness: Harness) -> None:
    _, (job,) = harness.feed(2, chunk=2)
    with writing(harness.engine) as connection:
        connection.execute(delete(jobs).where(jobs.c.id == job.id))
    assert harness.numbers(harness.splitter.round()) == [[1], [2]]


def test_a_cancelled_batch_is_not_split(harness: Harness) -> None:
    batch, (job,) = harness.feed(2, chunk=2)
    harness.fail(job, FaceError())
    harness.store.cancel(None, batch.id, harness.queue)
    assert harness.splitter.round() == []
    assert harness.queue.read.counts() == {JobState.FAILED: 1}


def test_two_bisectors_at_once_split_once(harness: Harness) -> None:
    """A chunk that one bisector has found may have been split by the other already."""
    batch, (job,) = harness.feed(4, chunk=4)
    harness.fail(job, FaceError())
    ((_, found),) = harness.splitter._ended_jobs()
    assert len(harness.splitter.round()) == 2
    with writing(harness.engine) as connection:
        assert harness.splitter._repair(connection, batch.id, found) == []
    assert len({item.job_id for item in harness.items(batch)}) == 2


def test_chunks_of_two_batches_are_kept_apart(harness: Harness) -> None:
    one, (first,) = harness.feed(2, chunk=2)
    _, (second,) = harness.feed(2, chunk=2, source="elsewhere")
    harness.fail(first, FaceError())
    made = harness.splitter.round()
    assert [job.params["batch"] for job in made] == [one.id] * 2
    assert harness.queue.see(second).state is JobState.QUEUED
