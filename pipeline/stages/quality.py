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
    blur = clarity(grey, size, blockiness(picture, face))
    brightness, contrast = float(inner.mean()), float(inner.std())
    score = (
        _ramp(size, 0, 100) * _ramp(blur, 0, 75) * _ramp(contrast, 0, 28)
        * min(_ramp(brightness, 0, 80), _ramp(255 - brightness, 0, 40))
        * _facing(yaw) * _facing(pitch)
    )
    return Quality(
        size=float(size), blur=blur, brightness=brightness, contrast=contrast,
        yaw=yaw, pitch=pitch, roll=roll, score=score,
    )


def failures(quality: Quality, limits: QualityLimits) -> list[str]:
    """The limits that the face fails, in the order size, blur, brightness, contrast, yaw,
    pitch, roll."""
    return [name for name, good in _tests(quality, limits) if not good]


def first_failure(quality: Quality, limits: QualityLimits) -> str | None:
    """The first limit that the face fails; None when it passes all."""
    return next(iter(failures(quality, limits)), None)


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


# Other losses of detail ------------------------------------------------------------


def clarity(grey: GreyFloat, size: float, blocks: float = 1.0) -> float:
    """``sharpness``, or less where the face is blurred by motion, enlarged from few pixels, noisy
    or coarsely compressed (``blocks``: its ``blockiness``); 0 to 100. ``size`` is the shorter side
    of the face in the picture. Nearly all photos have their sharpness.

    The marks of each loss were chosen with 1,396 people of LFW and with pictures of 100 of them
    made bad, such that a clarity of 36, the least by default, refuses one of the photos.
    """
    sharp, power = sharpness(grey), _power(grey)
    levels = np.log10(power.mean(axis=1))
    noise = float(2 * levels[7] - levels[3])
    values = [
        sharp,
        sharp - 50.0 * max(_directedness(power) - 0.16, 0.0),
        100.0 * (1.0 - _ramp(noise, *_NOISY)),
        100.0 * (1.0 - _ramp(blocks, *_BLOCKY)),
    ]
    if size >= _ENLARGED_FROM:
        kept = sharp / 100 + float(_KEPT @ (levels[2:] - levels[1]))
        values.append(100.0 * _ramp(kept, *_ENLARGED))
    return min(values)


# What tells a face enlarged from 30 pixels from others, beside the sharpness: the detail of the six
# finest bands (log10, against that of the second coarsest). From no clarity to all; LFW has -3.36
# and more but for one photo, such enlarged faces in a third of cases less. A face of fewer pixels
# than ``_ENLARGED_FROM`` has as little fine detail when nothing is wrong.
_KEPT = np.array([-1.14, 0.39, 0.48, -0.09, 1.04, -0.3])
_ENLARGED, _ENLARGED_FROM = (-3.53, -3.14), 64

# From all clarity to none: the finest detail against medium detail, log10, plus its power in
# squares of grey levels. Noise of 25 grey levels in each colour has 0 and more in nineteen of
# twenty faces, LFW at most -0.2.
_NOISY = (-0.2, 0.1125)

# From all clarity to none: ``blockiness``. JPEG has 2.2 and more at quality 5, 1.8 to 2.6 at 8 and
# at most 2.0 at 15.
_BLOCKY = (1.7, 2.17)

_DIRECTIONS = 8

# The least spatial frequencies of the bands, in cycles per pixel of the aligned face.
_FREQUENCIES = np.array([0.03, 0.06, 0.09, 0.13, 0.18, 0.24, 0.31, 0.39, 0.5])

_HEIGHT, _WIDTH = (one.stop - one.start for one in _INNER)
_WINDOW: GreyFloat = np.outer(np.hanning(_HEIGHT), np.hanning(_WIDTH)).astype(np.float32)
_WINDOW /= np.sqrt((_WINDOW**2).mean())


def _bins() -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which values of the transform of the inner face are used, and the bin of each of these."""
    down = np.fft.fftfreq(_HEIGHT)[:, None]
    across = np.fft.rfftfreq(_WIDTH)[None]
    band = np.digitize(np.hypot(down, across), _FREQUENCIES) - 1
    used = (band >= 0) & (band < len(_FREQUENCIES) - 1)
    turn = np.arctan2(down, across) / np.pi * _DIRECTIONS
    direction = np.round(turn).astype(np.int64) % _DIRECTIONS
    return used, (band * _DIRECTIONS + direction)[used]


_USED, _BINS = _bins()
_COUNTS = np.bincount(_BINS)


def _power(grey: GreyFloat) -> NDArray[np.float64]:
    """The mean power of the inner face in each band and direction, shape (8, 8); white noise of
    standard deviation s has s ** 2 in each."""
    inner = grey[_INNER]
    waves = np.fft.rfft2((inner - inner.mean()) * _WINDOW)[_USED]
    power = np.bincount(_BINS, (waves.real**2 + waves.imag**2) / inner.size) / _COUNTS
    return np.asarray(power.reshape(-1, _DIRECTIONS) + 1e-3, np.float64)


def _directedness(power: NDArray[np.float64]) -> float:
    """How much medium detail differs between a direction and the one across it: 0 not at all;
    half of LFW is below 0.1, nearly all below 0.35; motion by 8 to 14 pixels of the aligned face
    gives 0.4."""
    levels = np.log10(power[2:5].mean(axis=0))
    turns = np.exp(2j * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS)
    return float(abs((levels * turns).mean()))


def blockiness(picture: Picture, face: DetectedFace) -> float:
    """How much larger the steps at the borders of 8 x 8 blocks are than those between, in the
    middle of the face at the picture's own size; 1 without blocks. Two grey levels are added to
    both, for smooth skin. The smaller value of both directions counts, wherever the blocks begin
    (cf. Wang, Sheikh and Bovik, "No-reference perceptual quality assessment of JPEG compressed
    images", ICIP 2002)."""
    height, width = picture.shape[:2]
    top, bottom = _middle(face.box.top, face.box.bottom, height)
    left, right = _middle(face.box.left, face.box.right, width)
    if min(bottom - top, right - left) < 3 * _BLOCK:
        return 1.0
    grey = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_BGR2GRAY).astype(np.float32)
    found = []
    for axis in (0, 1):
        steps = np.abs(np.diff(grey, axis=axis)).mean(axis=1 - axis)
        means = [float(steps[first::_BLOCK].mean()) + 2.0 for first in range(_BLOCK)]
        found.append(max(means) / float(np.median(means)))
    return min(found)


_BLOCK, _REACH = 8, 128  # pixels


def _middle(first: float, last: float, size: int) -> tuple[int, int]:
    """The middle 2 ``_REACH`` pixels from ``first`` to ``last``, within 0 to ``size``."""
    middle, reach = (first + last) / 2, min((last - first) / 2, _REACH)
    return max(int(middle - reach), 0), min(int(middle + reach), size)


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
