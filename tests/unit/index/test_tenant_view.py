"""A view follows its gallery: log, engines, readers and writers."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import IndexBehind
from pipeline.index.verify import IndexDifference
from pipeline.types import VectorModel
from tests.index_source import MODEL, TENANT, FileGallery, mates, unit_vectors
from tests.unit.index.conftest import OPTIONS, MakeView, labels_of


def test_an_empty_gallery_is_searched(make_view: MakeView) -> None:
    view = make_view()

    assert view.search(unit_vectors(2), 5) == [[], []]
    assert (view.applied, len(view), view.engine) == (0, 0, "flat")
    view.maintain()
    view.snapshot()
    assert len(make_view()) == 0


def test_a_gallery_without_a_model_yet(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.model = None
    view = make_view()
    assert (view.engine, view.snapshot()) == ("", None)
    assert view.search(unit_vectors(1), 1) == [[]]

    gallery.model = MODEL
    gallery.add(unit_vectors(3))

    assert labels_of(view.search(unit_vectors(3), 1, at_least=3)) == [[1], [2], [3]]


def test_what_was_written_is_read(make_view: MakeView, gallery: FileGallery) -> None:
    view = make_view()
    for turn in range(50):
        vector = unit_vectors(1, seed=100 + turn)
        label = gallery.add(vector)[0]
        assert labels_of(view.search(vector, 1, at_least=gallery.latest(TENANT))) == [[label]]
        if turn % 2:
            gallery.delete([label])
            hits = view.search(vector, 50, at_least=gallery.latest(TENANT))[0]
            assert label not in [hit.label for hit in hits]
    assert not view.verify()


def test_a_search_that_asks_for_the_future_is_refused(
    make_view: MakeView, gallery: FileGallery
) -> None:
    gallery.add(unit_vectors(3))
    view = make_view()

    with pytest.raises(IndexBehind):
        view.search(unit_vectors(1), 1, at_least=4)


def test_a_search_that_asks_for_nothing_new_reads_no_log(
    make_view: MakeView, gallery: FileGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add(unit_vectors(3))
    view = make_view()
    monkeypatch.setattr(gallery, "changed", None)

    assert labels_of(view.search(unit_vectors(1), 1, at_least=3)) == [[1]]


def test_the_engine_grows_and_shrinks_with_the_gallery(
    make_view: MakeView, gallery: FileGallery
) -> None:
    vectors = unit_vectors(1200)
    gallery.add(vectors[:1000])
    view = make_view()
    assert view.engine == "flat"

    gallery.add(vectors[1000:])
    view.catch_up()
    assert view.engine == "codes"
    assert [labels[0] for labels in labels_of(view.search(mates(vectors, 0.9), 1))] == list(
        range(1, 1201)
    )

    gallery.delete(range(1, 600))
    view.catch_up()
    assert (len(view), view.engine) == (601, "codes")
    gallery.delete(range(600, 800))
    view.catch_up()
    assert (len(view), view.engine) == (401, "flat")
    view.maintain()
    assert not view.verify()
    assert labels_of(view.search(vectors[800:], 1)) == [[label] for label in range(801, 1201)]


def test_collections_come_and_go_beyond_the_slots(
    make_view: MakeView, gallery: FileGallery
) -> None:
    vectors = unit_vectors(130)
    view = make_view()
    for name in range(1, 131):
        label = gallery.add(vectors[name - 1 : name], [name])[0]
        assert labels_of(view.search(vectors[:1], 5, {name}, gallery.latest(TENANT))) == [[label]]
        if name > 60:
            gallery.drop_collection(name - 60)
    live = gallery.live_collections(TENANT)
    assert all(labels_of(view.search(vectors[:1], 5, {name})) == [[name]] for name in live)


def test_rebinding_is_followed(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.add(unit_vectors(2), [1])
    view = make_view()
    gallery.bind(2, [5])

    found = view.search(unit_vectors(1), 5, {1}, at_least=3)

    assert labels_of(found) == [[1]]
    assert labels_of(view.search(unit_vectors(1), 5, {5})) == [[2]]
    assert not view.verify()


def test_another_pack_is_read_anew(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.add(unit_vectors(300))
    view = make_view()
    view.snapshot()
    gallery.delete(range(1, 301))
    gallery.model = VectorModel("other", "6" * 64, 32)
    gallery.add(unit_vectors(5, 32))

    found = view.search(unit_vectors(5, 32), 1, at_least=605)

    assert labels_of(found) == [[label] for label in range(301, 306)]
    assert not make_view().verify()


def test_a_log_that_was_cut_off_is_noticed(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.add(unit_vectors(50))
    view = make_view()
    gallery.delete([1, 2, 3])
    gallery.add(unit_vectors(2, seed=3))
    gallery.cut_log(52)
    assert view.catch_up() == 55
    assert not view.verify()

    gallery.delete([4])
    gallery.cut_log(56)
    assert view.catch_up() == 56
    assert not view.verify()


def test_an_older_database_put_back_is_noticed(
    make_view: MakeView, gallery: FileGallery, tmp_path: Path
) -> None:
    gallery.add(unit_vectors(50))
    view = make_view()
    older = FileGallery(tmp_path / "older.db")
    older.add(unit_vectors(20, seed=9))
    view._source = older

    assert view.catch_up() == 20
    assert not view.verify()


def test_a_damaged_vector_hides_nobody_else(
    make_view: MakeView, gallery: FileGallery, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = unit_vectors(20)
    spoilt = vectors.copy()
    spoilt[3] = np.nan
    gallery.add(spoilt)
    view = make_view()
    gallery.add(np.full((1, 64), 2, np.float32))
    view.catch_up()

    assert view.verify() == IndexDifference(missing=(4, 21))
    assert labels_of(view.search(vectors[[2, 4]], 1)) == [[3], [5]]
    assert "invalid vectors" in caplog.text


def test_verify_names_what_differs(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.add(unit_vectors(10), [1])
    view = make_view()
    held = view._index
    assert held is not None
    held.remove([2])
    held.rows._masks[4] = 0
    held.rows.vectors[6] = unit_vectors(1, seed=5)[0]

    assert view.verify() == IndexDifference(missing=(2,), altered=(5, 7))


def test_garbage_brings_a_fresh_build(make_view: MakeView, gallery: FileGallery) -> None:
    gallery.add(unit_vectors(400))
    view = make_view(replace(OPTIONS, garbage_share=0.2))
    gallery.delete(range(1, 101))
    view.maintain()

    held = view._index
    assert held is not None
    assert held.garbage_share == 0
    assert not view.verify()


def test_the_canary_counts(make_view: MakeView, gallery: FileGallery) -> None:
    vectors = unit_vectors(1500)
    gallery.add(vectors)
    view = make_view(replace(OPTIONS, canary_every=10))
    for vector in mates(vectors[:100], 0.9):
        view.search(vector[None], 1)
    assert (view.canary.checked, view.canary.found, view.canary.recall) == (10, 10, 1.0)

    held = view._index
    assert held is not None
    held._nearest = lambda probes, k, selected: [(np.array([3]), np.array([0.1]))]  # type: ignore[method-assign]
    for vector in vectors[100:200]:
        view.search(vector[None], 1)
    assert (view.canary.checked, view.canary.recall) == (20, 0.5)


def test_searches_beside_changes_see_whole_states(
    make_view: MakeView, gallery: FileGallery
) -> None:
    vectors = unit_vectors(600)
    gallery.add(vectors[:500])
    view = make_view()
    ended = threading.Event()
    wrong: list[list[int]] = []

    def search() -> None:
        while not ended.is_set():
            found = labels_of(view.search(vectors[:20], 1))
            wrong.extend(labels for place, labels in enumerate(found) if labels != [place + 1])

    readers = [threading.Thread(target=search) for _ in range(3)]
    for reader in readers:
        reader.start()
    for turn in range(12):
        labels = gallery.add(unit_vectors(200, seed=50 + turn))
        view.catch_up()
        gallery.delete(labels)
        view.catch_up()
        if turn % 4 == 0:
            view.compact()
    ended.set()
    for reader in readers:
        reader.join()

    assert wrong == []
    assert not view.verify()
