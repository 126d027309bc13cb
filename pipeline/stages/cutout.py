"""A picture of one face alone."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.errors import PictureCorrupt
from pipeline.types import Box, Picture

# Of the box's sides, added on each side: a detector's box ends at the hairline.
MARGIN = 0.3

# Pixels of the longer side; larger ones are scaled down.
LONGEST = 512

JPEG_QUALITY = 90


def cut_out(picture: Picture, box: Box) -> bytes:
    """The face in ``box`` with some of what is around it, as JPEG. Raises
    ``PictureCorrupt`` when the box lies outside the picture."""
    across, down = MARGIN * box.width, MARGIN * box.height
    wider = Box(box.left - across, box.top - down, box.right + across, box.bottom + down)
    left, top, right, bottom = wider.inside(picture.shape[1], picture.shape[0])
    pixels = picture[top:bottom, left:right]
    if not pixels.size:
        raise PictureCorrupt("A face lies outside the picture.")
    shrink = LONGEST / max(pixels.shape[:2])
    if shrink < 1:
        width, height = (max(1, round(side * shrink)) for side in pixels.shape[1::-1])
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8
        )
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "JPEG takes any three-channel picture"
    return data.tobytes()
