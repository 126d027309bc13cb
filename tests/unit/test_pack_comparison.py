"""The comparison of two packs against the plainest computation of each figure."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.calibration.table import Calibration
from pipeline.duplicates.names import name_numbers
from pipeline.pack_change import comparison
from pipeline.pack_change.comparison import NOBODY, PackSide, compare_packs

OLD = Calibration("old", 16, "a" * 64, ((0.1, -1.0), (0.3, -3.0), (0.5, -6.0)))
NEW = Calibration("new", 8, "b" * 64, ((0.4, -1.0), (0.6, -3.0), (0.8, -6.0)))
SCORES = (50.0, 60.0, 70.0, 90.0)
COUNT = 40


@pytest.fixture
def names() -> list[str]:
    """Ten people, some of them in other spelling, and six faces without a person's name."""
    return [f"person {n % 10}" if n % 3 else f" Person  {n % 10}" for n in range(34)] + [
        "", "ID1", "ID2", "ID3", "20260101120000000", "",
    ]


@pytest.fixture
def pictures() -> list[str]:
    """Three faces of one person in one picture; every other face in a picture of its own."""
    return ["shared" if n in (4, 14, 24) else f"p{n}" for n in range(COUNT)]


def vectors(dimension: int, spread: float, seed: int) -> NDArray[np.float32]:
    """Faces around ten people, so that pairs reach all scores."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((10, dimension))
    made = np.array([
        centres[n % 10] + spread * random.standard_normal(dimension) for n in range(COUNT)
    ])
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("block", [7, 1024])
def test_every_figure_is_that_of_a_bare_computation(
    names: list[str], pictures: list[str], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "BLOCK", block)
    sides = (PackSide(vectors(16, 0.9, 1), OLD), PackSide(vectors(8, 0.5, 2), NEW))

    found = compare_packs(*sides, name_numbers(names), pictures, SCORES)

    person: list[object] = [
        f"person {n % 10}" if n < 34 else ("nobody", n) for n in range(COUNT)
    ]
    nearest: list[list[tuple[float, int]]] = []
    for side in sides:
        nearest.append([
            max((float(side.vectors[n] @ side.vectors[m]), m)
                for m in range(COUNT) if pictures[n] != pictures[m])
            for n in range(COUNT)
        ])
    mated = [
        n for n in range(COUNT)
        if any(person[n] == person[m] and pictures[n] != pictures[m]
               for m in range(COUNT) if m != n)
    ]
    right = [{n for n in mated if person[side[n][1]] == person[n]} for side in nearest]
    report = found.report
    assert (report.faces, report.mated) == (COUNT, len(mated))
    assert (report.right_before, report.right_after, report.right_both) == (
        len(right[0]), len(right[1]), len(right[0] & right[1])
    )
    assert 0 < report.right_both < len(mated)
    assert report.agreeing == sum(
        person[nearest[0][n][1]] == person[nearest[1][n][1]] for n in range(COUNT)
    )
    pairs = [
        (n, m) for n, m in combinations(range(34), 2) if pictures[n] != pictures[m]
    ]
    for at in report.at_scores:
        for tally, one in ((at.one_person, True), (at.different_people, False)):
            reach = [
                {(n, m) for n, m in pairs if (person[n] == person[m]) is one
                 and 100 * side.table.confidence(float(side.vectors[n] @ side.vectors[m]))
                 > at.score}
                for side in sides
            ]
            assert (tally.both, tally.lost, tally.gained) == (
                len(reach[0] & reach[1]), len(reach[0] - reach[1]), len(reach[1] - reach[0])
            )
        answers = [
            [person[m] if 100 * side.table.confidence(cosine) > at.score else None
             for cosine, m in best]
            for side, best in zip(sides, nearest, strict=True)
        ]
        both = list(zip(*answers, strict=True))
        assert at.same == sum(a == b for a, b in both)
        assert at.lost == sum(a is not None and b is None for a, b in both)
        assert at.gained == sum(a is None and b is not None for a, b in both)
        assert at.other == COUNT - at.same - at.lost - at.gained
    assert sum(at.lost + at.gained + at.other for at in report.at_scores) > 0
    same = [(n, m) for n, m in pairs if person[n] == person[m]]
    assert report.one_person.pairs == len(same)
    assert report.different_people.pairs == len(pairs) - len(same)
    median = np.median([sides[1].vectors[n] @ sides[1].vectors[m] for n, m in same])
    assert report.one_person.after[1] == pytest.approx(
        100 * NEW.confidence(float(median)), abs=0.02
    )


def test_faces_of_one_picture_find_nobody() -> None:
    side = PackSide(vectors(8, 0.5, 2)[:3], NEW)

    found = compare_packs(side, side, name_numbers(["a", "b", "a"]), ["p"] * 3, (80.0,))

    assert found.report.mated == 0
    assert list(found.before.places) == [NOBODY] * 3
    assert found.report.one_person.before == ()
    (at,) = found.report.at_scores
    assert (at.same, at.lost, at.gained, at.other) == (3, 0, 0, 0)
