"""The outcomes of a chunk's pictures, on both databases; the analysis is faked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import select, update

from pipeline import storage_keys
from pipeline.analysis.engine import AnalysedPicture, ExaminedPicture, PictureRequest
from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.chunks import ChunkReader
from pipeline.batches.model import Batch, BatchItem, BatchOptions, BatchState, ItemState, NewItem
from pipeline.batches.store import BatchStore
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, discarded, vectors
from pipeline.errors import (
    BadQuality,
    FaceError,
    MediaCorrupt,
    MediaUnavailable,
    NoFace,
    PackMismatch,
)
from pipeline.execution import bulk
from pipeline.execution.bulk import finish_bulk, inspect_chunk
from pipeline.execution.context import JobContext, Resources
from pipeline.jobs.model import Job, JobState
from pipeline.media.pictures import PictureHeader
from pipeline.operations import MAX_ENROLLED_FACES, PLANS
from pipeline.sources.base import About
from pipeline.types import AnalysisOptions, Box, DetectedFace, Quality
from tests.gallery_factory import MODEL, TenantGallery, vector_of
from tests.job_factory import LEASE_S, Queue

PLAN = PLANS["bulk"]
PIXELS = np.zeros((400, 300, 3), np.uint8)
QUALITY = Quality(80.0, 40.5, 120.0, 30.0, -5.0, 3.0, 1.0, 0.5)


def look(
    requests: Sequence[PictureRequest], resources: Resources
) -> list[AnalysedPicture | FaceError]:
    """A picture is a word and how many faces there are on it (``ann 2``)."""
    answers = []
    for each in requests:
        answer = _seen(each.data.decode(), each.options)
        if each.watch is not None:
            each.watch(PIXELS, answer if isinstance(answer, FaceError) else None)
        answers.append(answer)
    return answers


def _seen(text: str, wanted: AnalysisOptions) -> AnalysedPicture | FaceError:
    word, count = text.split()
    if word == "blurred" and wanted.quality_gate:
        return BadQuality("blur")
    if count == "0":
        return NoFace()
    places = range(min(int(count), wanted.embed_faces))
    points = np.zeros((5, 2), np.float32)
    face = DetectedFace(Box(1, 2, 30, 40), 0.9, points, "arcface5")
    return AnalysedPicture(
        PictureHeader("jpeg", 200, 100, 1),
        ExaminedPicture(
            width=200, height=100, faces=[face] * int(count), qualities=[QUALITY for _ in places],
            cutouts=[f"{word} {place}".encode() for place in places], liveness=[], crops=[],
        ),
        np.stack([vector_of(f"{word}-{place}") for place in places]),
    )


class Harness:
    """Batches of a gallery, whose pictures are words."""

    def __init__(self, gallery: TenantGallery, queue: Queue) -> None:
        self.gallery = gallery
        self.queue = queue
        self.store = BatchStore(gallery.engine, queue.clock)
        info = SimpleNamespace(
            name=MODEL.pack, recognition_model=MODEL.sha256, dimension=MODEL.dimension
        )
        self.tools = Resources(
            media=gallery.media, pack=cast(Any, SimpleNamespace(info=info)),
            limits=cast(Any, None), calibration=None, quality_limits=cast(Any, None),
            gallery=gallery.faces, trash=cast(Any, None),
            own={
                ChunkReader: ChunkReader(
                    gallery.engine, lambda options: f"under {options.find}"
                )
            },
        )

    def feed(
        self,
        *words: str,
        options: BatchOptions | None = None,
        source: str = "here",
        chunk: int = 100,
    ) -> Batch:
        batch, _ = self.store.open(self.queue.tenant, source, source, options or BatchOptions())
        batch = self.store.acquire(batch.id, "me", LEASE_S)
        items = [self._item(batch, *pair) for pair in enumerate(words, 1)]
        self.store.add(batch, "me", items, chunk_size=chunk)
        return self.store.finish_reading(batch.id, "me")

    def _item(self, batch: Batch, number: int, text: str) -> NewItem:
        """``text`` is a picture, or ``picture>collection``."""
        picture, _, group = text.partition(">")
        data = picture.encode()
        name = self.gallery.media.name(self.queue.tenant, data)
        key = storage_keys.image_media(self.queue.tenant, f"{batch.id}.{number}", name)
        self.gallery.media.put(key, data)
        return NewItem(
            number, f"{number}.jpg", About(f"name {number}", group, "", f"about {number}"),
            ItemState.WAITING, sha256=storage_keys.media_hash(key), media_key=key, size=len(data),
        )

    def job(self) -> Job:
        (job,) = self.queue.read.recent(state=JobState.QUEUED)
        return job

    def run(self) -> Job:
        """Carry the only waiting job out."""
        claim = self.queue.take(self.job())
        context = inspect_chunk(PLAN, claim.job, JobContext(), self.tools)
        ended = finish_bulk(claim.job, context, self.tools)
        assert self.queue.finish(claim, ended.result, [], ended.effect)
        return self.queue.see(claim.job)

    def items(self, batch: Batch) -> list[BatchItem]:
        return self.store.items(batch.id)

    def states(self, batch: Batch) -> list[tuple[str, str]]:
        return [(item.state.value, item.reason) for item in self.items(batch)]

    def check_tidy(self) -> None:
        """Every object has a row, or is to be deleted."""
        assert self.gallery.waiting() == self.gallery.objects() - self.gallery.named()


@pytest.fixture
def harness(gallery: TenantGallery, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Harness:
    monkeypatch.setattr(bulk, "analyse_pictures", look)
    return Harness(gallery, queue)


def test_an_item_says_how_many_faces_were_left_out(harness: Harness) -> None:
    all_faces = BatchOptions(faces="all")
    batch = harness.feed(f"crowd {MAX_ENROLLED_FACES + 2}", "pair 2", options=all_faces)
    harness.run()
    assert [(item.faces, item.detail) for item in harness.items(batch)] == [
        (MAX_ENROLLED_FACES, "2 smaller faces were not enrolled"), (2, ""),
    ]
    asked = harness.feed("some 3", source="largest")
    harness.run()
    assert [(item.faces, item.detail) for item in harness.items(asked)] == [(1, "")]


def test_pictures_are_enrolled_with_what_their_source_says(harness: Harness) -> None:
    batch = harness.feed("ann 1", "bob 1>default")
    job = harness.run()
    assert job.result == {"enrolled": 2, "duplicate": 0, "rejected": 0}
    ann, bob = harness.items(batch)
    assert ann.face_id is not None
    assert bob.face_id is not None
    face = harness.gallery.faces.by_id(harness.queue.tenant, ann.face_id)
    assert (face.name, face.description, face.quality["blur"]) == ("name 1", "about 1", 40.5)
    assert harness.gallery.groups_of(face) == []
    record = harness.gallery.faces.by_id(harness.queue.tenant, bob.face_id)
    assert harness.gallery.groups_of(record) == ["default"]
    assert harness.store.get(None, batch.id).state is BatchState.DONE
    harness.check_tidy()


def test_every_item_has_one_outcome(harness: Harness) -> None:
    batch = harness.feed(
        "ann 1", "nobody 0", "ann 1", "bob 1>nowhere", "eve 1", "blurred 1",
        options=BatchOptions(gate=True),
    )
    lost = harness.items(batch)[4]
    harness.gallery.media.delete(lost.media_key)
    harness.run()
    assert harness.states(batch) == [
        ("enrolled", ""), ("rejected", "no_face"), ("duplicate", "same_picture"),
        ("rejected", "collection_not_found"), ("rejected", "media_not_found"),
        ("rejected", "bad_quality"),
    ]
    ann, _, again, *_ = harness.items(batch)
    assert (again.original, again.face_id, again.image_ref) == (1, ann.face_id, ann.image_ref)
    ended = harness.store.get(None, batch.id)
    assert (ended.enrolled, ended.duplicate, ended.rejected, ended.waiting) == (1, 1, 4, 0)
    assert harness.gallery.count() == 1
    left = harness.gallery.waiting() - {lost.media_key}
    assert left == harness.gallery.objects() - harness.gallery.named()


def test_a_picture_that_was_enrolled_before_is_a_duplicate(harness: Harness) -> None:
    harness.feed("ann 1")
    harness.run()
    batch = harness.feed("ann 1>default", source="there")
    harness.run()
    (item,) = harness.items(batch)
    assert (item.state, item.original) == (ItemState.DUPLICATE, 0)
    assert item.face_id is not None
    face = harness.gallery.faces.by_id(harness.queue.tenant, item.face_id)
    assert harness.gallery.groups_of(face) == ["default"]
    harness.check_tidy()


def test_all_faces_of_a_picture_are_enrolled_when_asked_for(harness: Harness) -> None:
    batch = harness.feed("crowd 3", options=BatchOptions(faces="all"))
    harness.run()
    (item,) = harness.items(batch)
    assert (item.faces, harness.gallery.count()) == (3, 3)
    harness.check_tidy()


def test_equal_face_pictures_are_objects_of_their_own(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(
        requests: Sequence[PictureRequest], resources: Resources
    ) -> list[AnalysedPicture]:
        seen = [each for each in look(requests, resources) if isinstance(each, AnalysedPicture)]
        return [
            replace(each, examined=replace(each.examined, cutouts=[b"the same"])) for each in seen
        ]

    monkeypatch.setattr(bulk, "analyse_pictures", same)
    harness.feed("ann 1", "bob 1")
    harness.run()
    assert harness.gallery.count() == 2
    assert len(harness.gallery.named()) == 4
    harness.check_tidy()


def test_a_rejection_is_stored_with_its_criteria(harness: Harness) -> None:
    batch = harness.feed("nobody 0", "bob 1>nowhere")
    nobody, bob = harness.items(batch)
    harness.run()
    known = harness.store.known.pictures(
        harness.feed("ann 1", source="there"), [nobody.sha256, bob.sha256], "under largest"
    )
    assert {sha: each.reason for sha, each in known.items()} == {nobody.sha256: "no_face"}


def test_a_batch_that_is_cancelled_meanwhile_is_left_as_it_is(harness: Harness) -> None:
    """The worker of a chunk has lost its job."""
    batch = harness.feed("ann 1", "bob 1")
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    ended = finish_bulk(claim.job, context, harness.tools)
    harness.store.cancel(None, batch.id, harness.queue)
    assert not harness.queue.finish(claim, ended.result, [], ended.effect)
    assert harness.gallery.count() == 0
    assert Counter(state for state, _ in harness.states(batch)) == {"cancelled": 2}


def test_items_that_ended_meanwhile_are_left_out(harness: Harness) -> None:
    """The batch is cancelled between its row and its jobs."""
    batch = harness.feed("ann 1", "bob 1")
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    ended = finish_bulk(claim.job, context, harness.tools)
    harness.store.cancel(None, batch.id, cast(Any, SimpleNamespace(cancel=lambda *_: None)))
    assert harness.queue.finish(claim, ended.result, [], ended.effect)
    assert harness.gallery.count() == 0
    assert harness.store.get(None, batch.id).cancelled == 2
    harness.check_tidy()


def test_a_chunk_whose_batch_is_gone_ends(harness: Harness) -> None:
    batch = harness.feed("ann 1")
    harness.store.cancel(None, batch.id, cast(Any, SimpleNamespace(cancel=lambda *_: None)))
    harness.store.forget(None, batch.id)
    assert harness.run().result == {"enrolled": 0, "duplicate": 0, "rejected": 0}


def test_another_pack_changes_nothing(harness: Harness) -> None:
    harness.gallery.add("eve")
    batch = harness.feed("ann 1", "nobody 0")
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    with writing(harness.gallery.engine) as connection:
        connection.execute(update(vectors).values(pack="other"))
    with pytest.raises(PackMismatch):
        inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    ended = finish_bulk(claim.job, context, harness.tools)
    with pytest.raises(PackMismatch):
        harness.queue.finish(claim, ended.result, [], ended.effect)
    assert {state for state, _ in harness.states(batch)} == {"waiting"}
    assert all(harness.gallery.media.exists(key) for key in ended.stored)


def test_no_item_is_rejected_while_the_store_is_away(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.feed("ann 1")

    def away(key: str) -> bytes:
        raise MediaUnavailable

    monkeypatch.setattr(harness.gallery.media, "get", away)
    with pytest.raises(MediaUnavailable):
        inspect_chunk(PLAN, harness.job(), JobContext(), harness.tools)


def test_a_damaged_picture_is_rejected_after_several_tries(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = harness.feed("ann 1", "bob 1")
    harness.gallery.media.put(harness.items(batch)[1].media_key, b"other")
    monkeypatch.setattr("time.time", harness.queue.clock)
    for claims in (1, 2):
        claim = harness.queue.take(harness.job(), worker=f"worker-{claims}")
        with pytest.raises(MediaCorrupt) as raised:
            inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
        assert harness.queue.retry_later(
            claim, raised.value, stage="bulk", pause_s=30.0, retry_for_s=math.inf
        )
        harness.queue.clock.forward(30.0)
    harness.run()
    assert harness.states(batch) == [("enrolled", ""), ("rejected", "media_corrupt")]
    assert "3 claims in 2 processes" in harness.items(batch)[1].detail


def test_pictures_are_held_a_few_at_a_time(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def counting(
        requests: Sequence[PictureRequest], resources: Resources
    ) -> list[AnalysedPicture | FaceError]:
        sizes.append(len(requests))
        return look(requests, resources)

    monkeypatch.setattr(bulk, "analyse_pictures", counting)
    monkeypatch.setattr(bulk, "HELD_BYTES", 12)
    batch = harness.feed(*(f"face{number} 1" for number in range(5)))
    harness.run()
    assert sizes == [2, 2, 1]
    assert harness.store.get(None, batch.id).enrolled == 5


def test_two_tries_of_one_job_store_objects_of_their_own(harness: Harness) -> None:
    """The objects that one try discards must not belong to the other."""
    harness.feed("ann 1")
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    first = finish_bulk(claim.job, context, harness.tools).stored
    second = finish_bulk(replace(claim.job, fence=2), context, harness.tools).stored
    assert not set(first) & set(second)
    with reading(harness.gallery.engine) as connection:
        assert not connection.execute(select(discarded.c.media_key)).all()


def test_the_waiting_reason_of_a_deferred_chunk(harness: Harness) -> None:
    batch = harness.feed("ann 1")
    assert harness.store.waiting_reason(batch) is None
    claim = harness.queue.take(harness.job())
    error = PackMismatch("The gallery was made with another pack.")
    assert harness.queue.retry_later(claim, error, stage="bulk", pause_s=0.0, retry_for_s=60.0)
    found = harness.store.waiting_reason(batch)
    assert found is not None
    assert (found.code, found.message) == (error.code, error.message)
    harness.run()
    assert harness.store.waiting_reason(harness.store.get(None, batch.id)) is None


def test_a_picture_that_was_encrypted_meanwhile_is_read_again(harness: Harness) -> None:
    batch = harness.feed("ann 1", "nobody 0")
    claim = harness.queue.take(harness.job())
    context = inspect_chunk(PLAN, claim.job, JobContext(), harness.tools)
    ended = finish_bulk(claim.job, context, harness.tools)
    with writing(harness.gallery.engine) as connection:
        connection.execute(update(batch_items).values(media_key="t1/images/other"))
    assert harness.queue.finish(claim, ended.result, [], ended.effect)
    assert {state for state, _ in harness.states(batch)} == {"waiting"}
    made = ChunkBisector(harness.gallery.engine, harness.queue.clock, 3).round()
    assert [job.params["items"] for job in made] == [[1], [2]]
