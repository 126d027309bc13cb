"""From a file's bytes to upright pixels."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.errors import PictureCorrupt
from pipeline.media.header import PictureLimits, inspect
from pipeline.types import Picture


def decode(data: bytes, limits: PictureLimits) -> Picture:
    """The upright picture, BGR, uint8, shape (height, width, 3)."""
    header = inspect(data, limits)
    flags = cv2.IMREAD_COLOR
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None or pixels.shape[1::-1] != header.upright_size:
        raise PictureCorrupt
    return pixels.astype(np.uint8, copy=False)
