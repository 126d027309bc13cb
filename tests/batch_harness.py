"""Batches of a gallery over invented sources, and chunks that a test ends in any way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.batches.chunks import lock_items, record_outcomes
from pipeline.batches.model import (
    OUTCOMES,
    Batch,
    BatchItem,
    BatchOptions,
    ItemOutcome,
    ItemState,
    fingerprint_of,
)
from pipeline.batches.store import BatchStore
from pipeline.batches.submit import SubmitLimits, Submitter
from pipeline.config.settings import Settings
from pipeline.gallery.enrolment import EnrolledImage, enrol_many
from pipeline.gallery.writer import lock_tenant
from pipeline.jobs.model import Job, JobState
from pipeline.media.pictures import PictureLimits
from pipeline.sources.base import About, Item, RefusedItem
from tests.gallery_factory import TenantGallery
from tests.job_factory import LEASE_S, Queue

LIMITS = PictureLimits.from_settings(Settings())


def picture(word: str) -> bytes:
    """A small picture that belongs to ``word``."""
    seed = int.from_bytes(word.encode()[:7], "big")
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    return cv2.imencode(".png", pixels)[1].tobytes() + word.encode()


class Listed:
    """A source of (name, bytes), of refusals, and of other data about a name."""

    location = "listed"

    def __init__(
        self, entries: Iterable[tuple[str, bytes] | RefusedItem], **said: About
    ) -> None:
        self.entries = list(entries)
        self.said = said
        self.read: list[str] = []
        self.done = 0

    def position(self) -> tuple[int, int]:
        return self.done, len(self.entries)

    def items(self) -> Iterator[Item | RefusedItem]:
        for number, entry in enumerate(self.entries):
            self.done = number
            if isinstance(entry, RefusedItem):
                yield entry
            else:
                name, data = entry
                about = self.said.get(name, About(name=f"person {name}"))
                yield Item(name, about, partial(self._read, name, data))
        self.done = len(self.entries)

    def _read(self, name: str, data: bytes, _: int) -> bytes:
        self.read.append(name)
        return data


def words(*names: str) -> list[tuple[str, bytes]]:
    """A picture of its own for each name."""
    return [(name, picture(name)) for name in names]


class BatchHarness:
    """One tenant's batches, with shortcuts for common steps of tests."""

    def __init__(self, gallery: TenantGallery, queue: Queue) -> None:
        self.gallery = gallery
        self.queue = queue
        self.store = BatchStore(gallery.engine, queue.clock)
        self.rung: list[Job] = []

    def submitter(self, **values: Any) -> Submitter:
        pace = SubmitLimits(**{"chunk_size": 2, "in_flight": 1000, "lease_s": LEASE_S, **values})
        return Submitter(self.store, self.gallery.media, LIMITS, self.rung.extend, pace)

    def batch(self, name: str = "source", **options: Any) -> Batch:
        chosen = BatchOptions(**options)
        mark = fingerprint_of(self.gallery.tenant, name, chosen)
        return self.store.open(self.gallery.tenant, mark, name, chosen)[0]

    def read(self, source: Listed, name: str = "source", **values: Any) -> Batch:
        """Read a source to its end."""
        return self.submitter(**values).run(self.batch(name), source)

    def see(self, batch: Batch) -> Batch:
        return self.store.get(None, batch.id)

    def items(self, batch: Batch) -> list[BatchItem]:
        return self.store.items(batch.id)

    def states(self, batch: Batch) -> dict[str, str]:
        """Item by item; the counters must say the same."""
        self.check(batch)
        return {item.source_name: item.state.value for item in self.items(batch)}

    def check(self, batch: Batch) -> None:
        there = Counter(item.state for item in self.items(batch))
        seen = self.see(batch)
        counted = {state: getattr(seen, state.value) for state in OUTCOMES}
        assert {state: there[state] for state in OUTCOMES} == counted
        assert seen.items == there.total()
        assert seen.waiting == there[ItemState.WAITING] + there[ItemState.AGAIN]

    # -- workers --------------------------------------------------------------------

    def work(self, unfit: Sequence[str] = ()) -> None:
        """Enrol the waiting items; those with names in ``unfit`` have no face."""
        rung, self.rung = self.rung, []
        for job in rung:
            if self.queue.see(job).state is JobState.QUEUED:
                self.end(job, unfit)

    def end(self, job: Job, unfit: Sequence[str] = ()) -> None:
        claim = self.queue.try_take(job)
        if claim is None:
            return  # cancelled

        def effect(connection: Any) -> None:
            lock_tenant(connection, self.gallery.tenant)
            waiting = lock_items(connection, job.params["batch"], job.params["items"])
            fit = [each for each in waiting if each.item.source_name not in unfit]
            entered = enrol_many(
                connection, self.gallery.tenant,
                [self._enrolment(each.item, each.collections) for each in fit],
                self.queue.clock(),
            )
            outcomes = [
                _ended(each.item, found) for each, found in zip(fit, entered, strict=True)
            ] + [
                ItemOutcome(each.item.number, ItemState.REJECTED, reason="no_face", criteria="pack")
                for each in waiting if each not in fit
            ]
            record_outcomes(connection, waiting, outcomes, self.queue.clock())

        self.queue.finish(claim, {}, [], effect)

    def _enrolment(self, item: BatchItem, collections: tuple[str, ...]) -> Any:
        new = self.gallery.prepare(item.sha256[:20], name=item.about.name, collections=collections)
        image = replace(new.image, sha256=item.sha256, media_key=item.media_key)
        return replace(new, image=image)


def _ended(item: BatchItem, found: Any) -> ItemOutcome:
    assert isinstance(found, EnrolledImage)
    state = ItemState.ENROLLED if found.added else ItemState.DUPLICATE
    return ItemOutcome(
        item.number, state, image_ref=found.image_ref, face_id=found.faces[0],
        faces=len(found.faces),
    )


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue) -> BatchHarness:
    """No batch yet."""
    return BatchHarness(gallery, queue)
