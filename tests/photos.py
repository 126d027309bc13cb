"""Photos as pixels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from pipeline.types import Picture


def read(path: Path) -> Picture:
    """The pixels of a file, BGR, shape (height, width, 3)."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return np.asarray(picture, np.uint8)
