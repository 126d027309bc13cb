"""Reading sources into batches: each item once, whenever a process is killed."""

from __future__ import annotations

import itertools
import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from pipeline import storage_keys
from pipeline.accounts.tenants import TenantStore
from pipeline.batches import resume, submit
from pipeline.batches.model import (
    SAME_PICTURE,
    BatchOptions,
    BatchState,
    ItemState,
    fingerprint_of,
)
from pipeline.batches.resume import KnownItems
from pipeline.batches.store import BatchStore
from pipeline.batches.submit import SubmitLimits, Submitter
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items
from pipeline.encryption.data_keys import TenantKeys
from pipeline.encryption.hashing import digest
from pipeline.encryption.keyring import KEY_BYTES
from pipeline.encryption.vault import Vault
from pipeline.errors import BatchBusy, DatabaseUnavailable
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.media.directory import DirectoryStore
from pipeline.media.encrypted import EncryptedStore
from pipeline.sources.base import About, RefusalReason, RefusedItem
from tests.batch_harness import LIMITS, BatchHarness, Listed, picture, words
from tests.databases import BACKENDS
from tests.gallery_factory import TenantGallery
from tests.job_factory import LEASE_S, Clock, Queue
from tests.waiting import eventually

ONE = pytest.mark.parametrize("database_url", BACKENDS[:1], indirect=True)

NAMES = tuple("abcdefghij")


def test_every_item_has_an_outcome(harness: BatchHarness) -> None:
    same = picture("a")
    repeated = [RefusedItem("a", RefusalReason.DUPLICATE_NAME, "again")] * 3
    source = Listed([
        *words("a", "b"), ("text", b"no picture"), ("empty", b""), ("a copy", same),
        *repeated, RefusedItem("link", RefusalReason.LINK), ("odd", picture("odd")),
        ("long", picture("long")), *words("c"), ("another", same),
    ], odd=About(name="x\0y"), long=About(description="d" * 256))
    batch = harness.read(source)
    assert batch.state is BatchState.WORKING
    assert (batch.items, batch.total, batch.position) == (13, 13, 1.0)
    assert harness.store.jobs_in_flight(batch.id) == len(harness.rung) == 2
    harness.work(unfit=["b"])
    ends = [
        (item.source_name, item.state.value, item.reason, item.original)
        for item in harness.items(batch)
    ]
    assert ends == [
        ("a", "enrolled", "", 0), ("b", "rejected", "no_face", 0),
        ("text", "rejected", "not_a_picture", 0), ("empty", "rejected", "empty", 0),
        ("a copy", "duplicate", SAME_PICTURE, 1),
        *[("a", "rejected", "duplicate_name", 0)] * 3,
        ("link", "rejected", "link", 0), ("odd", "rejected", "broken_row", 0),
        ("long", "rejected", "broken_row", 0), ("c", "enrolled", "", 0),
        ("another", "duplicate", SAME_PICTURE, 1),
    ]
    harness.check(batch)
    first = harness.items(batch)[0]
    assert (first.about.name, first.size, first.width) == ("person a", len(same), 16)
    assert harness.gallery.named() <= harness.gallery.objects()
    assert harness.see(batch).state is BatchState.DONE


@ONE
def test_the_last_page_is_shared(harness: BatchHarness) -> None:
    """The last items are shared among idle workers."""
    names = [f"{number:02}" for number in range(2 * 12)]
    harness.read(Listed(words(*names)), chunk_size=12, in_flight=100)
    assert [len(job.params["items"]) for job in harness.rung] == [12, 8, 4]


