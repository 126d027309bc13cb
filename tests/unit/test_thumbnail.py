"""Thumbnails: small, and recognisably the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.stages.thumbnail import SIDE, thumbnail
from tests.unit.test_cutout import page


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (120, 90), (160, 160), (161, 3), (3, 5000), (700, 500), (2400, 1400)],
)
def test_longer_side_is_bounded_and_the_picture_the_same(height: int, width: int) -> None:
    picture = page(height, width)
    small = cv2.imdecode(np.frombuffer(thumbnail(picture), np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    longer = max(height, width)
    expected = [max(1, round(side * min(1.0, SIDE / longer))) for side in (height, width)]
    assert np.abs(np.subtract(small.shape[:2], expected)).max() <= 1
    exact = cv2.resize(picture, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    if min(height, width) > 16:  # a JPEG has one colour for two pixels
        assert np.abs(small.astype(int) - exact.astype(int)).mean() < 3


def test_a_flat_picture_takes_little_room() -> None:
    assert len(thumbnail(np.full((4000, 6000, 3), 90, np.uint8))) < 2000
