"""Crops one face from a picture."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.errors import PictureCorrupt
from pipeline.types import Box, Picture

# Added on each side, as a share of the box: a detector's box ends at the hairline.
MARGIN = 0.3

# Longer side in pixels; a larger crop is halved until it fits.
MAX_SIDE = 600

JPEG_QUALITY = 90


def cut_out(picture: Picture, box: Box) -> bytes:
    """The face in ``box`` with a margin, as JPEG. Raises ``PictureCorrupt`` when the box lies
    outside the picture."""
    across, down = MARGIN * box.width, MARGIN * box.height
    wider = Box(box.left - across, box.top - down, box.right + across, box.bottom + down)
    left, top, right, bottom = wider.clipped_to(picture.shape[1], picture.shape[0])
    pixels = picture[top:bottom, left:right]
    if not pixels.size:
        raise PictureCorrupt("A face lies outside the picture.")
    pixels = _shrunk(pixels)
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "JPEG takes any three-channel picture"
    return data.tobytes()


def _shrunk(pixels: Picture) -> Picture:
    """At most ``MAX_SIDE`` pixels per side, by averaging four pixels: any other factor takes
    eight times as long."""
    while max(pixels.shape[:2]) > MAX_SIDE:
        height, width = (max(1, side // 2) for side in pixels.shape[:2])
        even = pixels[: 2 * height, : 2 * width]  # whole pixels only
        halved = cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA)
        pixels = np.asarray(halved, np.uint8)
    return pixels
