"""Snapshots of a view: read, written, and purged of deleted faces."""

from __future__ import annotations

import pytest

from pipeline.index.snapshots import ORPHAN_AGE_S, delete_orphans, holds_deleted, purge_snapshots
from pipeline.media.directory import DirectoryStore
from tests.index_source import TENANT, FileGallery, unit_vectors
from tests.unit.index.conftest import Clock, MakeView, holds, labels_of, stored


def test_a_snapshot_is_read_and_the_log_past_it(
    make_view: MakeView, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = unit_vectors(1500)
    gallery.add(vectors[:1400], [3])
    made = make_view().snapshot()
    assert made is not None
    gallery.add(vectors[1400:])
    gallery.delete([7])
    monkeypatch.setattr(gallery, "all_entries", None)

    view = make_view()

    assert view.applied == 1501
    assert view.engine == made.engine == "codes"
    assert labels_of(view.search(vectors[[5, 1450]], 1)) == [[6], [1451]]
    assert labels_of(view.search(vectors[[6]], 1)) != [[7]]
    assert labels_of(view.search(vectors[5:6], 1, {3})) == [[6]]
    monkeypatch.undo()
    assert not view.verify()


def test_snapshots_are_written_when_due_and_two_are_kept(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore
) -> None:
    view = make_view()
    for turn in range(4):
        gallery.add(unit_vectors(101, seed=turn))
        view.maintain()
    numbers = [record.number for record in gallery.snapshots(TENANT)]
    objects = stored(store)
    view.maintain()

    assert numbers == [404, 303]
    assert [record.number for record in gallery.snapshots(TENANT)] == numbers
    assert stored(store) == objects
    kept = {record.media_key.rpartition("/")[0] for record in gallery.snapshots(TENANT)}
    assert {each.key.rpartition("/")[0] for each in store.walk("")} == kept


def test_the_deleted_leave_the_snapshots_in_time(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore, clock: Clock
) -> None:
    vectors = unit_vectors(300)
    gallery.add(vectors)
    view = make_view()
    view.maintain()
    gallery.delete([5])
    secret = vectors[4].tobytes()
    view.maintain()
    assert holds(store, secret)

    clock.now += 49
    view.maintain()
    assert holds(store, secret)
    clock.now += 2
    view.maintain()

    assert not holds(store, secret)
    assert [record.number for record in gallery.snapshots(TENANT)] == [301]
    clock.now += 1000
    view.maintain()
    assert [record.number for record in gallery.snapshots(TENANT)] == [301]


def test_a_replica_that_starts_late_purges_too(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore, clock: Clock
) -> None:
    vectors = unit_vectors(300)
    gallery.add(vectors)
    make_view().snapshot()
    gallery.delete([5])

    late = make_view()
    clock.now += 51
    late.maintain()

    assert not holds(store, vectors[4].tobytes())
    assert not make_view().verify()


def test_the_deleted_leave_without_an_index_process(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore, clock: Clock
) -> None:
    vectors = unit_vectors(300)
    gallery.add(vectors)
    record = make_view().snapshot()
    assert record is not None
    assert not holds_deleted(record, gallery)
    assert purge_snapshots(gallery, store, TENANT, clock.now + 1000, 100.0) == 0
    gallery.delete([5])

    assert purge_snapshots(gallery, store, TENANT, clock.now + 50, 100.0) == 0
    assert purge_snapshots(gallery, store, TENANT, clock.now + 100, 100.0) == 1

    assert stored(store) == 0
    assert not make_view().verify()


def test_the_deleted_leave_the_memory(make_view: MakeView, gallery: FileGallery) -> None:
    vectors = unit_vectors(1500)
    gallery.add(vectors)
    view = make_view()
    assert view.engine == "codes"
    gallery.delete(range(1, 11))
    view.catch_up()

    held = view._index
    assert held is not None
    for array in held.arrays().values():
        assert not any(vector.tobytes() in array.tobytes() for vector in vectors[:10])


def test_an_emptied_gallery_leaves_nothing(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore, clock: Clock
) -> None:
    vectors = unit_vectors(300)
    gallery.add(vectors)
    view = make_view()
    view.snapshot()
    gallery.delete(range(1, 301))
    gallery.model = None
    view.catch_up()
    clock.now += 60
    view.maintain()

    assert view.search(vectors[:1], 5) == [[]]
    assert not any(holds(store, vector.tobytes()) for vector in vectors)


def test_orphans_are_swept_and_others_stay(
    make_view: MakeView, gallery: FileGallery, store: DirectoryStore
) -> None:
    gallery.add(unit_vectors(300))
    record = make_view().snapshot()
    forgotten = make_view().snapshot()
    assert record is not None
    assert forgotten is not None
    gallery.discard_snapshot(forgotten)
    now = max(each.modified for each in store.walk(""))

    assert delete_orphans(gallery, store, TENANT, now + ORPHAN_AGE_S / 2) == 0
    assert delete_orphans(gallery, store, TENANT, now + ORPHAN_AGE_S + 1) > 0

    kept = record.media_key.rpartition("/")[0]
    assert {each.key.rpartition("/")[0] for each in store.walk("")} == {kept}
    assert not make_view().verify()
