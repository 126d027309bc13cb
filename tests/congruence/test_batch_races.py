"""Chunks that end, are split and are cancelled, and faces that are deleted, all at once:
no deadlock, and every item ends once. On both databases."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import select

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.model import Batch, ItemState
from pipeline.database.engine import reading
from pipeline.database.schema import faces
from pipeline.errors import FaceError, FaceNotFound
from pipeline.execution import bulk
from pipeline.execution.bulk import finish_bulk, inspect_chunk
from pipeline.execution.context import JobContext
from pipeline.jobs.model import JobState
from tests.congruence.test_bulk_chunks import PLAN, Harness, look
from tests.gallery_factory import TenantGallery
from tests.job_factory import ATTEMPTS, Queue
from tests.waiting import TIMEOUT_S

PICTURES = 40  # of each batch; half of them are in both
CHUNK = 4


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(bulk, "analyse_pictures", look)
    return Harness(gallery, queue)


class Fray:
    """Batches that several work on until all have ended."""

    def __init__(self, harness: Harness, batches: list[Batch]) -> None:
        self.harness = harness
        self.batches = batches
        self.splitter = ChunkBisector(harness.gallery.engine, harness.queue.clock, ATTEMPTS)
        self.until = time.monotonic() + TIMEOUT_S

    def fight(self, *turns: Callable[[random.Random], None]) -> None:
        """Runs each in a thread of its own; an exception of one is raised here."""

        def take_turns(number: int) -> None:
            chance = random.Random(number)
            while not self.ended:
                assert time.monotonic() < self.until
                turns[number](chance)

        with ThreadPoolExecutor(len(turns)) as pool:
            list(pool.map(take_turns, range(len(turns))))

    @property
    def ended(self) -> bool:
        return all(self.harness.store.get(None, batch.id).ended for batch in self.batches)

    def work(self, chance: random.Random) -> None:
        """Carry out a chunk that waits, or fail its job."""
        queue = self.harness.queue
        waiting = queue.read.recent(state=JobState.QUEUED, limit=1000)
        if not waiting:
            return
        job = chance.choice(waiting)
        claim = queue.claim(job.id, "bulk", "worker", 600.0, ATTEMPTS)
        if claim is None:
            return
        if chance.random() < 0.15:
            queue.fail(claim, FaceError(), [])
            return
        context = inspect_chunk(PLAN, claim.job, JobContext(), self.harness.tools)
        ended = finish_bulk(claim.job, context, self.harness.tools)
        queue.finish(claim, ended.result, [], ended.effect)

    def split(self, chance: random.Random) -> None:
        self.splitter.round()

    def erase(self, chance: random.Random) -> None:
        with reading(self.harness.gallery.engine) as connection:
            there = list(connection.execute(select(faces.c.id).limit(20)).scalars())
        if there:
            with suppress(FaceNotFound):
                self.harness.gallery.faces.delete(self.harness.queue.tenant, chance.choice(there))

    def cancel_job(self, chance: random.Random) -> None:
        waiting = self.harness.queue.read.recent(state=JobState.RUNNING, limit=10)
        if waiting and chance.random() < 0.05:
            job = chance.choice(waiting)
            self.harness.queue.cancel(job.tenant_id, job.id)


def check(harness: Harness, batch: Batch) -> Counter[ItemState]:
    """The counters agree with the rows."""
    found = harness.store.get(None, batch.id)
    states = Counter(item.state for item in harness.items(batch))
    assert (found.items, found.waiting) == (PICTURES, 0)
    assert {state: getattr(found, state) for state in states} == dict(states)
    assert sum(states.values()) == PICTURES
    return states


def feed(harness: Harness) -> list[Batch]:
    words = [f"face{number} 1" for number in range(PICTURES + PICTURES // 2)]
    return [
        harness.feed(*words[:PICTURES], chunk=CHUNK),
        harness.feed(*words[-PICTURES:], source="there", chunk=CHUNK),
    ]


def test_workers_bisectors_and_deletions_at_once(harness: Harness) -> None:
    batches = feed(harness)
    fray = Fray(harness, batches)
    fray.fight(fray.work, fray.work, fray.split, fray.erase, fray.cancel_job)
    for batch in batches:
        check(harness, batch)
    consistent(harness)


def test_a_batch_is_cancelled_under_its_workers(harness: Harness) -> None:
    batches = feed(harness)
    fray = Fray(harness, batches)

    def cancel(chance: random.Random) -> None:
        if harness.store.get(None, batches[0].id).waiting < PICTURES - 3 * CHUNK:
            harness.store.cancel(None, batches[0].id, harness.queue)

    fray.fight(fray.work, fray.work, fray.split, cancel)
    assert check(harness, batches[0])[ItemState.CANCELLED] > 0
    assert check(harness, batches[1])[ItemState.CANCELLED] == 0
    consistent(harness)


def consistent(harness: Harness) -> None:
    """One record of each picture; the store holds the objects that rows name."""
    gallery = harness.gallery
    assert gallery.numbers() == list(range(1, gallery.log.latest(gallery.tenant) + 1))
    assert gallery.named() <= gallery.objects()
    assert gallery.waiting().isdisjoint(gallery.named())
