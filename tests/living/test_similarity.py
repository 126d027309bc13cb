"""The similarity of two motions: shifts, and the weight of their common rows."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.living.similarity import Motion, motion_similarity, similarity_by_shift

COLUMNS = 30
ONES = np.ones(COLUMNS)


def life(rows: int, seed: int = 3) -> Motion:
    """Columns that go their ways, smoothly."""
    steps = np.random.default_rng(seed).normal(0, 1, (rows, COLUMNS))
    return np.asarray(np.cumsum(steps, axis=0), np.float64)


def test_along_is_what_a_plain_loop_finds() -> None:
    one, other, least = life(20), life(13, seed=4), 7
    found = similarity_by_shift(one, other, least)

    shifts = range(least - 13, 20 - least + 1)
    assert len(found) == len(shifts)
    for shift, value in zip(shifts, found, strict=True):
        start, stop = max(shift, 0), min(shift + 13, 20)
        first, last = one[start:stop], other[start - shift : stop - shift]
        first, last = first - first.mean(axis=0), last - last.mean(axis=0)
        plain = 2 * (first * last).sum() / ((first**2).sum() + (last**2).sum())
        assert value == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_part_is_found_whichever_way_it_runs(direction: int, sign: float) -> None:
    whole = life(80)
    part = (whole[30:60] * sign)[::direction]

    assert motion_similarity(whole, part, sign * ONES, 20) > 0.95
    assert motion_similarity(part, whole, sign * ONES, 20) > 0.95
    assert motion_similarity(life(80, seed=4), part, sign * ONES, 20) < 0.4


def test_one_half_alone_is_not_enough() -> None:
    one = life(60)
    other = one.copy()
    other[:, COLUMNS // 2 :] = life(60, seed=4)[:, COLUMNS // 2 :]

    assert motion_similarity(one, other, ONES, 50) < 0.5
