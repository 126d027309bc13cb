from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration.fit import (
    BINS,
    BLOCK,
    MIN_IMPOSTOR_PAIRS,
    MIN_PEOPLE,
    CalibrationSource,
    count_pairs,
    fit_pairs,
    fit_people,
)
from pipeline.errors import InvalidParameter

DIMENSION = 128
SOURCE = CalibrationSource("made-up", "ab12", DIMENSION, "a test")

Vectors = NDArray[np.float32]


def people(count: int, faces: int, seed: int = 7) -> tuple[Vectors, list[str]]:
    """Embeddings of made-up people, `faces` each; two faces of one at cosine 0.6."""
    chance = np.random.default_rng(seed)
    centre = chance.normal(size=(count, 1, DIMENSION))
    noise = chance.normal(size=(count, faces, DIMENSION))
    vectors = (np.sqrt(0.6) * centre + np.sqrt(0.4) * noise).reshape(-1, DIMENSION)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [f"person {index}" for index in range(count) for _ in range(faces)]
    return vectors.astype(np.float32), labels


def test_pairs_are_counted_once_each() -> None:
    vectors, labels = people(BLOCK // 2 + 50, 3)
    person = np.unique(labels, return_inverse=True)[1]
    impostor, genuine = count_pairs(vectors, person)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    same = (person[:, None] == person[None])[np.triu_indices(len(vectors), 1)]
    assert impostor.sum() == (~same).sum()
    assert genuine.sum() == same.sum() == 3 * (BLOCK // 2 + 50)
    edges = np.linspace(-1, 1, BINS + 1)
    middle = float((impostor * (edges[:-1] + edges[1:]) / 2).sum() / impostor.sum())
    assert middle == pytest.approx(float(cosines[~same].mean()), abs=1e-4)


def exact_cosine_at(fmr: float) -> float:
    """The cosine that two random directions exceed with this probability: its density
    is (1 - x^2)^((d - 3) / 2)."""
    across = np.linspace(-1, 1, 200_001)
    density = (1 - across**2) ** ((DIMENSION - 3) / 2)
    above = np.cumsum(density[::-1])[::-1] / density.sum()
    return float(across[np.argmax(above <= fmr)])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_table_of_a_known_distribution(seed: int) -> None:
    table = fit_people(*people(2_000, 2, seed), SOURCE)
    for fmr in (1e-1, 1e-2, 1e-3, 1e-4):
        assert table.cosine_at(fmr) == pytest.approx(exact_cosine_at(fmr), abs=0.003)
    # Beyond the counted pairs the model extrapolates.
    assert table.cosine_at(1e-6) == pytest.approx(exact_cosine_at(1e-6), abs=0.015)
    assert table.true_match_rate > 0.99
    assert table.impostor_pairs == 4_000 * 3_999 // 2 - 2_000


def test_one_percent_of_people_swapped() -> None:
    """Half of the pictures of each of 20 people have a second name."""
    vectors, labels = people(2_000, 4)
    clean = fit_people(vectors, labels, SOURCE)
    wrong = [
        f"{label} again" if index < 20 * 4 and index % 4 < 2 else label
        for index, label in enumerate(labels)
    ]
    swapped = fit_people(vectors, wrong, SOURCE)
    # 20 people x 2 x 2 false impostor pairs, at cosine 0.6, and hardly another pair.
    assert 70 <= swapped.suspects <= 85
    assert clean.suspects <= 3
    assert abs(swapped.cosine_at(1e-4) - clean.cosine_at(1e-4)) < 0.002
    assert abs(swapped.cosine_at(1e-6) - clean.cosine_at(1e-6)) < 0.005


def test_one_percent_of_pictures_under_a_wrong_name() -> None:
    vectors, labels = people(2_000, 2)
    clean = fit_people(vectors, labels, SOURCE)
    chance = np.random.default_rng(3)
    wrong = list(labels)
    for index in chance.choice(len(labels), 40, replace=False):
        wrong[index] = labels[chance.integers(len(labels))]
    mixed = fit_people(vectors, wrong, SOURCE)
    assert abs(mixed.cosine_at(1e-4) - clean.cosine_at(1e-4)) < 0.002
    assert abs(mixed.cosine_at(1e-6) - clean.cosine_at(1e-6)) < 0.005


def test_a_list_of_pairs_gives_what_its_faces_give() -> None:
    vectors, labels = people(500, 2)
    cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
    names = np.asarray(labels)
    same = (names[:, None] == names[None])[np.triu_indices(len(vectors), 1)]
    from_pairs = fit_pairs(list(cosines), list(same), SOURCE)
    from_faces = fit_people(vectors, labels, SOURCE)
    knots = np.abs(np.subtract(from_pairs.knots, from_faces.knots))
    assert knots.max() < 1e-4
    assert from_pairs.impostor_pairs == from_faces.impostor_pairs


def test_too_few_people() -> None:
    vectors, labels = people(MIN_PEOPLE - 1, 20)
    with pytest.raises(InvalidParameter, match=f"at least {MIN_PEOPLE}"):
        fit_people(vectors, labels, SOURCE)


def test_too_few_pairs() -> None:
    with pytest.raises(InvalidParameter, match=rf"only down to 0\.005.*{MIN_IMPOSTOR_PAIRS}"):
        fit_people(*people(200, 1), SOURCE)
    with pytest.raises(InvalidParameter, match="0 pairs of different people"):
        fit_pairs([], [], SOURCE)
    with pytest.raises(InvalidParameter, match="0 pairs of different people"):
        fit_pairs([0.5], [True], SOURCE)


def test_equal_faces_are_no_table() -> None:
    """A detector that always cuts the same corner out must not end in numbers."""
    vectors = np.tile(people(1, 1)[0], (600, 1))
    with pytest.raises(InvalidParameter, match="differ"):
        fit_people(vectors, [str(index) for index in range(600)], SOURCE)
