"""Similarity of two facial motions, at the best shift, direction and mirroring.

Two openings of one mouth look alike, and so do two blinks: most of the change in a face comes from
the action. The remaining change tells motions apart. The directions of largest variance are
therefore weighted down, and the upper and the lower half of the face must match independently.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Motion = NDArray[np.float64]
"""Changes of a face, one row per tick, shape (n, 2k). The first k columns describe the upper
half of the face."""

Curve = NDArray[np.float64]

# The smallest assumed jitter of a column.
_LEAST_JITTER = 0.05

# A direction with variance v (in units of the jitter) has the weight 1 / (v + noise) ** power.
# Power 0 would leave most of the weight to the action, 0.5 would whiten noise and signal alike.
POWER, NOISE = 0.35, 8.0

# Below this similarity the motions are not compared again at half ticks: an offset of half a
# tick costs a copy about 0.1.
_NEAR = 0.2


def motion_similarity(one: Motion, other: Motion, mirror: Curve, least: int) -> float:
    """1 for the same motion, about 0 for unrelated ones: the best over all shifts with an
    overlap of at least ``least`` rows. Tries reversed and mirrored motion (``mirror``: 1 or
    -1 for each column) and offsets of half a tick."""
    rows = smooth(one)
    found = _either_way(rows, smooth(other), mirror, least)
    if found < _NEAR:
        return found
    return max(found, _either_way(rows, smooth(_between(other)), mirror, least))


def _either_way(one: Motion, other: Motion, mirror: Curve, least: int) -> float:
    found = 0.0
    for turned in (other, other * mirror):
        halves = [
            _weighed(first, last)
            for first, last in zip(halves_of(one), halves_of(turned), strict=True)
        ]
        for step in (1, -1):
            curves = [similarity_by_shift(first, last[::step], least) for first, last in halves]
            found = max(found, _best(curves))
    return found


def similarity_by_shift(one: Motion, other: Motion, least: int) -> Curve:
    """The similarity of two motions at each shift with an overlap of at least ``least`` rows:
    twice their covariance over the sum of their variances within the overlap; -1 to 1."""
    shifts = np.arange(least - len(other), len(one) - least + 1)
    start, stop = np.maximum(shifts, 0), np.minimum(shifts + len(other), len(one))
    count = np.maximum(stop - start, 1)
    mean, power = _sums(one, start, stop)
    other_mean, other_power = _sums(other, start - shifts, stop - shifts)
    shared = _products(one, other)[shifts + len(other) - 1]
    shared -= (mean * other_mean).sum(axis=1) / count
    power += other_power - ((mean**2).sum(axis=1) + (other_mean**2).sum(axis=1)) / count
    return np.asarray(2 * shared / np.maximum(power, 1e-9), np.float64)


def _best(curves: list[Curve]) -> float:
    """The highest geometric mean of both halves at one shift."""
    upper, lower = (np.maximum(curve, 0.0) for curve in curves)
    return float(np.sqrt(upper * lower).max(initial=0.0))


def _sums(play: Motion, start: NDArray[np.int64], stop: NDArray[np.int64]) -> tuple[Motion, Curve]:
    """For each range of rows: the sum of every column, and the sum of all squares."""
    sums = np.vstack([np.zeros(play.shape[1]), np.cumsum(play, axis=0)])
    squares = np.concatenate([[0.0], np.cumsum((play**2).sum(axis=1))])
    return sums[stop] - sums[start], squares[stop] - squares[start]


def _products(one: Motion, other: Motion) -> Curve:
    """The sum of the dot products of overlapping rows, for every shift from
    ``1 - len(other)`` on."""
    rows, others = len(one), len(other)
    table = np.zeros((rows, rows + others))
    table[:, :others] = (one @ other.T)[:, ::-1]
    # Read with rows that are one shorter, each column holds the products of one shift.
    skewed = table.ravel()[: rows * (rows + others - 1)].reshape(rows, -1)
    return np.asarray(skewed.sum(axis=0), np.float64)


def _weighed(one: Motion, other: Motion) -> tuple[Motion, Motion]:
    jitter = np.maximum(measurement_jitter(one), measurement_jitter(other))
    return whitened(one / jitter, other / jitter, POWER, NOISE)


def measurement_jitter(play: Motion) -> Curve:
    """The measurement noise of each column, from second differences, which cancel motion."""
    if len(play) < 4:
        return np.ones(play.shape[1])
    steps = np.median(np.abs(np.diff(play, 2, axis=0)), axis=0)
    return np.asarray(np.maximum(1.4826 * steps / np.sqrt(6), _LEAST_JITTER), np.float64)


def whitened(
    one: Motion, other: Motion, power: float, noise: float
) -> tuple[Motion, Motion]:
    """Both motions along their common directions of variance, of which each has the weight
    1 / (variance + noise) ** power."""
    amounts, directions = np.linalg.eigh((spread_of(one) + spread_of(other)) / 2)
    weights = directions / (np.maximum(amounts, 0.0) + noise) ** power
    return one @ weights, other @ weights


def spread_of(play: NDArray[np.floating]) -> NDArray[np.float64]:
    """The covariance of the columns."""
    around = play - play.mean(axis=0)
    return np.asarray(around.T @ around / len(play), np.float64)


def halves_of(play: Motion) -> Iterator[Motion]:
    """The columns of the upper and of the lower half of the face."""
    middle = play.shape[1] // 2
    yield play[:, :middle]
    yield play[:, middle:]


def smooth(play: Motion) -> Motion:
    """Means of three ticks: a copy may hold other frames of a quick motion."""
    padded = np.vstack([play[:1], play, play[-1:]])
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / 3, np.float64)


def _between(play: Motion) -> Motion:
    """The motion at half ticks. The last row is kept, so that the length stays the same."""
    return np.vstack([(play[:-1] + play[1:]) / 2, play[-1:]])