def test_a_second_run_reads_what_is_new(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever became of the source meanwhile, and in however small windows its names are
    looked up."""
    monkeypatch.setattr(resume, "WINDOW_ITEMS", 3)
    refused = RefusedItem("a", RefusalReason.DUPLICATE_NAME)
    source = Listed([*words(*NAMES), refused, refused])
    batch = harness.read(source)
    harness.work()
    for entries, new in (
        (source.entries, []),
        ([*words("0"), *source.entries], ["0"]),  # one before the others
        (source.entries[4:], []),  # some are gone
        ([*words("x"), *reversed(source.entries), *words("y")], ["x", "y"]),
        ([refused] * 4, []),  # two more of them
    ):
        again = Listed(entries)
        harness.read(again)
        assert again.read == new
        harness.work()
    assert harness.gallery.count() == len(NAMES) + 3
    batch = harness.see(batch)
    assert (batch.items, batch.enrolled, batch.rejected) == (17, 13, 4)
    assert batch.state is BatchState.DONE
    harness.check(batch)


@ONE
def test_reading_an_unchanged_source_again_needs_no_query_for_each_item(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Listed(words(*NAMES))
    harness.read(source)
    source.entries += words("k", "l")

    def single(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(KnownItems, "by_name", single)
    harness.read(source)
    assert source.read == [*NAMES, "k", "l"]


@ONE
def test_stopping_and_continuing(harness: BatchHarness) -> None:
    """At every item; each is read into the batch once."""
    source = Listed(words(*NAMES))
    batch = harness.batch()
    for most in range(len(NAMES)):
        asked = itertools.chain([False] * most, itertools.repeat(True))
        harness.submitter().run(batch, source, partial(next, asked))
        assert harness.see(batch).submitter is None
    harness.read(source)
    harness.work()
    batch = harness.see(batch)
    assert (batch.enrolled, batch.items) == (10, 10)
    assert harness.gallery.count() == 10


@ONE
@pytest.mark.parametrize("error", [DatabaseUnavailable, KeyboardInterrupt])
def test_a_submitter_that_dies_between_storing_and_recording(
    harness: BatchHarness, clock: Clock, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Its objects are swept, and no others."""
    source = Listed(words(*NAMES[:4]))
    add, adds = BatchStore.add, iter(range(1))

    def dying(*args: Any, **values: Any) -> Any:
        if next(adds, None) is None:
            raise error
        return add(*args, **values)

    with monkeypatch.context() as patch:
        patch.setattr(BatchStore, "add", dying)
        with pytest.raises(error):
            harness.read(source)
    assert len(harness.gallery.objects()) == 4
    harness.read(source)
    assert source.read == ["a", "b", "c", "d", "c", "d"]
    assert len(harness.gallery.objects()) == 6
    clock.now = max(item.modified for item in harness.gallery.media.walk("")) + GRACE_S + 1
    gallery = harness.gallery
    assert OrphanSweep(gallery.engine, gallery.media, clock).run(gallery.tenant).deleted == 2
    harness.work()
    assert harness.gallery.count() == 4
    assert harness.gallery.named() <= harness.gallery.objects()


@ONE
def test_a_submitter_without_lease_records_nothing(harness: BatchHarness, clock: Clock) -> None:
    source = Listed(words(*NAMES))
    batch = harness.batch()

    def slow() -> bool:
        if source.done == 5:
            clock.forward(LEASE_S + 1)
            harness.store.acquire(batch.id, "another", LEASE_S)
        return False

    with pytest.raises(BatchBusy):
        harness.submitter().run(batch, source, slow)
    assert harness.see(batch).items == 4
    assert harness.gallery.objects() == {item.media_key for item in harness.items(batch)}
    with pytest.raises(BatchBusy):
        harness.read(source)
    harness.check(batch)


def has_read(source: Listed, least: int) -> bool:
    return len(source.read) >= least


@ONE
def test_reading_waits_for_the_workers(
    harness: BatchHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "POLL_S", 0.005)
    source = Listed(words(*NAMES))
    thread = threading.Thread(target=harness.read, args=(source,), kwargs={"in_flight": 2})
    thread.start()
    for ended in range(4):
        eventually(partial(has_read, source, min(2 * ended + 6, 10)))
        assert harness.store.jobs_in_flight(harness.batch().id) <= 2
        assert len(source.read) <= 2 * ended + 6
        harness.end(harness.rung[ended])
    thread.join(60)
    assert harness.see(harness.batch()).exhausted


@ONE
def test_enrolled_pictures_are_neither_stored_nor_decoded_again(harness: BatchHarness) -> None:
    harness.gallery.groups.create(harness.gallery.tenant, "team", "team")
    earlier = harness.read(Listed(words("a", "b")), "earlier")
    harness.work(unfit=["b"])
    before = harness.gallery.objects()
    said = {"c": About(collection="team"), "d": About(collection="nowhere")}
    source = Listed([("c", picture("a")), ("d", picture("a")), ("e", picture("b"))], **said)
    submitter = harness.submitter()
    submitter.criteria = "pack"
    batch = submitter.run(harness.batch("later"), source)
    assert harness.gallery.objects() == before
    assert batch.state is BatchState.DONE
    one, other, unfit = harness.items(batch)
    assert (one.state, one.original, other.original) == (ItemState.DUPLICATE, 0, 1)
    assert one.face_id == other.face_id == harness.items(earlier)[0].face_id
    assert (unfit.state, unfit.reason) == (ItemState.REJECTED, "no_face")
    assert one.face_id is not None
    found = harness.gallery.faces.collections(harness.gallery.tenant, one.face_id)
    assert [each.key for each in found] == ["default", "team"]


@ONE
def test_items_without_a_collection_get_the_batchs(harness: BatchHarness) -> None:
    for key in ("staff", "own"):
        harness.gallery.groups.create(harness.gallery.tenant, key, key)
    source = Listed(
        [*words("a", "b"), ("a again", picture("a")), ("none", b"")], b=About(collection="own")
    )
    batch = harness.submitter().run(harness.batch(collection="staff"), source)
    harness.work()
    named = {item.source_name: item.about.collection for item in harness.items(batch)}
    assert named == {"a": "staff", "b": "own", "a again": "staff", "none": "staff"}
    faces = [item.face_id for item in harness.items(batch)[:2] if item.face_id is not None]
    groups = [harness.gallery.faces.collections(harness.gallery.tenant, face) for face in faces]
    assert [[group.key for group in each] for each in groups] == [["staff"], ["own"]]


@ONE
def test_a_copy_adds_the_picture_to_its_collection(harness: BatchHarness) -> None:
    """Also when it was met while the picture's chunk was in work."""
    for key in ("one", "two"):
        harness.gallery.groups.create(harness.gallery.tenant, key, key)
    said = {"a": About(collection="one"), "b": About(collection="two")}
    same = picture("x")
    batch = harness.read(Listed([("a", same), ("b", same)], **said), chunk_size=1)
    harness.work()
    (first, second) = harness.items(batch)
    assert first.face_id is not None
    groups = harness.gallery.faces.collections(harness.gallery.tenant, first.face_id)
    assert sorted(group.key for group in groups) == ["one", "two"]
    assert second.face_id == first.face_id


@ONE
def test_pictures_of_an_encrypted_application_are_stored_encrypted(
    engine: Engine, queue: Queue, tmp_path: Path
) -> None:
    vault = Vault(os.urandom(KEY_BYTES))
    tenant = TenantStore(engine, vault).create("sealed", encrypted=True)
    own = TenantKeys(engine, lambda: vault)
    plain = DirectoryStore(tmp_path / "media")
    store = BatchStore(engine, queue.clock, own)
    gallery = TenantGallery(engine, tenant.id, plain, queue.clock)
    batch = BatchHarness(gallery, queue).batch()
    submitter = Submitter(
        store, EncryptedStore(plain, own), LIMITS, list, SubmitLimits(chunk_size=2, lease_s=LEASE_S)
    )
    data = picture("a")
    source = Listed([("a", data), ("b", data), *words("c", "d")])
    done = submitter.run(batch, source)
    assert (done.waiting, done.duplicate) == (3, 1)
    submitter.run(batch, source)
    assert source.read == ["a", "b", "c", "d"]
    stored = [plain.get(item.key) for item in plain.walk("")]
    assert len(stored) == 3
    assert not any(data[:100] in each for each in stored)
    assert store.items(batch.id)[0].media_key.endswith(storage_keys.ENCRYPTED_SUFFIX)
    with reading(engine) as connection:
        kept = str(connection.execute(select(batch_items)).all())
    assert storage_keys.plain_name(data) not in kept


def test_items_go_to_the_default_collection_unless_told(harness: BatchHarness) -> None:
    harness.gallery.groups.create(harness.gallery.tenant, "team", "team")
    batch = harness.read(Listed(words("a", "b"), b=About(collection="team")))
    told = harness.batch("told", collection="team")
    harness.submitter().run(told, Listed(words("c")))
    harness.work()
    collections = [item.about.collection for item in (*harness.items(batch), *harness.items(told))]
    assert collections == ["default", "team", "team"]
    sizes = {each.key: size for each, size in harness.gallery.groups.all(harness.gallery.tenant)}
    assert sizes == {"default": 1, "team": 2}


def test_litter_is_counted_and_no_item(harness: BatchHarness) -> None:
    litter = [RefusedItem(f"{number}.xmp", RefusalReason.SKIPPED) for number in range(2)]
    batch = harness.read(Listed([litter[0], *words("a"), litter[1]]))
    assert (batch.items, batch.rejected, batch.skipped) == (1, 0, 2)
    harness.work()
    # Read once more, it is counted once.
    assert harness.read(Listed([litter[0], *words("a", "b")])).skipped == 1
    assert [item.number for item in harness.items(batch)] == [1, 2]


def test_a_young_option_leaves_the_fingerprint_unless_it_is_set() -> None:
    usual = BatchOptions()
    values = usual.to_json()
    del values["take_litter"]
    before = digest("1", "source", *(f"{name}={values[name]}" for name in sorted(values)))
    assert fingerprint_of(1, "source", usual) == before
    assert fingerprint_of(1, "source", BatchOptions(take_litter=True)) != before
