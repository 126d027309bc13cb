"""Face quality: size, sharpness, light and pose, compared with limits.

Measurements use the face aligned by its landmarks, so that size and rotation of the picture
do not matter.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.sessions.alignment import (
    head_angles,
    inverse_head,
    prepare_warp,
    similarity_transform,
)
from pipeline.types import DetectedFace, LandmarkScheme, Picture, Quality, QualityLimits

GreyFloat = NDArray[np.float32]

SIDE = 112
"""Side in pixels of the aligned face, in which the eyes are 35 pixels apart."""

# Positions of the aligned landmarks: the ArcFace template, and for dlib's points their mean
# on 1,029 faces (LFW) aligned by that template.
_PLACES: dict[LandmarkScheme, NDArray[np.float64]] = {
    "arcface5": np.array(
        [[38.29, 51.7], [73.53, 51.5], [56.03, 71.74], [41.55, 92.37], [70.73, 92.2]]
    ),
    "dlib5": np.array(
        [[80.49, 52.97], [66.45, 53.41], [30.35, 52.78], [44.61, 53.26], [55.53, 80.24]]
    ),
}

# Rows and columns of the aligned face without hair and background.
_INNER = (slice(10, 106), slice(10, 102))

# Sharpness compares two bands of detail, of about 1 and 2.4 pixels of the aligned face
# (3 % and 7 % of the distance between the eyes). Blur removes the fine band first; noise,
# JPEG and darkness hardly change the ratio.
FINE, COARSE = 1.0, 2.4

# The ratio of score 0, reached at a blur of 4 pixels, and the ratio of score 100, which 3 %
# of LFW exceed. Half of LFW lies between 0.46 and 0.55.
_BLURRED, _SHARP = 0.22, 0.62

# The mean head of 1,040 LFW faces registered in three dimensions, in units of the distance
# between the eyes: x to the picture's right, y down, z away from the camera; eyes, nose tip,
# mouth corners.
_HEAD = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.545, -0.68], [-0.423, 1.016, -0.145], [0.423, 1.016, -0.145]]
)
_INVERSE_HEAD = inverse_head(_HEAD)

# The base of the nose in dlib's points, in the same unit: its distance in front of the eyes
# and below them, and the change of the latter with pitch.
_NOSE_BEFORE, _NOSE_BELOW, _NOD = 0.5, 0.766, 0.6


def quality_limits(settings: Settings) -> QualityLimits:
    """The operator's limits."""
    names = (field.name for field in fields(QualityLimits))
    return QualityLimits(**{name: getattr(settings, f"quality_{name}") for name in names})


def measure(picture: Picture, face: DetectedFace) -> Quality:
    """Measures the quality of one face; takes about a millisecond."""
    grey = aligned(picture, face)
    inner = grey[_INNER]
    yaw, pitch, roll = pose(face)
    size = min(face.box.width, face.box.height)
    blur, brightness, contrast = sharpness(grey), float(inner.mean()), float(inner.std())
    score = (
        _ramp(size, 0, 100) * _ramp(blur, 0, 75) * _ramp(contrast, 0, 28)
        * min(_ramp(brightness, 0, 80), _ramp(255 - brightness, 0, 40))
        * _facing(yaw) * _facing(pitch)
    )
    return Quality(
        size=float(size), blur=blur, brightness=brightness, contrast=contrast,
        yaw=yaw, pitch=pitch, roll=roll, score=score,
    )


def first_failure(quality: Quality, limits: QualityLimits) -> str | None:
    """The first limit that the face fails, in the order size, blur, brightness, contrast,
    yaw, pitch, roll; None when it passes all."""
    return next((name for name, good in _tests(quality, limits) if not good), None)


def _tests(quality: Quality, limits: QualityLimits) -> Iterator[tuple[str, bool]]:
    yield "size", quality.size >= limits.min_size
    yield "blur", quality.blur >= limits.min_blur
    dark, bright = limits.min_brightness, limits.max_brightness
    yield "brightness", dark <= quality.brightness <= bright
    yield "contrast", quality.contrast >= limits.min_contrast
    yield "yaw", abs(quality.yaw) <= limits.max_yaw
    yield "pitch", abs(quality.pitch) <= limits.max_pitch
    yield "roll", abs(quality.roll) <= limits.max_roll


def _ramp(value: float, nothing: float, full: float) -> float:
    return min(max((value - nothing) / (full - nothing), 0.0), 1.0)


def _facing(angle: float) -> float:
    """1 for a frontal face, 0.75 at 45 degrees, 0 in profile."""
    return 1.0 - min(abs(angle) / 90.0, 1.0) ** 2


# Sharpness ---------------------------------------------------------------------


