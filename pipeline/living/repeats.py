"""Whether a stretch of a clip comes again: a loop, forwards or to and fro.

No head goes the same way twice. Where it lies, how it is turned and what its lids and
lips do is compared frame by frame, in units of what each of these jitters from frame to
frame: the same frames, encoded once more, differ by about their jitter; two stretches of
life differ by how far the head moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.living.observing import Sight

Path = NDArray[np.float64]
"""One row an observation: what moves, in units of its jitter; shape (n, k)."""

# Seconds of a stretch that must come again, and the shortest way round.
_STRETCH_S, _PERIOD_S = 0.7, 0.4

# In units of jitter: how like a repeated stretch is to the first, and how much must have
# moved within it, so that holding still is no loop.
_ALIKE, _MOVED = 2.0, 6.0


def loops(times: Sequence[float], sights: Sequence[Sight]) -> bool:
    """Whether a stretch of the clip comes again, or runs backwards after itself."""
    path = _path(sights)
    if len(path) < 8:
        return False
    step = max((times[-1] - times[0]) / (len(times) - 1), 1e-3)
    stretch = max(round(_STRETCH_S / step), 5)
    return any(
        _again(one, other, stretch)
        for one, other in _pairs(path, max(round(_PERIOD_S / step), 3), stretch)
    )


def _path(sights: Sequence[Sight]) -> Path:
    rows = [
        (
            *((side.left + side.right) / 2, (side.top + side.bottom) / 2, side.width),
            *(100 * lid for lid in sight.lids), 100 * sight.mouth,
        )
        for sight in sights for side in (sight.box,)
    ]
    path = np.array(rows, dtype=np.float64).reshape(-1, 6)
    if len(path) < 4:
        return path[:0]
    path[:, :3] *= 100 / max(float(np.median(path[:, 2])), 1.0)
    # A second difference leaves the measuring's own noise and takes the motion away.
    jitter = 1.4826 * np.median(np.abs(np.diff(path, 2, axis=0)), axis=0) / np.sqrt(6)
    return np.asarray(path / np.maximum(jitter, 0.05), dtype=np.float64)


def _pairs(path: Path, period: int, stretch: int) -> Iterator[tuple[Path, Path]]:
    """The path beside itself, shifted by each period, and mirrored at each moment."""
    for shift in range(period, len(path) - stretch + 1):
        yield path[:-shift], path[shift:]
    for middle in range(stretch, 2 * len(path) - stretch - 1):
        # Frames that lie as far before the middle (of frames, or of a pair) as after it.
        reach = min((middle + 1) // 2, len(path) - middle // 2 - 1)
        if reach >= stretch:
            last = (middle + 1) // 2
            yield path[last - reach : last], path[middle // 2 + 1 :][:reach][::-1]


def _again(one: Path, other: Path, stretch: int) -> bool:
    """Whether any stretch is the same in both and moves within itself."""
    count = min(len(one), len(other))
    if count < stretch:
        return False
    one, other = one[:count], other[:count]
    apart = np.sqrt(((one - other) ** 2).mean(axis=1))
    near = np.convolve(apart, np.ones(stretch) / stretch, "valid")
    for start in np.flatnonzero(near < _ALIKE):
        part = one[start : start + stretch]
        if np.sqrt(((part - part.mean(axis=0)) ** 2).mean()) > _MOVED / np.sqrt(2):
            return True
    return False
