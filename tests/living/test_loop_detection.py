"""A loop repeats the whole course of a face; blinks and nods of a live face do not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.living.loop_detection import has_loop
from pipeline.living.stabilise import FACE_SIDE, GreyImage

RATE = 15.0
CHANGES = 16  # of light and shade, each with a course of its own


def course(frames: int, seed: int = 1) -> NDArray[np.float64]:
    steps = np.random.default_rng(seed).normal(0, 1.2, (frames, CHANGES))
    return np.asarray(np.cumsum(steps, axis=0), np.float64)


def shown(courses: NDArray[np.float64], seed: int = 5) -> list[GreyImage]:
    """A face that changes along ``courses``, with a camera's noise."""
    chance = np.random.default_rng(2)
    patterns = [
        cv2.GaussianBlur(chance.normal(0, 1, (FACE_SIDE, FACE_SIDE)), (0, 0), 8)
        for _ in range(CHANGES + 1)
    ]
    face, *changes = (one / one.std() for one in patterns)
    noise = np.random.default_rng(seed)
    return [
        np.clip(
            128 + 40 * face + np.tensordot(row, changes, 1) + noise.normal(0, 2, face.shape), 0, 255
        ).astype(np.uint8)
        for row in courses
    ]


def looped(courses: NDArray[np.float64]) -> bool:
    return has_loop((np.arange(len(courses)) / RATE).tolist(), shown(courses))


@pytest.mark.parametrize("frames", [15, 30])
def test_a_part_that_repeats(frames: int) -> None:
    part = course(frames)

    assert looped(np.vstack([part, part, part]))
    assert looped(np.vstack([part, part[::-1], part, part[::-1]]))
    assert not looped(course(3 * frames))


def test_the_same_blink_twice() -> None:
    """One change, by far the largest, goes the same way twice; the others do not."""
    courses = course(60)
    courses[:, 0] = 25 * np.exp(-(((np.arange(60) % 30) - 15) / 2.0) ** 2)

    assert not looped(courses)


def test_a_clip_too_short_or_too_still() -> None:
    assert not has_loop([], [])
    assert not looped(course(7))
    assert not looped(np.zeros((45, CHANGES)))
