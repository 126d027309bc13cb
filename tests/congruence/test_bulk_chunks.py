"""What becomes of a chunk's pictures, on both databases; seeing is made up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sqlalchemy import select, update

from pipeline import keys
from pipeline.batches.chunks import Chunks
from pipeline.batches.model import Batch, BatchItem, BatchState, ItemState, NewItem, Options
from pipeline.batches.splitting import Splitter
from pipeline.batches.store import BatchStore
from pipeline.bulk.engine import BulkTools, Seen, Wanted
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, discarded, vectors
from pipeline.errors import BadQuality, FaceError, MediaUnavailable, NoFace, PackMismatch
from pipeline.execution import bulk
from pipeline.execution.bulk import conclude_bulk, look_at_chunk
from pipeline.execution.carry import Carry, Toolbox
from pipeline.jobs.model import Job, JobState
from pipeline.plans import PLANS
from pipeline.secrets import NoKeys
from pipeline.sources.base import About
from pipeline.types import Box, Face, Quality
from tests.gallery_factory import MODEL, Shelf, vector_of
from tests.job_factory import LEASE_S, Queue

PLAN = PLANS["bulk"]
QUALITY = Quality(80.0, 40.5, 120.0, 30.0, -5.0, 3.0, 1.0, 0.5)


def look(
    pictures: Sequence[bytes], wanted: Wanted, tools: BulkTools
) -> list[Seen | FaceError]:
    """A picture is a word and how many faces there are on it (``ann 2``)."""
    return [_seen(data.decode(), wanted) for data in pictures]


def _seen(text: str, wanted: Wanted) -> Seen | FaceError:
    word, count = text.split()
    if word == "blurred" and wanted.gate:
        return BadQuality("blur")
    if count == "0":
        return NoFace()
    places = range(int(count) if wanted.faces == "all" else 1)
    points = np.zeros((5, 2), np.float32)
    return Seen(
        width=200, height=100, format="jpeg", found=int(count),
        faces=[Face(Box(1, 2, 30, 40), 0.9, points, "arcface5") for _ in places],
        qualities=[QUALITY for _ in places],
        cutouts=[f"{word} {place}".encode() for place in places],
        embeddings=np.stack([vector_of(f"{word}-{place}") for place in places]),
    )


class Rig:
    """Batches of a gallery, whose pictures are words."""

    def __init__(self, shelf: Shelf, queue: Queue) -> None:
        self.shelf = shelf
        self.queue = queue
        self.store = BatchStore(shelf.engine, queue.clock)
        info = SimpleNamespace(
            name=MODEL.pack, recognition_model=MODEL.sha256, dimension=MODEL.dimension
        )
        self.tools = Toolbox(
            media=shelf.media, pack=cast(Any, SimpleNamespace(info=info)),
            limits=cast(Any, None), calibration=None, quality_limits=cast(Any, None),
            gallery=shelf.faces, collections=shelf.groups, trash=cast(Any, None),
            chunks=Chunks(shelf.engine), judged=lambda wanted: f"under {wanted.faces}",
            keys=NoKeys(),
        )

    def feed(
        self, *words: str, options: Options | None = None, source: str = "here", chunk: int = 100
    ) -> Batch:
        batch, _ = self.store.open(self.queue.tenant, source, source, options or Options())
        batch = self.store.take_over(batch.id, "me", LEASE_S)
        items = [self._item(batch, *pair) for pair in enumerate(words, 1)]
        self.store.add(batch, "me", items, chunk=chunk)
        return self.store.exhaust(batch.id, "me")

    def _item(self, batch: Batch, number: int, text: str) -> NewItem:
        """``text`` is a picture, or ``picture>collection``."""
        picture, _, group = text.partition(">")
        data = picture.encode()
        name = self.shelf.media.name(self.queue.tenant, data)
        key = keys.image_media(self.queue.tenant, f"{batch.id}.{number}", name)
        self.shelf.media.put(key, data)
        return NewItem(
            number, f"{number}.jpg", About(f"name {number}", group, "", f"about {number}"),
            ItemState.WAITING, sha256=keys.media_hash(key), media_key=key, size=len(data),
        )

    def job(self) -> Job:
        (job,) = self.queue.recent(state=JobState.QUEUED)
        return job

    def run(self) -> Job:
        """Carry the only waiting job out."""
        claim = self.queue.take(self.job())
        carry = look_at_chunk(PLAN, claim.job, Carry(), self.tools)
        ended = conclude_bulk(claim.job, carry, self.tools)
        assert self.queue.finish(claim, ended.result, [], ended.effect)
        return self.queue.see(claim.job)

    def items(self, batch: Batch) -> list[BatchItem]:
        return self.store.items(batch.id)

    def states(self, batch: Batch) -> list[tuple[str, str]]:
        return [(item.state.value, item.reason) for item in self.items(batch)]

    def check_tidy(self) -> None:
        """Every object has a row, or is to be deleted."""
        assert self.shelf.waiting() == self.shelf.objects() - self.shelf.named()


@pytest.fixture
def rig(shelf: Shelf, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(bulk, "look", look)
    return Rig(shelf, queue)


def test_pictures_are_enrolled_with_what_their_source_says(rig: Rig) -> None:
    batch = rig.feed("ann 1", "bob 1>default")
    job = rig.run()
    assert job.result == {"enrolled": 2, "duplicate": 0, "rejected": 0}
    ann, bob = rig.items(batch)
    assert ann.face_id is not None
    assert bob.face_id is not None
    face = rig.shelf.faces.by_id(rig.queue.tenant, ann.face_id)
    assert (face.name, face.description, face.quality["blur"]) == ("name 1", "about 1", 40.5)
    assert rig.shelf.groups_of(face) == []
    assert rig.shelf.groups_of(rig.shelf.faces.by_id(rig.queue.tenant, bob.face_id)) == ["default"]
    assert rig.store.get(None, batch.id).state is BatchState.DONE
    rig.check_tidy()


def test_every_item_has_one_end(rig: Rig) -> None:
    batch = rig.feed(
        "ann 1", "nobody 0", "ann 1", "bob 1>nowhere", "eve 1", "blurred 1",
        options=Options(gate=True),
    )
    lost = rig.items(batch)[4]
    rig.shelf.media.delete(lost.media_key)
    rig.run()
    assert rig.states(batch) == [
        ("enrolled", ""), ("rejected", "no_face"), ("duplicate", "same_picture"),
        ("rejected", "collection_not_found"), ("rejected", "media_not_found"),
        ("rejected", "bad_quality"),
    ]
    ann, _, again, *_ = rig.items(batch)
    assert (again.original, again.face_id, again.image_ref) == (1, ann.face_id, ann.image_ref)
    ended = rig.store.get(None, batch.id)
    assert (ended.enrolled, ended.duplicate, ended.rejected, ended.waiting) == (1, 1, 4, 0)
    assert rig.shelf.count() == 1
    left = rig.shelf.waiting() - {lost.media_key}
    assert left == rig.shelf.objects() - rig.shelf.named()


def test_a_picture_that_was_enrolled_before_is_a_duplicate(rig: Rig) -> None:
    rig.feed("ann 1")
    rig.run()
    batch = rig.feed("ann 1>default", source="there")
    rig.run()
    (item,) = rig.items(batch)
    assert (item.state, item.original) == (ItemState.DUPLICATE, 0)
    assert item.face_id is not None
    face = rig.shelf.faces.by_id(rig.queue.tenant, item.face_id)
    assert rig.shelf.groups_of(face) == ["default"]
    rig.check_tidy()


def test_all_faces_of_a_picture_are_enrolled_when_asked_for(rig: Rig) -> None:
    batch = rig.feed("crowd 3", options=Options(faces="all"))
    rig.run()
    (item,) = rig.items(batch)
    assert (item.faces, rig.shelf.count()) == (3, 3)
    rig.check_tidy()


def test_equal_face_pictures_are_objects_of_their_own(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def same(pictures: Sequence[bytes], wanted: Wanted, tools: BulkTools) -> list[Seen]:
        seen = [each for each in look(pictures, wanted, tools) if isinstance(each, Seen)]
        return [replace(each, cutouts=[b"the same"]) for each in seen]

    monkeypatch.setattr(bulk, "look", same)
    rig.feed("ann 1", "bob 1")
    rig.run()
    assert rig.shelf.count() == 2
    assert len(rig.shelf.named()) == 4
    rig.check_tidy()


def test_what_a_picture_is_refused_for_is_kept_with_what_judged_it(rig: Rig) -> None:
    batch = rig.feed("nobody 0", "bob 1>nowhere")
    nobody, bob = rig.items(batch)
    rig.run()
    known = rig.store.known_pictures(
        rig.feed("ann 1", source="there"), [nobody.sha256, bob.sha256], "under largest"
    )
    assert {sha: each.reason for sha, each in known.items()} == {nobody.sha256: "no_face"}


def test_a_batch_that_is_cancelled_meanwhile_is_left_as_it_is(rig: Rig) -> None:
    """Whoever works on a chunk has lost his job."""
    batch = rig.feed("ann 1", "bob 1")
    claim = rig.queue.take(rig.job())
    carry = look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    ended = conclude_bulk(claim.job, carry, rig.tools)
    rig.store.cancel(None, batch.id, rig.queue)
    assert not rig.queue.finish(claim, ended.result, [], ended.effect)
    assert rig.shelf.count() == 0
    assert Counter(state for state, _ in rig.states(batch)) == {"cancelled": 2}


def test_items_that_ended_meanwhile_are_left_out(rig: Rig) -> None:
    """The batch is cancelled between its row and its jobs."""
    batch = rig.feed("ann 1", "bob 1")
    claim = rig.queue.take(rig.job())
    carry = look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    ended = conclude_bulk(claim.job, carry, rig.tools)
    rig.store.cancel(None, batch.id, cast(Any, SimpleNamespace(cancel=lambda *_: None)))
    assert rig.queue.finish(claim, ended.result, [], ended.effect)
    assert rig.shelf.count() == 0
    assert rig.store.get(None, batch.id).cancelled == 2
    rig.check_tidy()


def test_a_chunk_whose_batch_is_gone_ends(rig: Rig) -> None:
    batch = rig.feed("ann 1")
    rig.store.cancel(None, batch.id, cast(Any, SimpleNamespace(cancel=lambda *_: None)))
    rig.store.forget(None, batch.id)
    assert rig.run().result == {"enrolled": 0, "duplicate": 0, "rejected": 0}


def test_another_pack_changes_nothing(rig: Rig) -> None:
    rig.shelf.add("eve")
    batch = rig.feed("ann 1", "nobody 0")
    claim = rig.queue.take(rig.job())
    carry = look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    with writing(rig.shelf.engine) as connection:
        connection.execute(update(vectors).values(pack="other"))
    with pytest.raises(PackMismatch):
        look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    ended = conclude_bulk(claim.job, carry, rig.tools)
    with pytest.raises(PackMismatch):
        rig.queue.finish(claim, ended.result, [], ended.effect)
    assert {state for state, _ in rig.states(batch)} == {"waiting"}
    assert all(rig.shelf.media.exists(key) for key in ended.stored)


def test_a_store_that_is_away_is_no_pictures_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.feed("ann 1")

    def away(key: str) -> bytes:
        raise MediaUnavailable

    monkeypatch.setattr(rig.shelf.media, "get", away)
    with pytest.raises(MediaUnavailable):
        look_at_chunk(PLAN, rig.job(), Carry(), rig.tools)


def test_pictures_are_held_a_few_at_a_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counting(
        pictures: Sequence[bytes], wanted: Wanted, tools: BulkTools
    ) -> list[Seen | FaceError]:
        sizes.append(len(pictures))
        return look(pictures, wanted, tools)

    monkeypatch.setattr(bulk, "look", counting)
    monkeypatch.setattr(bulk, "HELD_BYTES", 12)
    batch = rig.feed(*(f"face{number} 1" for number in range(5)))
    rig.run()
    assert sizes == [2, 2, 1]
    assert rig.store.get(None, batch.id).enrolled == 5


def test_two_tries_of_one_job_store_objects_of_their_own(rig: Rig) -> None:
    """What the one discards must not be the other's."""
    rig.feed("ann 1")
    claim = rig.queue.take(rig.job())
    carry = look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    first = conclude_bulk(claim.job, carry, rig.tools).stored
    second = conclude_bulk(replace(claim.job, fence=2), carry, rig.tools).stored
    assert not set(first) & set(second)
    with reading(rig.shelf.engine) as connection:
        assert not connection.execute(select(discarded.c.media_key)).all()


