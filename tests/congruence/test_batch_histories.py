"""Batches whose submitters stop and die, whose faces are erased, and that are cancelled and
continued, in random order: the invariants hold after every step."""

from __future__ import annotations

import itertools
import os
import random
from functools import partial

import pytest
from sqlalchemy import select

from pipeline.batches.model import Batch, BatchState, ItemState
from pipeline.batches.store import BatchStore
from pipeline.database.engine import reading
from pipeline.database.schema import discarded, faces, images
from pipeline.errors import BatchCancelled, DatabaseUnavailable
from pipeline.gallery.orphan_sweep import OrphanSweep
from pipeline.gallery.trash import Trash
from pipeline.sources.base import RefusalReason, RefusedItem
from tests.batch_harness import BatchHarness, Listed, picture
from tests.databases import BACKENDS

FAR = 3e9  # a time when all objects are old

SEEDS = range(5 if os.environ.get("CI") else 8)

LIVE = (ItemState.WAITING, ItemState.ENROLLED, ItemState.DUPLICATE)


class History:
    """One batch, and a source that changes; some pictures come under several names."""

    def __init__(self, harness: BatchHarness, seed: int) -> None:
        self.harness = harness
        self.chance = random.Random(seed)
        self.pictures = [picture(f"p{number}") for number in range(8)]
        self.content = {f"n{n}": self.chance.choice(self.pictures) for n in range(14)}
        self.order = list(self.content)
        self.erased: set[str] = set()
        self.done: list[str] = []

    @property
    def batch(self) -> Batch:
        return self.harness.see(self.harness.batch())

    def step(self) -> None:
        name = self.chance.choice(
            ("read", "read", "stop", "die", "work", "work", "lag", "erase", "retry", "cancel",
             "clean", "change")
        )
        self.done.append(name)
        try:
            getattr(self, f"_{name}")()
        except BatchCancelled:
            self._retry()

    def finish(self) -> None:
        self._retry()
        self.harness.read(Listed(self.content.items()))
        self.harness.work()

    def _source(self) -> Listed:
        """Some items are missing today, some names come twice."""
        entries: list[tuple[str, bytes] | RefusedItem] = []
        for name in self.order:
            if self.chance.random() < 0.94:
                entries.append((name, self.content[name]))
            if self.chance.random() < 0.1:
                entries.append(RefusedItem(name, RefusalReason.DUPLICATE_NAME))
        return Listed(entries)

    def _read(self) -> None:
        self.harness.read(self._source(), chunk_size=self.chance.choice((1, 2, 5)))

    def _stop(self) -> None:
        asked = itertools.chain([False] * self.chance.randrange(16), itertools.repeat(True))
        self.harness.submitter().run(self.batch, self._source(), partial(next, asked))

    def _die(self) -> None:
        """After its objects are stored."""
        adds = iter(range(self.chance.randrange(5)))

        class Dying(BatchStore):
            def add(self, *args: object, **values: object) -> object:  # type: ignore[override]
                if next(adds, None) is None:
                    raise DatabaseUnavailable
                return super().add(*args, **values)  # type: ignore[arg-type]

        submitter = self.harness.submitter()
        submitter.batches = Dying(self.harness.gallery.engine, self.harness.queue.clock)
        try:
            submitter.run(self.batch, self._source())
        except DatabaseUnavailable:
            return

    def _work(self) -> None:
        self.harness.work(unfit=self.chance.sample(self.order, 2))

    def _lag(self) -> None:
        """One chunk alone, whichever it is."""
        if self.harness.rung:
            self.harness.end(self.harness.rung.pop(self.chance.randrange(len(self.harness.rung))))

    def _erase(self) -> None:
        there = self.enrolled()
        if there:
            face, sha256 = self.chance.choice(there)
            gallery = self.harness.gallery
            record = gallery.faces.by_id(gallery.tenant, face)
            if self.chance.random() < 0.5:
                gallery.faces.delete(gallery.tenant, face)
            else:
                gallery.faces.delete_token(gallery.tenant, record.face_token)
            self.erased.add(sha256)

    def _retry(self) -> None:
        self.harness.store.retry(None, self.batch.id)

    def _cancel(self) -> None:
        self.harness.store.cancel(None, self.batch.id, self.harness.queue)

    def _clean(self) -> None:
        gallery = self.harness.gallery
        Trash(gallery.engine, gallery.media).empty()
        OrphanSweep(gallery.engine, gallery.media, lambda: FAR).run(gallery.tenant)

    def _change(self) -> None:
        self.chance.shuffle(self.order)
        self.order.append(f"x{len(self.order)}")
        self.content[self.order[-1]] = self.chance.choice(self.pictures)

    # -- invariants -------------------------------------------------------------

    def enrolled(self) -> list[tuple[int, str]]:
        """(face, hash of its picture)."""
        query = select(faces.c.id, images.c.sha256).join(images, images.c.id == faces.c.image_ref)
        with reading(self.harness.gallery.engine) as connection:
            return [(row.id, row.sha256) for row in connection.execute(query)]

    def check(self) -> None:
        self.harness.check(self.batch)
        items = self.harness.items(self.batch)
        names = [each.source_name for each in items if each.state in LIVE and not each.erased_at]
        assert len(names) == len(set(names)), "an item is there twice"
        hashes = [sha256 for _, sha256 in self.enrolled()]
        assert len(hashes) == len(set(hashes)), "a picture is enrolled twice"
        assert not self.erased.intersection(hashes), "somebody is back"
        with reading(self.harness.gallery.engine) as connection:
            named = set(connection.execute(select(images.c.media_key)).scalars())
            gone = set(connection.execute(select(discarded.c.media_key)).scalars())
        named |= {each.media_key for each in items if each.state is ItemState.WAITING}
        assert named <= self.harness.gallery.objects() - gone, "a picture is lost"
        for each in items:
            assert not each.erased_at or not (each.source_name or each.about.name or each.sha256)


@pytest.mark.parametrize("database_url", BACKENDS[:1], indirect=True)
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens(harness: BatchHarness, seed: int) -> None:
    history = History(harness, seed)
    for _ in range(20):
        history.step()
        try:
            history.check()
        except AssertionError as error:
            raise AssertionError(f"{error} after {history.done}") from error
    history.finish()
    history.check()
    assert history.batch.state is BatchState.DONE, history.done
    there = {sha256 for _, sha256 in history.enrolled()}
    assert len(there | history.erased) == len(set(history.content.values()))
