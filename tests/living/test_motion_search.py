"""The search among many used clips decides as a comparison with each of them does."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import FaceError
from pipeline.living.motion_search import MotionSearch
from pipeline.living.motion_signature import COLUMNS, MotionSignature
from tests.generated_motions import COPIES, motion, signature

# From as short as a signature can be to longer than two of the others.
SECONDS = (0.8, 0.9, 1.4, 2.5, 4.0, 10.0)


@pytest.mark.parametrize("change", COPIES)
def test_no_copy_is_lost(change: str) -> None:
    chance = np.random.default_rng(len(change))
    paths = [motion(chance, seconds) for seconds in SECONDS]
    originals = [signature(path) for path in paths]
    stored = [one.to_bytes() for one in originals]
    known = 0
    for path in paths:
        copy = signature(COPIES[change](path, chance))
        matching = [number for number, one in enumerate(originals) if copy.matches(one)]
        known += len(matching)
        search = MotionSearch.of(copy)
        assert set(matching) <= set(search.candidates(stored))
        assert search.finds(stored) == bool(matching)
    assert known >= len(paths) - 2, "copies that no comparison recognises test nothing"


def test_few_others_are_compared_exactly() -> None:
    chance = np.random.default_rng(11)
    stored = [
        signature(motion(chance, chance.uniform(1.5, 6))).to_bytes() for _ in range(300)
    ]
    for _ in range(3):
        search = MotionSearch.of(signature(motion(chance, 3)))
        assert len(search.candidates(stored)) <= 15
        assert not search.finds(stored)


@pytest.mark.parametrize("seconds", [0.0, 4.3, 9.1, 21.7, 27.0])
def test_a_part_of_a_long_clip(seconds: float) -> None:
    chance = np.random.default_rng(5)
    long = motion(chance, 30)
    first = round(15 * seconds)
    part, whole = signature(long[first : first + 45]), signature(long)

    assert MotionSearch.of(part).finds([whole.to_bytes()])
    assert MotionSearch.of(whole).finds([part.to_bytes()])
    overlapping = signature(np.vstack([motion(chance, 1) + long[first], long[first:][:45]]))
    assert overlapping.matches(whole)
    assert MotionSearch.of(overlapping).finds([whole.to_bytes()])


def test_the_nearest_comes_first() -> None:
    chance = np.random.default_rng(6)
    path = motion(chance, 4)
    copies = [path + chance.normal(0, amount, path.shape) for amount in (0.6, 0.0, 0.3)]
    search = MotionSearch.of(signature(path))
    assert search.candidates([signature(one).to_bytes() for one in copies]) == [1, 2, 0]


def test_too_short_or_damaged() -> None:
    chance = np.random.default_rng(7)
    path = motion(chance, 2)
    whole, short = signature(path).to_bytes(), signature(path[:11]).to_bytes()
    search = MotionSearch.of(MotionSignature.from_bytes(whole))
    assert not search.finds([])
    assert not search.finds([b"", short])
    assert search.finds([b"", short, whole])
    for empty in (short, b""):
        assert not MotionSearch.of(MotionSignature.from_bytes(empty)).finds([whole, short])
    still = MotionSignature(np.zeros((30, COLUMNS)))
    assert not MotionSearch.of(still).finds([still.to_bytes(), whole])
    for damaged in (whole[:-1], b"x" * 15):
        with pytest.raises(FaceError):
            search.finds([whole, damaged])
