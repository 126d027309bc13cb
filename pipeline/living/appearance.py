"""Whether an eye or a mouth shows new pixels, or the same pixels deformed.

A photograph can be bent and tilted until a lid seems to fall. A real lid covers the iris
with skin, and parting lips reveal what lies behind them: no shift or stretch of the pixels
before the event explains those during it, while before and after are alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.living.stabilise import (
    EYE_LINE,
    EYES_APART,
    FACE_SIDE,
    WIDE_SCALE,
    WIDE_SIDE,
    GreyImage,
)

Patch = NDArray[np.float32]

Scene = NDArray[np.float32]
"""The surroundings of a face above the mouth, without the eyes, smoothed; shape (n,)."""

_REACH = 3
"""Largest error of the contours between two frames, in pixels of the stabilised face."""


# A picture was put in when it differs from before and after by more than these multiples of what
# they differ, and the change from frame to frame leaps by more than
# these of the usual one. Two pictures that differ by less than the last number are the same.
_INSERTED, _LEAP, _SAME_SCENE = 2.5, 2.0, 0.003

# So was one with which the surroundings leap by more than this share of their largest leap before
# and after, where lids are suddenly shut and suddenly open.
_SUDDEN_LEAP = 0.6


@dataclass(frozen=True, slots=True)
class Window:
    """The compared region: half its width and half its height in pixels of the stabilised
    face. ``stretches`` are the vertical scale factors that are tried."""

    across: int
    down: int
    stretches: tuple[float, ...]


EYE = Window(19, 10, (1.0, 0.85, 0.7, 0.55, 0.4))
MOUTH = Window(24, 17, (1.0, 1.3, 1.7, 2.2, 3.0))
NOSE = Window(16, 15, (1.0,))
"""The control: neither a blink nor speech changes it. Novelty here means that tracking
failed or the frame is blurred."""


@dataclass(frozen=True, slots=True)
class Novelty:
    """``new``: the share of the event's pixels that neither rest state explains, less what
    the frames of a rest state do not explain of each other, about -0.2 to 1. ``alike``: the
    correlation of the frames of a rest state, -1 to 1. It counts one rest state, because head
    and gaze may move from the first to the second."""

    new: float
    alike: float


def novelty(
    before: Sequence[GreyImage], moment: GreyImage, after: Sequence[GreyImage],
    centre: tuple[float, float], window: Window,
) -> Novelty:
    """The novelty at ``centre`` (x, y), by correlation with the best shift and stretch of a
    rest state. Correlation ignores brightness and contrast. Pictures that only moved or
    were deformed give 0."""
    first, last = _mean(before), _mean(after)
    shown = _cut(moment, centre, window, 0)
    alike = max(
        _best(_mean(others), _cut(nearest, centre, window, 0), centre, window, (1.0,))
        for others, nearest in _rest_pairs(before, after)
    )
    explained = max(_best(rest, shown, centre, window, window.stretches) for rest in (first, last))
    return Novelty(alike - explained, alike)


def is_inserted(
    before: Scene, shown: Scene, after: Scene, leap: float, usual: float,
    largest: float, sudden: bool,
) -> bool:
    """Whether ``shown`` is a picture that was put between ``before`` and ``after``: these are alike
    where it differs from both.
    ``leap``: the smaller of the largest changes from frame to frame before and after ``shown``;
    ``usual`` and ``largest``: such changes around the event. ``sudden``: no frame shows lids on
    their way."""
    if leap <= _LEAP * usual:
        return False
    apart = min(scene_change(before, shown), scene_change(shown, after))
    passed = max(scene_change(before, after), _SAME_SCENE)
    return apart > _INSERTED * passed or (sudden and leap > _SUDDEN_LEAP * largest)


def scene(surroundings: GreyImage) -> Scene:
    """What is compared of a face's surroundings."""
    smooth = cv2.GaussianBlur(surroundings.astype(np.float32), (0, 0), 1.5)
    return np.asarray(smooth[_UPPER], np.float32)


def scene_change(one: Scene, other: Scene) -> float:
    """How much two scenes differ: 0 (not at all) to 2, whatever their brightness and contrast."""
    return 1 - correlation(one, other)


def _above_the_mouth() -> NDArray[np.bool_]:
    """Of a picture of the surroundings, the upper half without the eyes."""
    down, across = np.mgrid[0:WIDE_SIDE, 0:WIDE_SIDE]
    middle = WIDE_SIDE / 2
    x, y = WIDE_SCALE * EYES_APART / 2, middle - WIDE_SCALE * (FACE_SIDE / 2 - EYE_LINE)
    used = down < middle
    for centre in (middle - x, middle + x):
        used &= ((across - centre) / 13) ** 2 + ((down - y) / 9) ** 2 > 1
    return np.asarray(used, np.bool_)


_UPPER = _above_the_mouth()


def _rest_pairs(
    before: Sequence[GreyImage], after: Sequence[GreyImage]
) -> Iterator[tuple[Sequence[GreyImage], GreyImage]]:
    """The frames of each rest state without the nearest to the event, and that one. Where both
    states are a single frame: the two."""
    if len(before) > 1:
        yield before[:-1], before[-1]
    if len(after) > 1:
        yield after[1:], after[0]
    if len(before) == len(after) == 1:
        yield before, after[0]


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Correlation of two pictures, -1 to 1; ignores brightness and contrast. 1 when either is
    uniform."""
    first, last = one - one.mean(), other - other.mean()
    power = float(np.sqrt((first**2).sum() * (last**2).sum()))
    return float((first * last).sum()) / power if power > 1e-6 else 1.0


def _mean(kept: Sequence[GreyImage]) -> Patch:
    return np.asarray(np.mean(np.stack(kept).astype(np.float32), axis=0), dtype=np.float32)


def _cut(kept: GreyImage | Patch, centre: tuple[float, float], window: Window, reach: int) -> Patch:
    """The window, ``reach`` pixels wider on each side. Outside the face the edge repeats."""
    across, down = window.across + reach, window.down + reach
    matrix = np.array([[1.0, 0.0, across - centre[0]], [0.0, 1.0, down - centre[1]]])
    cut = cv2.warpAffine(
        kept.astype(np.float32), matrix, (2 * across + 1, 2 * down + 1),
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(cut, dtype=np.float32)


def _best(
    rest: Patch, shown: Patch, centre: tuple[float, float], window: Window,
    stretches: tuple[float, ...],
) -> float:
    """The highest correlation of ``shown`` with the rest state over all shifts and stretches."""
    around = _cut(rest, centre, window, _REACH)
    shown = cv2.GaussianBlur(shown, (0, 0), 1.0).astype(np.float32, copy=False)
    found = -1.0
    for factor in stretches:
        tried = cv2.GaussianBlur(_stretched(around, factor), (0, 0), 1.0)
        matches = cv2.matchTemplate(tried.astype(np.float32), shown, cv2.TM_CCOEFF_NORMED)
        best = float(np.nanmax(matches)) if np.isfinite(matches).any() else -1.0
        found = max(found, min(best, 1.0))
    return found


def _stretched(patch: Patch, factor: float) -> Patch:
    """The patch scaled vertically around its middle row."""
    if factor == 1.0:
        return patch
    middle = (patch.shape[0] - 1) / 2
    matrix = np.array([[1.0, 0.0, 0.0], [0.0, factor, middle * (1 - factor)]])
    size = (patch.shape[1], patch.shape[0])
    changed = cv2.warpAffine(patch, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(changed, dtype=np.float32)
