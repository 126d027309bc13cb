"""Cutting a face out so that five points come to lie on the ArcFace template."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Crop, Picture, Points

# Where eyes, nose tip and mouth corners lie in a 112 x 112 crop: the template that
# ArcFace models are trained on (insightface.utils.face_align.arcface_dst).
_TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float64,
)
_TEMPLATE_SIDE = 112


def crop_arcface(picture: Picture, landmarks: Points, side: int) -> Crop:
    """The face as a crop of ``side`` x ``side`` pixels, black outside the picture."""
    matrix = similarity(landmarks, _TEMPLATE * (side / _TEMPLATE_SIDE))
    return cv2.warpAffine(picture, matrix, (side, side), borderValue=0.0).astype(
        np.uint8, copy=False
    )


def similarity(source: NDArray[np.floating], target: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring ``source`` closest to
    ``target``, shape (2, 3).

    Least squares after Umeyama (1991), which in two dimensions and without mirroring
    is one complex number: points that all coincide give a scale of 0.
    """
    start = source.astype(np.float64)
    centre, goal = start.mean(axis=0), target.mean(axis=0)
    x, y = (start - centre).T
    u, v = (target - goal).T
    spread = (x * x + y * y).sum()
    if spread == 0.0:
        return np.array([[0.0, 0.0, goal[0]], [0.0, 0.0, goal[1]]])
    cos, sin = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (goal - turn @ centre)[:, None]])
