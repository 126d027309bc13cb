"""Anti-spoof models: whether a face looks like skin, or like paper or a screen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged
from pipeline.sessions.runtime import mapped_run_errors, open_session
from pipeline.types import Box, Picture

_LIVE = 1
"""The class of a live face; 0 and 2 are prints and screens."""


class MiniFasNets:
    """The MiniFASNet models of Silent-Face-Anti-Spoofing (MiniVision, 2020), averaged.

    Each model takes a crop of another size around the face, BGR, 0 to 255.
    """

    def __init__(self, models: Sequence[tuple[Path, float]], settings: Settings) -> None:
        """``models``: each file with the size of its crop in sizes of the face's box. Raises
        ``PackDamaged``."""
        self._models = [(path, open_session(path, settings), scale) for path, scale in models]
        for path, session, scale in self._models:
            if len(session.get_inputs()[0].shape) != 4 or scale <= 0:
                raise PackDamaged(f"{path} is no anti-spoof model with a stated crop_scale.")

    def score(self, picture: Picture, box: Box) -> float:
        """How live the face in ``box`` looks, 0 to 1."""
        chances = []
        for path, session, scale in self._models:
            wanted = session.get_inputs()[0]
            side = int(wanted.shape[2])
            crop = cv2.resize(crop_around(picture, box, scale), (side, side))
            values = crop.astype(np.float32).transpose(2, 0, 1)[None]
            with mapped_run_errors(path):
                logits = session.run(None, {wanted.name: values})[0][0]
            chances.append(_softmax(logits)[_LIVE])
        return float(np.mean(chances))


def crop_around(picture: Picture, box: Box, scale: float) -> Picture:
    """The part of ``picture`` around the centre of the box, ``scale`` times its size; shrunk
    to fit into the picture, then shifted to lie inside it."""
    height, width = picture.shape[:2]
    across, down = max(box.width, 1.0), max(box.height, 1.0)
    scale = min(scale, (height - 1) / down, (width - 1) / across)
    x, y = box.centre
    left, right = _inside(x, across * scale, width)
    top, bottom = _inside(y, down * scale, height)
    return picture[top:bottom, left:right]


def _inside(centre: float, length: float, limit: int) -> tuple[int, int]:
    """The range of whole pixels (start, end exclusive) within 0 and ``limit``."""
    start = min(max(centre - length / 2, 0.0), max(limit - 1 - length, 0.0))
    begin = min(int(start), limit - 1)
    return begin, max(min(int(start + length) + 1, limit), begin + 1)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(powers / powers.sum(), dtype=np.float64)
