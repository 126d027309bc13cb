"""Whether a stretch of a clip comes again: a loop, forwards or to and fro.

No head goes the same way twice. Where it lies, how it is turned and what its lids and
lips do is compared frame by frame, in units of what each of these jitters from frame to
frame: the same frames, encoded once more, differ by about their jitter; two stretches of
life differ by how far the head moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.living.stabilise import GreyImage
from pipeline.living.tracking import FaceSighting

HeadPath = NDArray[np.float64]
"""One row an observation: what moves, in units of its jitter; shape (n, k)."""

# Seconds of a stretch that must come again, and the shortest way round.
_STRETCH_S, _PERIOD_S = 0.7, 0.4

# Frames below which nothing can come again; hundredths below which no measuring is sure.
_FEWEST, _LEAST_JITTER = 8, 0.05

COLUMNS = 7

_INNER = (slice(20, 150), slice(20, 140))  # of the kept face: rows, columns

# In units of jitter: how near to the first a repeated stretch runs, and how much must have
# moved within it, so that holding still is no loop; and the two in proportion. Loops of the
# live video, encoded anew, run within 0.6 to 1.2 of themselves and 0.23 in proportion; other
# parts of it pass each other at 1.8 and 0.49 at the nearest.
_ALIKE, _MOVED, _SHARE = 1.5, 2.2, 0.4


# Correlation of two faces at the height of what they do, above which it is one and the same
# picture, and how much less than before and after of one action they may differ: in loops of
# the live video 0.995 and half, in two of its actions 0.979 at the most.
_SAME_PICTURE, _LESS = 0.99, 0.5


def has_repeated_action(kept: Sequence[tuple[GreyImage, GreyImage, GreyImage]]) -> bool:
    """Whether any two actions of a clip are one: ``stabilised`` are the faces before, at the
    height of and after each."""
    return any(
        _same_picture(one, other, before, after)
        for (before, one, after), (_, other, _) in combinations(kept, 2)
    )


def _same_picture(one: GreyImage, other: GreyImage, before: GreyImage, after: GreyImage) -> bool:
    alike = _correlation(one, other)
    return alike >= _SAME_PICTURE and 1 - alike < _LESS * (1 - _correlation(before, after))


def _correlation(one: GreyImage, other: GreyImage) -> float:
    """Of two kept faces without their edges, -1 to 1; noise is smoothed away."""
    first, last = (
        cv2.GaussianBlur(kept.astype(np.float32), (0, 0), 1.0)[_INNER] for kept in (one, other)
    )
    first, last = first - first.mean(), last - last.mean()
    power = float(np.sqrt((first**2).sum() * (last**2).sum()))
    return float((first * last).sum()) / power if power > 1e-6 else 1.0


def has_loop(times: Sequence[float], sights: Sequence[FaceSighting]) -> bool:
    """Whether a stretch of the clip comes again, or runs backwards after itself."""
    if len(sights) < _FEWEST:
        return False
    way = head_path_of(sights)
    path = way / measurement_jitter(way)
    step = max((times[-1] - times[0]) / (len(times) - 1), 1e-3)
    stretch = max(round(_STRETCH_S / step), 5)
    return any(
        _again(one, other, stretch)
        for one, other in _pairs(path, max(round(_PERIOD_S / step), 3), stretch)
    )


def head_path_of(sights: Sequence[FaceSighting]) -> HeadPath:
    """Where the head stands (x, y), how large and how tilted it is, in hundredths of its
    usual size; lids (left, right) and mouth in hundredths of their own widths; shape
    (n, 7)."""
    rows = [(*sight.head_pose, *sight.lid_ratios, sight.mouth_ratio) for sight in sights]
    way = 100 * np.array(rows, dtype=np.float64).reshape(-1, COLUMNS)
    if len(way):
        way[:, :3] *= 100 / max(float(np.median(way[:, 2])), 1.0)
        way[:, :2] -= np.median(way[:, :2], axis=0)
        way[:, 3] = 100 * np.unwrap(way[:, 3] / 100)
    return way


def measurement_jitter(way: HeadPath) -> NDArray[np.float64]:
    """What measuring alone changes in each column from row to row: a second difference
    takes the motion away."""
    if len(way) < 4:
        return np.ones(way.shape[1])
    steps = np.median(np.abs(np.diff(way, 2, axis=0)), axis=0)
    return np.asarray(np.maximum(1.4826 * steps / np.sqrt(6), _LEAST_JITTER), np.float64)


def _pairs(path: HeadPath, period: int, stretch: int) -> Iterator[tuple[HeadPath, HeadPath]]:
    """The path beside itself, shifted by each period, and mirrored at each moment."""
    for shift in range(period, len(path) - stretch + 1):
        yield path[:-shift], path[shift:]
    for middle in range(stretch, 2 * len(path) - stretch - 1):
        # Frames that lie as far before the middle (of frames, or of a pair) as after it.
        reach = min((middle + 1) // 2, len(path) - middle // 2 - 1)
        if reach >= stretch:
            last = (middle + 1) // 2
            yield path[last - reach : last], path[middle // 2 + 1 :][:reach][::-1]


def _again(one: HeadPath, other: HeadPath, stretch: int) -> bool:
    """Whether any stretch is the same in both and moves within itself."""
    count = min(len(one), len(other))
    if count < stretch:
        return False
    one, other = one[:count], other[:count]
    apart = distances_to_path(one, other)
    near = np.convolve(apart, np.ones(stretch) / stretch, "valid")
    for start in np.flatnonzero(near < _ALIKE):
        part = one[start : start + stretch]
        moved = float(np.sqrt(((part - part.mean(axis=0)) ** 2).mean()))
        if moved > _MOVED and near[start] < _SHARE * moved:
            return True
    return False


def distances_to_path(one: HeadPath, other: HeadPath) -> NDArray[np.float64]:
    """How far each row lies from the other path near it, also between its rows: what
    comes again need not come again in step with the frames that are looked at."""
    nearest = np.sqrt(((one - other) ** 2).mean(axis=1))
    begin, way = other[:-1], np.diff(other, axis=0)
    length = np.maximum((way**2).sum(axis=1), 1e-12)
    for rows, place in ((one[:-1], slice(None, -1)), (one[1:], slice(1, None))):
        along = np.clip(((rows - begin) * way).sum(axis=1) / length, 0, 1)
        beside = rows - begin - along[:, None] * way
        nearest[place] = np.minimum(nearest[place], np.sqrt((beside**2).mean(axis=1)))
    return np.asarray(nearest, dtype=np.float64)
