"""One suite over every engine, each beside exact search."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import BadVector, ConfigurationError
from pipeline.index.base import Hit
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.flat import FlatIndex
from pipeline.index.vector_rows import VectorRows
from pipeline.types import IndexEntry
from tests.conftest import missing
from tests.index_source import mates, unit_vectors

DIMENSION = 64
Made = Callable[[int], FlatIndex]

# Small enough that the codes shorten what a thousand vectors need.
CHOICES = {
    "flat": EngineChoice("flat"),
    "codes": EngineChoice("codes", short_list=100),
    "hnsw": EngineChoice("hnsw"),
}


@pytest.fixture(params=list(CHOICES))
def choice(request: pytest.FixtureRequest) -> EngineChoice:
    chosen = CHOICES[request.param]
    try:
        chosen.build(VectorRows(DIMENSION))
    except ConfigurationError as error:
        missing(error.message)
    return chosen


@pytest.fixture
def index(choice: EngineChoice) -> FlatIndex:
    """An empty index."""
    return choice.build(VectorRows(DIMENSION))


def entries(
    vectors: NDArray[np.float32], first: int = 1, collections: tuple[int, ...] = ()
) -> list[IndexEntry]:
    return [
        IndexEntry(label, vector, frozenset(collections))
        for label, vector in enumerate(vectors, first)
    ]


def labels_of(found: list[list[Hit]]) -> list[list[int]]:
    return [[hit.label for hit in hits] for hits in found]


def assert_like_exact(
    index: FlatIndex, probes: NDArray[np.float32], k: int,
    collections: frozenset[int] | None = None,
) -> None:
    """The engine's answer is exact search's."""
    found = index.search(probes, k, collections)
    truth = index.search_exactly(probes, k, collections)
    for mine, exact in zip(found, truth, strict=True):
        np.testing.assert_allclose(
            [hit.cosine for hit in mine], [hit.cosine for hit in exact], atol=1e-5
        )


def test_an_empty_index_finds_nothing(index: FlatIndex) -> None:
    assert index.search(unit_vectors(3), 5) == [[], [], []]
    assert index.search(unit_vectors(3), 5, {1}) == [[], [], []]
    assert index.labels().tolist() == []


def test_it_is_an_index(index: FlatIndex) -> None:
    assert index.dimension == DIMENSION
    assert len(index) == 0


@pytest.mark.parametrize("lean", [0.0, 2.0])
@pytest.mark.parametrize("count", [1, 7, 3000])
def test_mates_are_found(choice: EngineChoice, count: int, lean: float) -> None:
    vectors = unit_vectors(count, lean=lean)
    index = choice.build(VectorRows(DIMENSION))
    index.upsert(entries(vectors))

    found = index.search(mates(vectors, 0.9), 1)

    right = np.mean([hits[0].label == label for label, hits in enumerate(found, 1)])
    exact = index.search_exactly(mates(vectors, 0.9), 1)
    assert labels_of(exact) == labels_of(found) or right > 0.999
    assert len(index) == count


def test_the_nearest_come_first_and_no_more_than_asked(index: FlatIndex) -> None:
    vectors = unit_vectors(1000)
    index.upsert(entries(vectors))

    for hits in index.search(mates(vectors[:5], 0.8), 10):
        cosines = [hit.cosine for hit in hits]
        assert cosines == sorted(cosines, reverse=True)
        assert len(hits) == 10


def test_asking_for_more_than_there_is_gives_all(index: FlatIndex) -> None:
    index.upsert(entries(unit_vectors(20)))
    index.remove(range(1, 11))

    found = index.search(unit_vectors(2, seed=9), 50)

    assert [sorted(labels) for labels in labels_of(found)] == [list(range(11, 21))] * 2


def test_what_is_removed_is_not_found(index: FlatIndex) -> None:
    vectors = unit_vectors(1000)
    index.upsert(entries(vectors))
    index.remove(range(1, 1001, 2))

    found = index.search(vectors, 3)

    assert not {label for labels in labels_of(found) for label in labels} & set(range(1, 1001, 2))
    assert [labels[0] for labels in labels_of(found)[1::2]] == list(range(2, 1001, 2))
    assert index.labels().tolist() == list(range(2, 1001, 2))
    assert_like_exact(index, mates(vectors, 0.8), 1)


def test_removing_and_adding_twice_changes_nothing(index: FlatIndex) -> None:
    batch = entries(unit_vectors(50))
    index.upsert(batch)
    index.upsert(batch)
    index.remove([1, 1, 999])
    index.remove([1])

    assert index.labels().tolist() == list(range(2, 51))
    assert labels_of(index.search(unit_vectors(50)[1:2], 1)) == [[2]]


def test_rows_are_used_again_and_labels_are_not(index: FlatIndex) -> None:
    old, new = unit_vectors(500, seed=1), unit_vectors(500, seed=2)
    index.upsert(entries(old))
    index.remove(range(1, 501))
    index.upsert(entries(new, first=501))

    assert labels_of(index.search(new, 1)) == [[label] for label in range(501, 1001)]
    assert index.rows.end == 500
    assert all(hits[0].cosine < 0.9 for hits in index.search(old, 1))


def test_churn_keeps_the_index_like_exact_search(index: FlatIndex) -> None:
    draw = np.random.default_rng(3)
    live: dict[int, NDArray[np.float32]] = {}
    last = 0
    for turn in range(5):
        vectors = unit_vectors(600, seed=10 + turn)
        index.upsert(entries(vectors, first=last + 1))
        live |= dict(enumerate(vectors, last + 1))
        last += 600
        gone = draw.choice(sorted(live), size=len(live) // 2, replace=False).tolist()
        index.remove(gone)
        for label in gone:
            del live[label]

    probes = mates(np.stack(list(live.values())), 0.8)

    assert index.labels().tolist() == sorted(live)
    assert_like_exact(index, probes, 1)
    assert [labels[0] for labels in labels_of(index.search(probes, 1))] == list(live)


def test_only_the_collections_asked_for(index: FlatIndex) -> None:
    vectors = unit_vectors(900)
    for place, collections in enumerate([(10,), (20,), (10, 20)]):
        part = slice(300 * place, 300 * place + 300)
        index.upsert(entries(vectors[part], 300 * place + 1, collections))

    def found_in(collections: set[int]) -> set[int]:
        probes = unit_vectors(1, seed=8)
        return {hit.label for hit in index.search(probes, 900, collections)[0]}

    assert found_in({10}) == set(range(1, 301)) | set(range(601, 901))
    assert found_in({20}) == set(range(301, 901))
    assert found_in({10, 20}) == set(range(1, 901))
    assert found_in({30}) == set()
    assert found_in(set()) == set()
    assert_like_exact(index, mates(vectors, 0.8), 1, frozenset({10}))


def test_a_label_may_change_its_collections(index: FlatIndex) -> None:
    vectors = unit_vectors(10)
    index.upsert(entries(vectors, collections=(1,)))
    index.upsert([IndexEntry(3, vectors[2], frozenset({2}))])

    assert {hit.label for hit in index.search(vectors[:1], 10, {1})[0]} == set(range(1, 11)) - {3}
    assert labels_of(index.search(vectors[:1], 10, {2})) == [[3]]


def test_equal_vectors_share_a_row_and_all_are_named(index: FlatIndex) -> None:
    vectors = unit_vectors(500)
    index.upsert(entries(vectors))
    index.upsert([IndexEntry(1000 + n, vectors[0], frozenset({n % 2})) for n in range(400)])

    assert index.rows.used == 500
    twins = [1, *range(1000, 1400)]
    assert labels_of(index.search(vectors[:1], 401)) == [twins]
    assert labels_of(index.search(vectors[:1], 3)) == [[1, 1000, 1001]]
    assert labels_of(index.search(vectors[:1], 2, {1})) == [[1001, 1003]]
    # no other face is crowded out
    assert [labels[0] for labels in labels_of(index.search(vectors, 1))] == list(range(1, 501))

    index.remove([1, *range(1001, 1400)])
    assert labels_of(index.search(vectors[:1], 1)) == [[1000]]
    assert labels_of(index.search(vectors[:1], 1, {1})) == [[]]
    index.remove([1000])
    assert index.rows.used == 499
    assert len(index) == 499


@pytest.mark.parametrize(
    "spoilt",
    [np.full(DIMENSION, np.nan), np.full(DIMENSION, np.inf), np.zeros(DIMENSION),
     np.ones(DIMENSION), np.eye(DIMENSION + 1)[0]],
    ids=["nan", "infinite", "zero", "long", "dimension"],
)
def test_what_is_no_unit_vector_is_refused_whole(
    index: FlatIndex, spoilt: NDArray[np.float64]
) -> None:
    batch = [*entries(unit_vectors(3)), IndexEntry(4, spoilt.astype(np.float32))]

    with pytest.raises(BadVector):
        index.upsert(batch)
    with pytest.raises(BadVector):
        index.search(spoilt.astype(np.float32)[None], 1)

    assert len(index) == 0


def test_an_index_comes_back_from_its_arrays(choice: EngineChoice, index: FlatIndex) -> None:
    vectors = unit_vectors(1500)
    index.upsert(entries(vectors, collections=(4,)))
    index.upsert([IndexEntry(2000, vectors[5], frozenset({6}))])
    index.remove(range(100, 200))

    again = choice.restore(
        index.engine, {name: array.copy() for name, array in index.arrays().items()}
    )
    again.upsert(entries(unit_vectors(300, seed=5), first=3000))
    index.upsert(entries(unit_vectors(300, seed=5), first=3000))

    assert again.labels().tolist() == index.labels().tolist()
    assert again.search(vectors, 2) == index.search(vectors, 2)
    assert labels_of(again.search(vectors[5:6], 2, {6})) == [[2000]]
    assert_like_exact(again, mates(vectors, 0.8), 1)


def test_a_compacted_index_holds_the_same(choice: EngineChoice, index: FlatIndex) -> None:
    vectors = unit_vectors(1000)
    index.upsert(entries(vectors, collections=(4,)))
    index.upsert([IndexEntry(2000, vectors[999])])
    index.remove(range(1, 901))

    again = choice.build(index.rows.compacted())

    assert index.garbage_share > 0.85
    assert again.garbage_share == 0
    assert again.labels().tolist() == index.labels().tolist()
    assert labels_of(again.search(vectors[999:], 2)) == [[1000, 2000]]
