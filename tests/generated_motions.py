"""Facial motions made by chance, and copies of them as replays change them.

A motion is what several persons share (an action in a few directions), what a clip has alone (a
smooth random path in all directions), and what the measurement adds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.living.motion_signature import COLUMNS, MIRROR, RATE, MotionSignature
from pipeline.living.similarity import Motion

Chance = np.random.Generator


def motion(chance: Chance, seconds: float) -> Motion:
    """A motion with one action, shape (n, 46)."""
    rows = round(RATE * seconds)
    path = np.cumsum(chance.normal(0, 0.15, (rows, COLUMNS)), axis=0)
    at, length = chance.uniform(0, rows), chance.uniform(2, 8)
    curve = np.exp(-(((np.arange(rows) - at) / length) ** 2))
    action = ACTIONS[chance.integers(len(ACTIONS))] * chance.uniform(0.8, 1.6)
    return path + np.outer(curve, action)


ACTIONS: NDArray[np.float64] = np.random.default_rng(2).normal(0, 1, (2, COLUMNS))
"""The directions of a blink and of an opening of the mouth, so to speak."""


def signature(path: Motion) -> MotionSignature:
    """As it is stored."""
    return MotionSignature.from_bytes(MotionSignature(path - path.mean(axis=0)).to_bytes())


def faster(path: Motion, speed: float) -> Motion:
    """The motion at a multiple of its speed."""
    ticks = np.arange(0, len(path) - 1 + 1e-9, speed)
    return np.stack([np.interp(ticks, np.arange(len(path)), one) for one in path.T], axis=1)


def noisy(path: Motion, chance: Chance, amount: float) -> Motion:
    """With noise in all columns, and three times as much in two directions."""
    common = chance.normal(0, 3 * amount, (len(path), 2)) @ chance.normal(0, 1, (2, COLUMNS))
    return path + chance.normal(0, amount, path.shape) + common / 2


def cut(path: Motion, chance: Chance) -> Motion:
    """A part of a second or more."""
    count = int(chance.integers(min(16, len(path)), len(path) + 1))
    first = int(chance.integers(0, len(path) - count + 1))
    return path[first : first + count]


def longer(path: Motion, chance: Chance) -> Motion:
    """Within a longer clip."""
    before, after = (motion(chance, seconds) for seconds in chance.uniform(0.2, 8, 2))
    return np.vstack([before - before[-1] + path[0], path, after - after[0] + path[-1]])


def all_at_once(path: Motion, chance: Chance) -> Motion:
    """Cut, at another speed, noisy, and by chance mirrored and reversed."""
    changed = noisy(
        faster(cut(path, chance), chance.uniform(0.85, 1.15)), chance, chance.uniform(0, 0.5)
    )
    mirror = MIRROR if chance.random() < 0.5 else 1.0
    return (changed * mirror)[:: 1 if chance.random() < 0.5 else -1]


COPIES: dict[str, Callable[[Motion, Chance], Motion]] = {
    "mirrored": lambda path, _: path * MIRROR,
    "reversed": lambda path, _: path[::-1],
    "mirrored and reversed": lambda path, _: path[::-1] * MIRROR,
    "half a tick later": lambda path, _: (path[:-1] + path[1:]) / 2,
    "cut": cut,
    "within a longer clip": longer,
    "noisy": lambda path, chance: noisy(path, chance, chance.uniform(0.1, 0.8)),
    "at 0.8 to 1.25 of the speed": lambda path, chance: faster(path, chance.uniform(0.8, 1.25)),
    "all at once": all_at_once,
}
