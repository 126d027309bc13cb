"""Detects a part of a clip that repeats: a loop, forwards or back and forth.

No head follows the same path twice. The comparison uses position, tilt, lids and lips of
each frame, in units of their jitter from frame to frame. The same frames, encoded again,
differ by about their jitter; two parts of a live video differ by the head's motion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.living.appearance import correlation
from pipeline.living.stabilise import GreyImage
from pipeline.living.tracking import FaceSighting

HeadPath = NDArray[np.float64]
"""One row per observation, in units of the jitter; shape (n, k)."""

# Seconds of the part that must repeat, and the shortest period.
_STRETCH_S, _PERIOD_S = 0.7, 0.4

# Fewest frames in which a loop is looked for; the smallest assumed jitter, in hundredths.
_FEWEST, _LEAST_JITTER = 8, 0.05

COLUMNS = 7

_INNER = (slice(20, 150), slice(20, 140))  # rows and columns of the stabilised face

# In units of jitter: the largest distance of a repeated part from the first, the smallest
# motion within it (holding still is no loop), and the largest ratio of the two. Re-encoded
# loops of the live video stay within 0.6 to 1.2, ratio 0.23; its other parts come no nearer
# than 1.8, ratio 0.49.
_ALIKE, _MOVED, _SHARE = 1.5, 2.2, 0.4

# Correlation of two faces at the peaks of two actions, above which they are the same picture,
# and the largest share of the difference between before and after of one action that they
# may show. Loops of the live video reach 0.995 and half, its real actions 0.979 at most.
_SAME_PICTURE, _LESS = 0.99, 0.5


def has_repeated_action(kept: Sequence[tuple[GreyImage, GreyImage, GreyImage]]) -> bool:
    """Whether two actions of a clip are the same recording. ``kept`` holds the stabilised
    faces before, at the peak of and after each action."""
    return any(
        _same_picture(one, other, before, after)
        for (before, one, after), (_, other, _) in combinations(kept, 2)
    )


def _same_picture(one: GreyImage, other: GreyImage, before: GreyImage, after: GreyImage) -> bool:
    alike = _face_correlation(one, other)
    return alike >= _SAME_PICTURE and 1 - alike < _LESS * (1 - _face_correlation(before, after))


def _face_correlation(one: GreyImage, other: GreyImage) -> float:
    """Correlation of two stabilised faces without their edges, -1 to 1, after smoothing."""
    first, last = (
        cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 1.0)[_INNER] for kept in (one, other)
    )
    return correlation(first, last)


def has_loop(times: Sequence[float], faces: Sequence[FaceSighting]) -> bool:
    """Whether a part of the clip repeats, forwards or reversed."""
    if len(faces) < _FEWEST:
        return False
    path = head_path_of(faces)
    path = path / measurement_jitter(path)
    step = max((times[-1] - times[0]) / (len(times) - 1), 1e-3)
    stretch = max(round(_STRETCH_S / step), 5)
    return any(
        _repeats(one, other, stretch)
        for one, other in _pairs(path, max(round(_PERIOD_S / step), 3), stretch)
    )


def head_path_of(faces: Sequence[FaceSighting]) -> HeadPath:
    """Position (x, y), size and tilt of the head in hundredths of its median size; lids
    (left, right) and mouth in hundredths of their own widths; shape (n, 7)."""
    rows = [(*face.head_pose, *face.lid_ratios, face.mouth_ratio) for face in faces]
    path = 100 * np.array(rows, dtype=np.float64).reshape(-1, COLUMNS)
    if len(path):
        path[:, :3] *= 100 / max(float(np.median(path[:, 2])), 1.0)
        path[:, :2] -= np.median(path[:, :2], axis=0)
        path[:, 3] = 100 * np.unwrap(path[:, 3] / 100)
    return path


def measurement_jitter(path: HeadPath) -> NDArray[np.float64]:
    """The measurement noise of each column, from second differences, which cancel motion."""
    if len(path) < 4:
        return np.ones(path.shape[1])
    steps = np.median(np.abs(np.diff(path, 2, axis=0)), axis=0)
    return np.asarray(np.maximum(1.4826 * steps / np.sqrt(6), _LEAST_JITTER), np.float64)


def _pairs(path: HeadPath, period: int, stretch: int) -> Iterator[tuple[HeadPath, HeadPath]]:
    """The path paired with itself: shifted by each period, and reversed at each frame."""
    for shift in range(period, len(path) - stretch + 1):
        yield path[:-shift], path[shift:]
    for middle in range(stretch, 2 * len(path) - stretch - 1):
        # As many frames before the middle (a frame, or between two frames) as after it.
        reach = min((middle + 1) // 2, len(path) - middle // 2 - 1)
        if reach >= stretch:
            last = (middle + 1) // 2
            yield path[last - reach : last], path[middle // 2 + 1 :][:reach][::-1]


def _repeats(one: HeadPath, other: HeadPath, stretch: int) -> bool:
    """Whether any part of both paths is the same and contains motion."""
    count = min(len(one), len(other))
    if count < stretch:
        return False
    one, other = one[:count], other[:count]
    distances = distances_to_path(one, other)
    means = np.convolve(distances, np.ones(stretch) / stretch, "valid")
    for start in np.flatnonzero(means < _ALIKE):
        part = one[start : start + stretch]
        moved = float(np.sqrt(((part - part.mean(axis=0)) ** 2).mean()))
        if moved > _MOVED and means[start] < _SHARE * moved:
            return True
    return False


def distances_to_path(one: HeadPath, other: HeadPath) -> NDArray[np.float64]:
    """The distance of each row from the other path nearby, also between that path's rows: a
    repetition need not be in step with the analysed frames."""
    nearest = np.sqrt(((one - other) ** 2).mean(axis=1))
    start, segments = other[:-1], np.diff(other, axis=0)
    length = np.maximum((segments**2).sum(axis=1), 1e-12)
    for rows, target in ((one[:-1], slice(None, -1)), (one[1:], slice(1, None))):
        along = np.clip(((rows - start) * segments).sum(axis=1) / length, 0, 1)
        offsets = rows - start - along[:, None] * segments
        nearest[target] = np.minimum(nearest[target], np.sqrt((offsets**2).mean(axis=1)))
    return np.asarray(nearest, dtype=np.float64)
