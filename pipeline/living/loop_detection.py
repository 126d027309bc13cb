"""Detects a clip that repeats: a loop, forwards or to and fro.

Two blinks of a calm head look alike, a head nods again and again, and it turns to one side and
back. But no face repeats its whole course: skin, brows, eyes and mouth, in every direction in which
they move more than the measurement errs. The comparison therefore uses all of the stabilised
face, which a moved or zoomed loop repeats as well, over about half of the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.living.motion_signature import motion_of
from pipeline.living.similarity import Curve, Motion, halves_of, measurement_jitter, whitened
from pipeline.living.stabilise import GreyImage

# Fewest frames in which a loop is looked for, and the ticks per second of the comparison: a
# period need not be a whole number of analysed frames.
_FEWEST, _RATE = 8, 30.0

# Seconds of the shortest period, and of the mean that is taken away from each tick.
_PERIOD_S, _DRIFT_S = 0.4, 1.0

# The part that must repeat: a share of the clip, between two numbers of seconds.
_SHARE, _LEAST_S, _MOST_S = 0.45, 0.8, 2.5

# Directions are weighted to a variance of 1 (in units of the jitter), those below the noise less.
_POWER, _NOISE = 0.5, 1.0

# The similarity from which a part repeats; the lowest one where its values are the same as well,
# and their largest difference (in units of the jitter) for a similarity of 1. Chosen with four
# people: no live window of theirs exceeds 0.52. A head that nods in time reaches 0.50 with a
# difference of 2.4 for 1; their loops have 0.47 and more, and at most 2.0 (docs/benchmarks.md).
_REPEATED, _ALIKE, _APART = 0.6, 0.45, 2.0


@dataclass(frozen=True, slots=True, eq=False)
class _Pairing:
    """A course (n, k) beside itself or itself reversed: the products of all pairs of ticks, and
    the squares of both."""

    products: NDArray[np.float64]
    squares: Curve
    other_squares: Curve

    @classmethod
    def of(cls, course: Motion, other: Motion) -> _Pairing:
        return cls(course @ other.T, (course**2).sum(axis=1), (other**2).sum(axis=1))

    def similarity(self, shift: int, stretch: int) -> Curve:
        """The similarity of ``stretch`` ticks from each tick on to those ``shift`` later, -1 to
        1."""
        shared = self.products.diagonal(shift)
        start = max(-shift, 0)
        powers = self.squares[start:][: len(shared)]
        powers = powers + self.other_squares[start + shift :][: len(shared)]
        return np.asarray(
            2 * _sums(shared, stretch) / np.maximum(_sums(powers, stretch), 1e-9), np.float64
        )


def has_loop(times: Sequence[float], faces: Sequence[GreyImage]) -> bool:
    """Whether about half of the clip repeats, forwards or reversed. ``times`` are the seconds of
    the frames with a face, ``faces`` the stabilised faces."""
    if len(faces) < _FEWEST or times[-1] - times[0] < _LEAST_S + _PERIOD_S:
        return False
    rows = motion_of(faces)
    rows = rows / measurement_jitter(rows)
    ticks = np.arange(times[0], times[-1] + 1e-9, 1 / _RATE)
    halves = [
        _without_drift(_smooth(_at(ticks, times, whitened(half, half, _POWER, _NOISE)[0])))
        for half in halves_of(rows)
    ]
    seconds = np.clip(_SHARE * (times[-1] - times[0]), _LEAST_S, _MOST_S)
    stretch = round(float(seconds) * _RATE)
    values = _at(ticks, times, rows)
    for step in (1, -1):
        alike, one, other = max(_closest(halves, step, stretch), default=(0.0, 0, 0))
        apart = values[one : one + stretch] - values[::step][other : other + stretch]
        apart = np.sqrt(((apart - apart.mean(axis=0)) ** 2).mean() / 2)
        if alike >= _REPEATED or (alike >= _ALIKE and apart <= _APART * alike):
            return True
    return False


def _closest(
    halves: Sequence[Motion], step: int, stretch: int
) -> Iterator[tuple[float, int, int]]:
    """For each shift of the course against itself (``step`` 1) or itself reversed (-1) the
    similarity of the most similar stretches, and their first ticks. Both halves of the face must be
    alike; reversed stretches do not overlap."""
    count = len(halves[0])
    pairings = [_Pairing.of(half, half[::step]) for half in halves]
    first = round(_PERIOD_S * _RATE) if step == 1 else stretch - count
    for shift in range(first, count - stretch + 1):
        upper, lower = (np.maximum(one.similarity(shift, stretch), 0.0) for one in pairings)
        start = max(-shift, 0)
        if step == -1:
            apart = max((count - 2 * stretch - shift) // 2 - start + 1, 0)
            upper, lower = upper[:apart], lower[:apart]
        if len(upper):
            place = int((upper * lower).argmax())
            alike = float(np.sqrt(upper[place] * lower[place]))
            yield alike, start + place, start + place + shift


def _at(ticks: Curve, times: Sequence[float], rows: Motion) -> Motion:
    return np.stack([np.interp(ticks, times, column) for column in rows.T], axis=1)


def _sums(values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The sums of ``count`` consecutive values or rows."""
    sums = np.cumsum(np.concatenate([np.zeros_like(values[:1]), values]), axis=0)
    return np.asarray(sums[count:] - sums[:-count], np.float64)


def _smooth(course: Motion) -> Motion:
    """Means of five ticks: a repetition may hold other frames of a quick motion."""
    return _sums(np.pad(course, ((2, 2), (0, 0)), "edge"), 5) / 5


def _without_drift(course: Motion) -> Motion:
    """The course less its mean within ``_DRIFT_S``."""
    reach = round(_DRIFT_S * _RATE / 2)
    window = 2 * reach + 1
    padded = np.pad(course, ((reach, reach), (0, 0)))
    known = _sums(np.pad(np.ones(len(course)), reach), window)
    return course - _sums(padded, window) / known[:, None]
