"""Makes a small picture of a whole one."""

from __future__ import annotations

import cv2

from pipeline.types import Picture

SIDE = 160
"""Longer side in pixels: enough to see a blur, a crowd or a document."""

JPEG_QUALITY = 80

# Pixels of the longer side from which only every second, third, ... is looked at: averaging all of
# them takes most of the time, and nobody sees it.
LOOKED_AT = 4 * SIDE


def thumbnail(picture: Picture) -> bytes:
    """The picture at no more than ``SIDE`` pixels a side, as JPEG."""
    step = max(1, max(picture.shape[:2]) // LOOKED_AT)
    pixels = picture[::step, ::step]
    height, width = pixels.shape[:2]
    if (longer := max(height, width)) > SIDE:
        size = (max(1, round(width * SIDE / longer)), max(1, round(height * SIDE / longer)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    done, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    assert done, "JPEG takes any three-channel picture"
    return data.tobytes()
