"""The store of batches, on both databases."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text

from pipeline.batches.chunks import lock_items, record_outcomes
from pipeline.batches.model import (
    NOT_IN_SOURCE,
    SAME_PICTURE,
    Batch,
    BatchOptions,
    BatchState,
    ItemOutcome,
    ItemState,
    NewItem,
)
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, batches, tenants
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    InvalidParameter,
    TenantNotFound,
)
from pipeline.gallery.galleries import GalleryStore
from pipeline.gallery.orphan_sweep import GRACE_S, OrphanSweep
from pipeline.jobs.model import JobState
from pipeline.sources.base import About
from tests.batch_harness import BatchHarness, Listed, picture, words
from tests.gallery_factory import TenantGallery
from tests.job_factory import LEASE_S, Clock, add_tenant


def item(number: int, state: ItemState = ItemState.WAITING, **values: Any) -> NewItem:
    return NewItem(number, f"{number}.jpg", About(name="Ada"), state, **values)


def settle(harness: BatchHarness, batch: Batch, *outcomes: ItemOutcome) -> list[int]:
    with writing(harness.gallery.engine) as connection:
        locked = lock_items(connection, batch.id, [each.number for each in outcomes])
        return record_outcomes(connection, locked, outcomes, harness.queue.clock())


def test_the_same_command_finds_its_batch(harness: BatchHarness, engine: Engine) -> None:
    batch = harness.batch()
    assert harness.batch() == batch
    assert harness.batch("other") != batch
    assert harness.batch(gate=True).id != batch.id
    assert harness.see(harness.batch(gate=True)).options == BatchOptions(gate=True)
    assert harness.store.page(harness.gallery.tenant, limit=2).total == 3
    other = add_tenant(engine, "other")
    assert harness.store.page(other).batches == ()
    with pytest.raises(BatchNotFound):
        harness.store.get(other, batch.id)
    with pytest.raises(TenantNotFound):
        harness.store.open(other + 1, "f" * 64, "x", BatchOptions())


def test_one_submitter_at_a_time(harness: BatchHarness, clock: Clock) -> None:
    batch, store = harness.batch(), harness.store
    store.acquire(batch.id, "one", LEASE_S)
    with pytest.raises(BatchBusy):
        store.acquire(batch.id, "two", LEASE_S)
    clock.forward(LEASE_S - 1)
    assert store.renew(batch.id, "one", LEASE_S, 0.5).position == 0.5
    clock.forward(LEASE_S - 1)
    with pytest.raises(BatchBusy):
        store.acquire(batch.id, "two", LEASE_S)
    clock.forward(2)
    store.acquire(batch.id, "two", LEASE_S)
    for late in (
        lambda: store.renew(batch.id, "one", LEASE_S),
        lambda: store.add(batch, "one", [item(1)], chunk_size=8),
        lambda: store.finish_reading(batch.id, "one"),
    ):
        with pytest.raises(BatchBusy):
            late()
    store.release(batch.id, "one")
    with pytest.raises(BatchBusy):
        store.acquire(batch.id, "one", LEASE_S)
    assert harness.items(batch) == []
    store.release(batch.id, "two")
    store.acquire(batch.id, "one", LEASE_S)


def test_numbers_follow_each_other(harness: BatchHarness) -> None:
    batch = harness.store.acquire(harness.batch().id, "one", LEASE_S)
    harness.store.add(batch, "one", [item(1)], chunk_size=8)
    for number in (1, 3):
        with pytest.raises(BatchBusy):
            harness.store.add(batch, "one", [item(number)], chunk_size=8)
    harness.check(batch)
    assert harness.store.jobs_in_flight(batch.id) == 1


def test_items_end_once(harness: BatchHarness) -> None:
    batch = harness.store.acquire(harness.batch().id, "one", LEASE_S)
    added = harness.store.add(batch, "one", [item(number) for number in range(1, 6)], chunk_size=2)
    assert [job.params["items"] for job in added.jobs] == [[1, 2], [3, 4], [5]]
    assert harness.store.finish_reading(batch.id, "one", 5).state is BatchState.WORKING
    done = [
        ItemOutcome(1, ItemState.ENROLLED, image_ref=7, face_id=8, faces=1),
        ItemOutcome(2, ItemState.REJECTED, reason="no_face", detail="No face.", criteria="pack"),
    ]
    assert settle(harness, batch, *done) == [1, 2]
    assert settle(harness, batch, *done, ItemOutcome(3, ItemState.DUPLICATE, image_ref=7)) == [3]
    assert harness.see(batch).state is BatchState.WORKING
    assert settle(
        harness,
        batch,
        ItemOutcome(4, ItemState.REJECTED),
        ItemOutcome(99, ItemState.REJECTED),
        ItemOutcome(5, ItemState.REJECTED),
    ) == [4, 5]
    harness.check(batch)
    seen = harness.see(batch)
    assert (seen.state, seen.finished_at) == (BatchState.DONE, harness.queue.clock())
    assert harness.store.reason_counts(batch.id)[ItemState.REJECTED, "no_face"] == 1
    assert [each.number for each in harness.store.items(batch.id, state=ItemState.REJECTED,
                                                    after=2)] == [4, 5]
    assert [each.number for each in harness.store.items(batch.id, reason="no_face")] == [2]


def test_cancelling(harness: BatchHarness) -> None:
    batch = harness.read(Listed(words("a", "b", "c", "d")))
    harness.end(harness.rung[0])
    running = harness.queue.take(harness.rung[1])
    cancelled = harness.store.cancel(harness.gallery.tenant, batch.id, harness.queue)
    assert cancelled.state is BatchState.CANCELLED
    assert harness.states(batch) == {
        "a": "enrolled", "b": "enrolled", "c": "cancelled", "d": "cancelled"
    }
    assert harness.queue.see(running.job).state is JobState.CANCELLED
    assert settle(harness, batch, ItemOutcome(3, ItemState.ENROLLED)) == []
    assert len(harness.gallery.waiting()) == 2  # their objects
    with pytest.raises(BatchCancelled):
        harness.read(Listed(words("a", "b", "c", "d")))
    assert harness.store.retry(None, batch.id) == 2
    again = Listed(words("a", "b", "c", "d"))
    harness.read(again)
    assert again.read == ["c", "d"]
    harness.work()
    assert harness.see(batch).state is BatchState.DONE
    assert set(harness.states(batch).values()) == {"enrolled"}


def test_a_batch_that_was_cancelled_early_can_be_retried(harness: BatchHarness) -> None:
    batch = harness.batch()
    harness.store.cancel(None, batch.id, harness.queue)
    assert harness.store.retry(None, batch.id) == 0
    assert harness.read(Listed(words("a"))).items == 1


def test_rejected_items_are_read_again(harness: BatchHarness) -> None:
    names = ("a", "b", "c", "d")
    batch = harness.read(Listed(words(*names)))
    harness.work(unfit=["a", "b"])
    assert harness.store.retry(harness.gallery.tenant, batch.id, reasons=["bomb"]) == 0
    with pytest.raises(InvalidParameter):
        harness.store.retry(None, batch.id, states=[ItemState.WAITING])
    assert harness.store.retry(harness.gallery.tenant, batch.id, reasons=["no_face"]) == 2
    assert harness.see(batch).state is BatchState.READING
    harness.check(batch)
    source = Listed(words("b", "c", "d", "e"))  # one is gone by now, one is new
    harness.read(source)
    assert source.read == ["b", "e"]
    harness.work()
    assert harness.states(batch) == {
        "a": "rejected", "b": "enrolled", "c": "enrolled", "d": "enrolled", "e": "enrolled"
    }
    assert harness.items(batch)[0].reason == NOT_IN_SOURCE
    assert harness.see(batch).state is BatchState.DONE


def test_copies_of_retried_items_are_read_again(harness: BatchHarness) -> None:
    """One of them is enrolled, whichever is left and comes first, and however often; one
    with other bytes by now is a picture of its own."""
    same, names = picture("same"), ("first", "second", "third")
    batch = harness.read(Listed([(name, same) for name in names]), chunk_size=1)
    harness.work(unfit=["first"])
    assert harness.store.retry(None, batch.id) == 1
    harness.read(Listed([(name, same) for name in reversed(names)]))
    harness.work(unfit=names)
    assert harness.store.retry(None, batch.id) == 1
    harness.read(Listed([("second", same), ("third", picture("other"))]))
    harness.work()
    assert harness.states(batch) == {
        "first": "rejected", "second": "enrolled", "third": "enrolled"
    }
    assert harness.see(batch).state is BatchState.DONE
    assert harness.gallery.count() == 2


def test_an_erased_person_is_not_enrolled_again(harness: BatchHarness, engine: Engine) -> None:
    """Neither by the same item nor by a later copy of the picture."""
    source = Listed(words("Lovelace", "b"))
    batch = harness.read(source)
    harness.work()
    face = harness.items(batch)[0].face_id
    assert face is not None
    harness.gallery.faces.delete(harness.gallery.tenant, face)
    source.entries += [("Lovelace copy", picture("Lovelace")), *words("c")]
    harness.read(source)
    harness.work()
    with reading(engine) as connection:
        kept = str(connection.execute(select(batch_items)).all())
    assert "Lovelace" not in kept
    assert picture("Lovelace")[-20:].hex() not in kept
    erased, other, copy, last = harness.items(batch)
    assert (erased.state, copy.state) == (ItemState.ENROLLED, ItemState.DUPLICATE)
    assert erased.erased_at == copy.erased_at == harness.queue.clock()
    assert (erased.sha256, erased.image_ref, copy.image_ref) == ("", None, None)
    assert other.source_name == "b"
    assert last.state is ItemState.ENROLLED
    assert harness.gallery.count() == 2
    harness.check(batch)
    harness.store.retry(None, batch.id)
    harness.read(source)
    harness.work()
    assert harness.gallery.count() == 2


def test_copies_are_erased_with_the_picture(harness: BatchHarness, engine: Engine) -> None:
    """Also when the copy was met before its picture was enrolled, and with a gallery that
    is cleared."""
    data = picture("Lovelace")
    batch = harness.read(Listed([("Ada 1", data), ("Ada 2", data), ("Ada 3", data)]), chunk_size=1)
    harness.work()
    assert harness.states(batch) == {
        "Ada 1": "enrolled", "Ada 2": "duplicate", "Ada 3": "duplicate"
    }
    first, second, _ = harness.items(batch)
    assert (second.original, second.reason) == (1, SAME_PICTURE)
    assert (second.image_ref, second.face_id) == (first.image_ref, first.face_id)
    GalleryStore(engine, harness.gallery.media, harness.queue.clock).clear(harness.gallery.tenant)
    with reading(engine) as connection:
        assert "Ada" not in str(connection.execute(select(batch_items)).all())


def test_a_replaced_picture_belongs_to_no_item(harness: BatchHarness) -> None:
    batch = harness.read(Listed(words("a", "b")))
    harness.work()
    face = harness.items(batch)[0].face_id
    assert face is not None
    harness.gallery.replace(harness.gallery.faces.by_id(harness.gallery.tenant, face), "later")
    first, second = harness.items(batch)
    assert (first.source_name, first.sha256, second.source_name) == ("", "", "b")
    harness.check(batch)


def test_forgetting(harness: BatchHarness, clock: Clock) -> None:
    batch = harness.read(Listed(words("a", "b", "c")))
    with pytest.raises(BatchBusy):
        harness.store.forget(None, batch.id)
    harness.work()
    with pytest.raises(BatchNotFound):
        harness.store.forget(harness.gallery.tenant + 1, batch.id)
    harness.store.forget(harness.gallery.tenant, batch.id)
    assert harness.store.find(batch.id) is None
    assert harness.gallery.count() == 3
    old = harness.read(Listed(words("d")), "old")
    clock.forward(100)
    young = harness.read(Listed(words("e")), "young")
    assert harness.store.expire(100) == 0
    clock.forward(1)
    assert harness.store.expire(100) == 1
    assert [each.id for each in harness.store.page().batches] == [young.id]
    assert harness.queue.see(harness.rung[0]).params["batch"] == old.id
    harness.work()
    assert harness.gallery.count() == 4  # but for the one whose batch was forgotten


def test_deleting_a_tenant_deletes_its_batches(harness: BatchHarness, engine: Engine) -> None:
    harness.read(Listed(words("a", "b")))
    with writing(engine) as connection:
        connection.execute(delete(tenants).where(tenants.c.id == harness.gallery.tenant))
        for table in (batches, batch_items):
            assert connection.execute(select(text("1")).select_from(table)).all() == []


def test_the_sweep_keeps_objects_of_waiting_items(
    harness: BatchHarness, gallery: TenantGallery, clock: Clock
) -> None:
    harness.read(Listed(words("a", "b")))
    gallery.media.put(f"t{gallery.tenant}/images/nobody/{'0' * 64}", b"left over")
    clock.now = max(item.modified for item in gallery.media.walk("")) + GRACE_S + 1
    assert OrphanSweep(gallery.engine, gallery.media, clock).run(gallery.tenant).deleted == 1
    harness.work()
    assert gallery.named() <= gallery.objects()
    assert gallery.named() <= gallery.objects()


def test_ends_and_cancels_at_once(harness: BatchHarness) -> None:
    """No deadlock occurs, and the counters stay correct."""
    for round_ in range(3):
        batch = harness.read(Listed(words(*(f"{round_}-{n}" for n in range(8)))), f"{round_}")
        threads = [
            threading.Thread(target=harness.work),
            threading.Thread(target=harness.store.cancel, args=(None, batch.id, harness.queue)),
            threading.Thread(target=harness.store.retry, args=(None, batch.id)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        harness.check(batch)
