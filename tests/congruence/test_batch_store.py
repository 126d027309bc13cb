"""What is kept of batches, on both databases."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, text

from pipeline.batches.model import (
    GONE,
    SAME_PICTURE,
    Batch,
    BatchState,
    ItemState,
    NewItem,
    Options,
    Outcome,
)
from pipeline.batches.settling import lock_items, settle_items
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
from pipeline.gallery.sweep import GRACE_S, Sweep
from pipeline.jobs.model import JobState
from pipeline.sources.base import About
from tests.batch_rig import BatchRig, Listed, picture, words
from tests.gallery_factory import Shelf
from tests.job_factory import LEASE_S, Clock, add_tenant


def item(number: int, state: ItemState = ItemState.WAITING, **values: Any) -> NewItem:
    return NewItem(number, f"{number}.jpg", About(name="Ada"), state, **values)


def settle(rig: BatchRig, batch: Batch, *outcomes: Outcome) -> list[int]:
    with writing(rig.shelf.engine) as connection:
        locked = lock_items(connection, batch.id, [each.number for each in outcomes])
        return settle_items(connection, locked, outcomes, rig.queue.clock())


def test_the_same_command_finds_its_batch(rig: BatchRig, engine: Engine) -> None:
    batch = rig.batch()
    assert rig.batch() == batch
    assert rig.batch("other") != batch
    assert rig.batch(gate=True).id != batch.id
    assert rig.see(rig.batch(gate=True)).options == Options(gate=True)
    assert rig.store.listed(rig.shelf.tenant, limit=2).total == 3
    other = add_tenant(engine, "other")
    assert rig.store.listed(other).batches == ()
    with pytest.raises(BatchNotFound):
        rig.store.get(other, batch.id)
    with pytest.raises(TenantNotFound):
        rig.store.open(other + 1, "f" * 64, "x", Options())


def test_one_submitter_at_a_time(rig: BatchRig, clock: Clock) -> None:
    batch, store = rig.batch(), rig.store
    store.take_over(batch.id, "one", LEASE_S)
    with pytest.raises(BatchBusy):
        store.take_over(batch.id, "two", LEASE_S)
    clock.forward(LEASE_S - 1)
    assert store.renew(batch.id, "one", LEASE_S, 0.5).position == 0.5
    clock.forward(LEASE_S - 1)
    with pytest.raises(BatchBusy):
        store.take_over(batch.id, "two", LEASE_S)
    clock.forward(2)
    store.take_over(batch.id, "two", LEASE_S)
    for late in (
        lambda: store.renew(batch.id, "one", LEASE_S),
        lambda: store.add(batch, "one", [item(1)], chunk=8),
        lambda: store.exhaust(batch.id, "one"),
    ):
        with pytest.raises(BatchBusy):
            late()
    store.let_go(batch.id, "one")
    with pytest.raises(BatchBusy):
        store.take_over(batch.id, "one", LEASE_S)
    assert rig.items(batch) == []
    store.let_go(batch.id, "two")
    store.take_over(batch.id, "one", LEASE_S)


def test_numbers_follow_each_other(rig: BatchRig) -> None:
    batch = rig.store.take_over(rig.batch().id, "one", LEASE_S)
    rig.store.add(batch, "one", [item(1)], chunk=8)
    for number in (1, 3):
        with pytest.raises(BatchBusy):
            rig.store.add(batch, "one", [item(number)], chunk=8)
    rig.check(batch)
    assert rig.store.in_flight(batch.id) == 1


def test_items_end_once(rig: BatchRig) -> None:
    batch = rig.store.take_over(rig.batch().id, "one", LEASE_S)
    added = rig.store.add(batch, "one", [item(number) for number in range(1, 6)], chunk=2)
    assert [job.params["items"] for job in added.jobs] == [[1, 2], [3, 4], [5]]
    assert rig.store.exhaust(batch.id, "one", 5).state is BatchState.WORKING
    done = [
        Outcome(1, ItemState.ENROLLED, image_ref=7, face_id=8, faces=1),
        Outcome(2, ItemState.REJECTED, "no_face", "No face.", judged="pack"),
    ]
    assert settle(rig, batch, *done) == [1, 2]
    assert settle(rig, batch, *done, Outcome(3, ItemState.DUPLICATE, image_ref=7)) == [3]
    assert rig.see(batch).state is BatchState.WORKING
    assert settle(rig, batch, Outcome(4, ItemState.REJECTED), Outcome(99, ItemState.REJECTED),
                  Outcome(5, ItemState.REJECTED)) == [4, 5]
    rig.check(batch)
    seen = rig.see(batch)
    assert (seen.state, seen.finished_at) == (BatchState.DONE, rig.queue.clock())
    assert rig.store.reasons(batch.id)[ItemState.REJECTED, "no_face"] == 1
    assert [each.number for each in rig.store.items(batch.id, state=ItemState.REJECTED,
                                                    after=2)] == [4, 5]
    assert [each.number for each in rig.store.items(batch.id, reason="no_face")] == [2]


def test_cancelling(rig: BatchRig) -> None:
    batch = rig.read(Listed(words("a", "b", "c", "d")))
    rig.end(rig.rung[0])
    running = rig.queue.take(rig.rung[1])
    cancelled = rig.store.cancel(rig.shelf.tenant, batch.id, rig.queue)
    assert cancelled.state is BatchState.CANCELLED
    assert rig.states(batch) == {
        "a": "enrolled", "b": "enrolled", "c": "cancelled", "d": "cancelled"
    }
    assert rig.queue.see(running.job).state is JobState.CANCELLED
    assert settle(rig, batch, Outcome(3, ItemState.ENROLLED)) == []
    assert len(rig.shelf.waiting()) == 2  # their objects
    with pytest.raises(BatchCancelled):
        rig.read(Listed(words("a", "b", "c", "d")))
    assert rig.store.retry(None, batch.id) == 2
    again = Listed(words("a", "b", "c", "d"))
    rig.read(again)
    assert again.read == ["c", "d"]
    rig.work()
    assert rig.see(batch).state is BatchState.DONE
    assert set(rig.states(batch).values()) == {"enrolled"}


def test_a_batch_that_was_cancelled_early_goes_on(rig: BatchRig) -> None:
    batch = rig.batch()
    rig.store.cancel(None, batch.id, rig.queue)
    assert rig.store.retry(None, batch.id) == 0
    assert rig.read(Listed(words("a"))).items == 1


def test_once_more_what_was_rejected(rig: BatchRig) -> None:
    names = ("a", "b", "c", "d")
    batch = rig.read(Listed(words(*names)))
    rig.work(unfit=["a", "b"])
    assert rig.store.retry(rig.shelf.tenant, batch.id, reasons=["bomb"]) == 0
    with pytest.raises(InvalidParameter):
        rig.store.retry(None, batch.id, states=[ItemState.WAITING])
    assert rig.store.retry(rig.shelf.tenant, batch.id, reasons=["no_face"]) == 2
    assert rig.see(batch).state is BatchState.READING
    rig.check(batch)
    source = Listed(words("b", "c", "d", "e"))  # one is gone by now, one is new
    rig.read(source)
    assert source.read == ["b", "e"]
    rig.work()
    assert rig.states(batch) == {
        "a": "rejected", "b": "enrolled", "c": "enrolled", "d": "enrolled", "e": "enrolled"
    }
    assert rig.items(batch)[0].reason == GONE
    assert rig.see(batch).state is BatchState.DONE


def test_copies_of_what_is_read_once_more(rig: BatchRig) -> None:
    """One of them is enrolled, whichever is left and comes first, and however often; one
    with other bytes by now is a picture of its own."""
    same, names = picture("same"), ("first", "second", "third")
    batch = rig.read(Listed([(name, same) for name in names]), chunk=1)
    rig.work(unfit=["first"])
    assert rig.store.retry(None, batch.id) == 1
    rig.read(Listed([(name, same) for name in reversed(names)]))
    rig.work(unfit=names)
    assert rig.store.retry(None, batch.id) == 1
    rig.read(Listed([("second", same), ("third", picture("other"))]))
    rig.work()
    assert rig.states(batch) == {
        "first": "rejected", "second": "enrolled", "third": "enrolled"
    }
    assert rig.see(batch).state is BatchState.DONE
    assert rig.shelf.count() == 2


def test_who_was_erased_does_not_come_back(rig: BatchRig, engine: Engine) -> None:
    """Neither by the same item nor by a copy of the picture that is met later."""
    source = Listed(words("Lovelace", "b"))
    batch = rig.read(source)
    rig.work()
    face = rig.items(batch)[0].face_id
    assert face is not None
    rig.shelf.faces.delete(rig.shelf.tenant, face)
    source.entries += [("Lovelace copy", picture("Lovelace")), *words("c")]
    rig.read(source)
    rig.work()
    with reading(engine) as connection:
        kept = str(connection.execute(select(batch_items)).all())
    assert "Lovelace" not in kept
    assert picture("Lovelace")[-20:].hex() not in kept
    erased, other, copy, last = rig.items(batch)
    assert (erased.state, copy.state) == (ItemState.ENROLLED, ItemState.DUPLICATE)
    assert erased.erased_at == copy.erased_at == rig.queue.clock()
    assert (erased.sha256, erased.image_ref, copy.image_ref) == ("", None, None)
    assert other.source_name == "b"
    assert last.state is ItemState.ENROLLED
    assert rig.shelf.count() == 2
    rig.check(batch)
    rig.store.retry(None, batch.id)
    rig.read(source)
    rig.work()
    assert rig.shelf.count() == 2


def test_copies_go_with_the_picture(rig: BatchRig, engine: Engine) -> None:
    """Also when the copy was met before its picture was enrolled, and with a gallery that
    is cleared."""
    data = picture("Lovelace")
    batch = rig.read(Listed([("Ada 1", data), ("Ada 2", data), ("Ada 3", data)]), chunk=1)
    rig.work()
    assert rig.states(batch) == {
        "Ada 1": "enrolled", "Ada 2": "duplicate", "Ada 3": "duplicate"
    }
    first, second, _ = rig.items(batch)
    assert (second.original, second.reason) == (1, SAME_PICTURE)
    assert (second.image_ref, second.face_id) == (first.image_ref, first.face_id)
    GalleryStore(engine, rig.shelf.media, rig.queue.clock).clear(rig.shelf.tenant)
    with reading(engine) as connection:
        assert "Ada" not in str(connection.execute(select(batch_items)).all())


def test_a_picture_that_is_replaced_is_no_items_any_more(rig: BatchRig) -> None:
    batch = rig.read(Listed(words("a", "b")))
    rig.work()
    face = rig.items(batch)[0].face_id
    assert face is not None
    rig.shelf.replace(rig.shelf.faces.by_id(rig.shelf.tenant, face), "later")
    first, second = rig.items(batch)
    assert (first.source_name, first.sha256, second.source_name) == ("", "", "b")
    rig.check(batch)


def test_forgetting(rig: BatchRig, clock: Clock) -> None:
    batch = rig.read(Listed(words("a", "b", "c")))
    with pytest.raises(BatchBusy):
        rig.store.forget(None, batch.id)
    rig.work()
    with pytest.raises(BatchNotFound):
        rig.store.forget(rig.shelf.tenant + 1, batch.id)
    rig.store.forget(rig.shelf.tenant, batch.id)
    assert rig.store.find(batch.id) is None
    assert rig.shelf.count() == 3
    old = rig.read(Listed(words("d")), "old")
    clock.forward(100)
    young = rig.read(Listed(words("e")), "young")
    assert rig.store.expire(100) == 0
    clock.forward(1)
    assert rig.store.expire(100) == 1
    assert [each.id for each in rig.store.listed().batches] == [young.id]
    assert rig.queue.see(rig.rung[0]).params["batch"] == old.id
    rig.work()
    assert rig.shelf.count() == 4  # but for the one whose batch was forgotten


def test_a_tenant_takes_its_batches_along(rig: BatchRig, engine: Engine) -> None:
    rig.read(Listed(words("a", "b")))
    with writing(engine) as connection:
        connection.execute(delete(tenants).where(tenants.c.id == rig.shelf.tenant))
        for table in (batches, batch_items):
            assert connection.execute(select(text("1")).select_from(table)).all() == []


def test_the_sweep_leaves_what_waits(rig: BatchRig, shelf: Shelf, clock: Clock) -> None:
    rig.read(Listed(words("a", "b")))
    shelf.media.put(f"t{shelf.tenant}/images/nobody/{'0' * 64}", b"left over")
    clock.now = max(item.modified for item in shelf.media.walk("")) + GRACE_S + 1
    assert Sweep(shelf.engine, shelf.media, clock).round(shelf.tenant).deleted == 1
    rig.work()
    assert shelf.named() <= shelf.objects()
    assert shelf.named() <= shelf.objects()


def test_ends_and_cancels_at_once(rig: BatchRig) -> None:
    """Nobody waits for the other for ever, and the counters hold."""
    for round_ in range(3):
        batch = rig.read(Listed(words(*(f"{round_}-{n}" for n in range(8)))), f"{round_}")
        threads = [
            threading.Thread(target=rig.work),
            threading.Thread(target=rig.store.cancel, args=(None, batch.id, rig.queue)),
            threading.Thread(target=rig.store.retry, args=(None, batch.id)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        rig.check(batch)
