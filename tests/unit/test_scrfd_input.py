"""The input of the detector: to the bit the one that insightface gives it."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.sessions.scrfd_steps import _InputBuffer

SIZE = 64


def test_a_page_is_that_of_its_picture_whatever_was_on_it_before() -> None:
    chance = np.random.default_rng(3)
    page = _InputBuffer(SIZE)
    for height, width in ((64, 48), (32, 64), (64, 64), (10, 64), (64, 10)):
        picture = chance.integers(0, 256, (height, width, 3), np.uint8)
        canvas = np.zeros((SIZE, SIZE, 3), np.uint8)
        canvas[:height, :width] = picture

        shown = page.fill(picture)

        usual = cv2.dnn.blobFromImage(
            canvas, 1.0 / 128, (SIZE, SIZE), (127.5, 127.5, 127.5), swapRB=True
        )
        assert np.array_equal(shown, usual)
