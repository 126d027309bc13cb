"""Cutouts: a face with its surroundings, and no larger than necessary."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.errors import PictureCorrupt
from pipeline.stages.cutout import JPEG_QUALITY, MAX_SIDE, cut_out
from pipeline.types import Box, Picture


def page(height: int, width: int) -> Picture:
    """Soft colours, without two alike."""
    down, across = np.mgrid[0:height, 0:width]
    return np.stack(
        [255 * down / height, 255 * across / width, 128 + 100 * np.sin(down / 40)], axis=2
    ).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (512, 512), (601, 450), (1023, 777), (2400, 1400)]
)
def test_longer_side_is_bounded_and_the_picture_the_same(height: int, width: int) -> None:
    picture = page(height, width)

    jpeg = cut_out(picture, Box(0, 0, width, height))

    small = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert min(max(height, width), MAX_SIDE // 2) <= max(small.shape[:2]) <= MAX_SIDE
    assert abs(small.shape[0] / small.shape[1] - height / width) < 0.01
    exact = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", exact, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert expected is not None
    assert np.abs(small.astype(int) - expected.astype(int)).mean() < 1.5


def test_box_outside_is_damage() -> None:
    with pytest.raises(PictureCorrupt):
        cut_out(page(100, 100), Box(300, 300, 340, 340))
