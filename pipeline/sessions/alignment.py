"""Aligns faces to a fixed size and position by their landmarks."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Crop, Picture, Points

# Eyes, nose tip and mouth corners in a 112 x 112 crop: the template that ArcFace models are
# trained on (insightface.utils.face_align.arcface_dst).
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
    matrix = similarity_transform(landmarks, _TEMPLATE * (side / _TEMPLATE_SIDE))
    return cv2.warpAffine(picture, matrix, (side, side), borderValue=0.0).astype(
        np.uint8, copy=False
    )


def similarity_transform(
    source: NDArray[np.floating], target: NDArray[np.floating]
) -> NDArray[np.float64]:
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


def inverse_head(head: NDArray[np.float64]) -> NDArray[np.float64]:
    """Maps the points of a picture to the camera that projects the points of ``head`` there,
    by least squares; shape (3, n). ``head``, shape (n, 3): x to the picture's right, y down, z
    away from the camera."""
    return np.asarray(np.linalg.pinv(head - head.mean(axis=0)), np.float64)


def head_angles(
    points: NDArray[np.floating], inverse: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in degrees of the head that the picture shows at ``points``, shape
    (n, 2), with the ``inverse_head`` of the same points: yaw and pitch from -90 to 90, roll from
    -180 to 180; zeros for points that all coincide.

    As seen by the camera, yaw is positive for a face turned to the picture's right, pitch
    for a face that looks down, roll for a head tilted clockwise. A scaled orthographic
    camera, then the nearest rotation (Umeyama 1991).
    """
    camera = (inverse @ (points - points.mean(axis=0))).T
    left, spread, right = np.linalg.svd(camera, full_matrices=False)
    if spread[0] < 1e-6:
        return 0.0, 0.0, 0.0
    across, down = (left @ right).tolist()
    away = across[0] * down[1] - across[1] * down[0]  # of the axis perpendicular to both
    angles = (-across[2], away), (-down[2], away), (down[0], across[0])
    yaw, pitch, roll = (math.degrees(math.atan2(*sides)) for sides in angles)
    return yaw, pitch, roll


def prepare_warp(
    picture: Picture, matrix: NDArray[np.float64], side: int, *, shrink: float, margin: int
) -> tuple[Picture, NDArray[np.float64]]:
    """Crops and shrinks a picture before a warp by ``matrix``, shape (2, 3), to ``side`` x
    ``side`` pixels. Returns the part of the picture with ``margin`` pixels around it,
    averaged to ``shrink`` of its size when that is below 1, and the matrix from that part.
    Without averaging, the warp would sample single pixels of a large face, which is noise.
    """
    matrix = matrix.copy()
    part, offset = _around(picture, matrix, side, margin)
    matrix[:, 2] += matrix[:, :2] @ offset
    if shrink < 1:
        height, width = part.shape[:2]
        small = max(round(width * shrink), 1), max(round(height * shrink), 1)
        part = np.asarray(cv2.resize(part, small, interpolation=cv2.INTER_AREA), np.uint8)
        back = np.array([width / small[0], height / small[1]])
        # Whole coordinates are the centres of pixels, not their corners.
        matrix[:, 2] += matrix[:, :2] @ (back - 1) / 2
        matrix[:, :2] *= back
    return part, matrix


def _around(
    picture: Picture, matrix: NDArray[np.float64], side: int, margin: int
) -> tuple[Picture, NDArray[np.float64]]:
    """The part of the picture that the warp maps to the square, and its offset."""
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]) @ inverse.T
    height, width = picture.shape[:2]
    first, last = np.floor(corners.min(axis=0)) - margin, np.ceil(corners.max(axis=0)) + margin
    left, top = np.clip(first, 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(last, 1, (width, height)).astype(int)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    return picture[top:bottom, left:right], np.array([left, top], dtype=np.float64)