def sharpness(grey: GreyFloat) -> float:
    """0 (blurred beyond use) to 100 (as sharp as a face of this size can be).

    The ratio of fine to coarse detail, along rows and along columns. The smaller one counts,
    so that motion blur shows in any direction. The median of 60 LFW photos is 72; blurred
    by 1, 1.5, 2 and 3 pixels of the aligned face it is 53, 39, 28 and 13. (Two bands as in
    Crete et al., "The blur effect", SPIE 2007, which compares a picture with a blurred
    copy.)
    """
    ratio = min(_detail(grey, along_rows=True), _detail(grey, along_rows=False))
    return 100.0 * _ramp(ratio, _BLURRED, _SHARP)


def _detail(grey: GreyFloat, *, along_rows: bool) -> float:
    fine, coarse = (_spread(grey, band, along_rows) for band in (_FINE_BAND, _COARSE_BAND))
    return fine / max(coarse, 1e-6)


def _spread(grey: GreyFloat, band: GreyFloat, along_rows: bool) -> float:
    """The standard deviation of one band along one axis, after smoothing by ``FINE`` across
    it."""
    across, down = (band, _SMOOTH) if along_rows else (_SMOOTH, band)
    detail = cv2.sepFilter2D(grey, cv2.CV_32F, across, down)
    return float(cv2.meanStdDev(detail[_INNER])[1][0, 0])


def _gauss(sigma: float) -> GreyFloat:
    """A Gaussian kernel of the length that ``cv2.GaussianBlur`` uses for floats."""
    size = round(8 * sigma + 1) | 1
    return np.asarray(cv2.getGaussianKernel(size, sigma, cv2.CV_32F)[:, 0], np.float32)


def _between(sigma: float) -> GreyFloat:
    """A band-pass kernel: the difference of blurs by ``sigma`` and 2 ``sigma``."""
    near, far = _gauss(sigma), _gauss(2 * sigma)
    return np.pad(near, (len(far) - len(near)) // 2) - far


_SMOOTH, _FINE_BAND, _COARSE_BAND = _gauss(FINE), _between(FINE), _between(COARSE)


def aligned(picture: Picture, face: DetectedFace) -> GreyFloat:
    """The aligned face in grey, 0 to 255, shape (SIDE, SIDE), float32. The picture's edge
    repeats outside it."""
    matrix = similarity_transform(face.landmarks, _PLACES[face.scheme])
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 1e-3:
        return np.zeros((SIDE, SIDE), np.float32)
    part, matrix = prepare_warp(picture, matrix, SIDE, shrink=1.0, margin=8)
    # Converting to grey before averaging takes a third of the time.
    part = np.asarray(cv2.cvtColor(part, cv2.COLOR_BGR2GRAY), np.uint8)
    part, matrix = prepare_warp(part, matrix, SIDE, shrink=scale, margin=8)
    grey = part.astype(np.float32)
    return np.asarray(
        cv2.warpAffine(grey, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE), np.float32
    )


# Pose --------------------------------------------------------------------------


def pose(face: DetectedFace) -> tuple[float, float, float]:
    """(yaw, pitch, roll) in degrees: yaw and pitch from -90 to 90, roll from -180 to 180.

    As seen by the camera, yaw is positive for a face turned to the picture's right, pitch
    for a face that looks down, roll for a head tilted clockwise.

    Errors against a mesh of 468 points on 1,040 faces: for ``arcface5`` the yaw is off by
    2.5 degrees in the mean and by 7 in one of twenty, the pitch by 4.4 and 11. For
    ``dlib5``, which has no point below the nose, the yaw is off by 3.5 and 9, the pitch by
    6.8 and 17.
    """
    points = face.landmarks.astype(np.float64)
    if face.scheme == "dlib5":
        return _pose_of_nose(points)
    return head_angles(points, _INVERSE_HEAD)


def _pose_of_nose(points: NDArray[np.float64]) -> tuple[float, float, float]:
    """The pose from the position of the nose relative to the eyes."""
    left, right = points[2:4].mean(axis=0), points[0:2].mean(axis=0)
    across = right - left
    width = math.hypot(*across)
    if width < 1e-6:
        return 0.0, 0.0, 0.0
    ahead = across / width
    nose = (points[4] - (left + right) / 2) / width
    aside, below = float(nose @ ahead), float(nose @ (-ahead[1], ahead[0]))
    return (
        _degrees(aside, _NOSE_BEFORE),
        _degrees(below - _NOSE_BELOW, _NOD),
        _degrees(across[1], across[0]),
    )


def _degrees(opposite: float, adjacent: float) -> float:
    return math.degrees(math.atan2(opposite, adjacent))
