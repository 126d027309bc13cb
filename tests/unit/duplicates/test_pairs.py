"""Pairs above a cosine: none missed, none beside them."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.duplicates import pairs as nearby
from pipeline.duplicates.pairs import FaceSet, PairSearch, Vectors, choose_axes

COSINE = 0.7


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearby, "TILE_ROWS", 256)
    monkeypatch.setattr(nearby, "TILE_COLUMNS", 96)


def spread(count: int, dimension: int, seed: int, decay: float = 0.9) -> Vectors:
    """Unit vectors that spread along some axes more than along others, some of them near
    to others."""
    draw = np.random.default_rng(seed)
    vectors = draw.standard_normal((count, dimension)) * decay ** np.arange(dimension)
    vectors[count // 2 :] = vectors[: count - count // 2] + 0.6 * vectors[count // 2 :]
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def people(vectors: Vectors, names: list[int] | None = None) -> FaceSet:
    """Faces of a batch, each on a picture of its own and with a name of its own."""
    labels = np.arange(1, len(vectors) + 1)
    given = labels if names is None else np.array(names, np.int64)
    return FaceSet(vectors, labels, labels + 1000, labels, given, np.ones(len(labels), bool))


def subset(faces: FaceSet, chosen: NDArray[np.bool_] | slice) -> FaceSet:
    return FaceSet(*(getattr(faces, field.name)[chosen] for field in fields(faces)))


def found(held: FaceSet, others: FaceSet, cosine: float = COSINE) -> set[tuple[int, int]]:
    """The labels of the pairs that a search finds."""
    pairs = list(PairSearch(held, cosine).pairs(others))
    listed = [
        (int(held.labels[one]), int(others.labels[two]))
        for some in pairs
        for one, two in zip(some.rows, some.columns, strict=True)
    ]
    assert len(listed) == len(set(listed))
    for some in pairs:
        exact = np.einsum("ij,ij->i", held.vectors[some.rows], others.vectors[some.columns])
        np.testing.assert_allclose(some.cosines, exact, atol=1e-5)
    return set(listed)


def expected(vectors: Vectors, cosine: float = COSINE) -> set[tuple[int, int]]:
    one, two = np.nonzero(np.triu(vectors @ vectors.T >= cosine, 1))
    return {(int(a) + 1, int(b) + 1) for a, b in zip(one, two, strict=True)}


@pytest.mark.parametrize(
    ("count", "dimension", "decay"), [(900, 64, 0.9), (700, 128, 1.0), (40, 512, 0.99)]
)
def test_every_pair_above_the_cosine_is_found_once(
    count: int, dimension: int, decay: float
) -> None:
    vectors = spread(count, dimension, seed=count, decay=decay)
    everybody = people(vectors)
    assert found(everybody, everybody) == expected(vectors)


def test_vectors_that_spread_along_few_axes_are_compared_by_these() -> None:
    vectors = spread(1500, 128, seed=4)
    axes = choose_axes(vectors, COSINE)
    assert axes is not None
    assert axes.shape[1] < 63


def test_parts_together_find_what_the_whole_finds() -> None:
    vectors = spread(600, 64, seed=5)
    whole = people(vectors)
    parts = [subset(whole, slice(start, start + 200)) for start in (0, 200, 400)]
    pairs = [found(held, others) for held in parts for others in parts]
    assert set().union(*pairs) == expected(vectors)
    assert sum(map(len, pairs)) == len(expected(vectors))


def test_earlier_faces_are_compared_with_the_batch_only() -> None:
    vectors = spread(400, 32, seed=6)
    everybody = people(vectors)
    fresh = everybody.labels % 3 == 0
    everybody = replace(everybody, from_batch=fresh)
    touched = {
        pair for pair in expected(vectors) if any(fresh[label - 1] for label in pair)
    }
    pairs = found(subset(everybody, fresh), everybody)
    assert {(min(pair), max(pair)) for pair in pairs} == touched
    assert len(pairs) == len(touched)


def test_one_name_and_one_picture_are_no_finding() -> None:
    vector = spread(2, 16, seed=7)[:1]
    vectors = np.repeat(vector, 6, axis=0)
    everybody = people(vectors, names=[7, 7, 8, 0, 0, 9])
    everybody = replace(everybody, image_refs=np.array([1, 2, 3, 4, 5, 3]))
    pairs = found(everybody, everybody)
    assert (1, 2) not in pairs  # one name
    assert (3, 6) not in pairs  # one picture
    assert (4, 5) in pairs  # both have no name
    assert len(pairs) == 15 - 2


def test_a_crowd_of_one_person_is_compared_in_bounded_portions() -> None:
    vectors = np.repeat(spread(2, 16, seed=8)[:1], 400, axis=0)
    everybody = people(vectors)
    assert len(found(everybody, everybody)) == 400 * 399 // 2