def test_what_a_batch_waits_for_is_told(rig: Rig) -> None:
    batch = rig.feed("ann 1")
    assert rig.store.hindrance(batch) is None
    claim = rig.queue.take(rig.job())
    error = PackMismatch("The gallery was made with another pack.")
    assert rig.queue.give_back(claim, error, stage="bulk", pause_s=0.0, retry_for_s=60.0)
    found = rig.store.hindrance(batch)
    assert found is not None
    assert (found.code, found.message) == (error.code, error.message)
    rig.run()
    assert rig.store.hindrance(rig.store.get(None, batch.id)) is None


def test_a_picture_that_was_encrypted_meanwhile_is_read_again(rig: Rig) -> None:
    batch = rig.feed("ann 1", "nobody 0")
    claim = rig.queue.take(rig.job())
    carry = look_at_chunk(PLAN, claim.job, Carry(), rig.tools)
    ended = conclude_bulk(claim.job, carry, rig.tools)
    with writing(rig.shelf.engine) as connection:
        connection.execute(update(batch_items).values(media_key="t1/images/other"))
    assert rig.queue.finish(claim, ended.result, [], ended.effect)
    assert {state for state, _ in rig.states(batch)} == {"waiting"}
    made = Splitter(rig.shelf.engine, rig.queue.clock, 3).round()
    assert [job.params["items"] for job in made] == [[1], [2]]
