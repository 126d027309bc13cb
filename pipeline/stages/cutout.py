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
    pixels = _shrunk(pixels)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "JPEG takes any three-channel picture"
    return data.tobytes()


def _shrunk(pixels: Picture) -> Picture:
    """At most ``LONGEST`` pixels a side: means of four while that leaves enough, then one
    step of less than a half, which needs no more than its nearest four. Means over parts
    of pixels take eight times as long."""
    height, width = pixels.shape[:2]
    if max(height, width) <= LONGEST:
        return pixels
    while max(height, width) >= 2 * LONGEST:
        height, width = max(1, height // 2), max(1, width // 2)
        even = pixels[: 2 * height, : 2 * width]  # else they would be means over parts
        pixels = _resized(even, width, height, cv2.INTER_AREA)
    shrink = LONGEST / max(height, width)
    width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
    return _resized(pixels, width, height, cv2.INTER_LINEAR)


def _resized(pixels: Picture, width: int, height: int, method: int) -> Picture:
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=method), np.uint8)
