"""Alignment against insightface's own, and its edge cases."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.sessions.alignment import (
    crop_arcface,
    head_angles,
    inverse_head,
    similarity_transform,
)
from pipeline.sessions.vectors import unit_rows


@pytest.mark.filterwarnings("ignore:.estimate. is deprecated:FutureWarning:insightface")
@pytest.mark.parametrize("side", [112, 224])
def test_crops_are_those_of_insightface(side: int) -> None:
    from insightface.utils.face_align import arcface_dst, norm_crop

    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    for _ in range(50):
        turn = rng.normal(size=(2, 2)) * 0.3 + np.eye(2) * rng.uniform(0.3, 3)
        noise = rng.normal(0, 4, (5, 2))
        points = (arcface_dst @ turn + rng.uniform(0, 200, 2) + noise).astype(np.float32)
        theirs = norm_crop(picture, points, side).astype(np.int16)
        assert np.abs(crop_arcface(picture, points, side) - theirs).mean() < 0.01


def test_similarity_finds_the_transform() -> None:
    rng = np.random.default_rng(4)
    source = rng.normal(size=(5, 2))
    matrix = np.array([[0.6, -0.8, 5.0], [0.8, 0.6, -7.0]]) * 3
    target = source @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(similarity_transform(source, target), matrix, atol=1e-9)


@pytest.mark.parametrize(("axes", "angle", "place"), [
    # The nose, nearest to the camera, moves to the picture's right, then down; then the
    # picture's right moves down.
    ((0, 2), 25.0, 0), ((0, 2), -40.0, 0), ((1, 2), 15.0, 1), ((1, 2), -30.0, 1), ((0, 1), 70.0, 2),
])  # fmt: skip
def test_the_angles_of_a_head(axes: tuple[int, int], angle: float, place: int) -> None:
    head = np.random.default_rng(6).normal(size=(9, 3))
    turn, (first, second) = np.eye(3), axes
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn[first, first], turn[first, second] = cos, -sin
    turn[second, first], turn[second, second] = sin, cos
    points = 40 * (head @ turn.T)[:, :2] + [200, 100]
    expected = [0.0, 0.0, 0.0]
    expected[place] = angle
    np.testing.assert_allclose(head_angles(points, inverse_head(head)), expected, atol=1e-6)


def test_points_that_coincide() -> None:
    nowhere = np.zeros((5, 2)), inverse_head(np.random.default_rng(7).normal(size=(5, 3)))
    assert head_angles(*nowhere) == (0.0, 0.0, 0.0)
    picture = np.full((20, 20, 3), 9, dtype=np.uint8)
    crop = crop_arcface(picture, np.zeros((5, 2), dtype=np.float32), 112)
    assert crop.shape == (112, 112, 3)


def test_unit_rows() -> None:
    rows = unit_rows([[3.0, 4.0], [0.0, 0.0]])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0.0, 0.0]])
