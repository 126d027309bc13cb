"""Courses in time: how far lids or lips have gone, and how a hand moves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Course = NDArray[np.float64]
"""One value for each frame, shape (frames,), float64."""


def steps(times: Course, begin: float, rise: float, hold: float, fall: float) -> Course:
    """0, up to 1 within ``rise`` seconds from ``begin`` on, held, and down within ``fall``; eased
    at both ends. A duration of 0 is a jump."""
    up = _eased(times, begin, rise)
    return up - _eased(times, begin + rise + hold, fall)


def _eased(times: Course, begin: float, duration: float) -> Course:
    if duration <= 0:
        return (times >= begin).astype(np.float64)
    part = np.clip((times - begin) / duration, 0, 1)
    return np.asarray(part * part * (3 - 2 * part))


def blink(times: Course, begin: float, chance: np.random.Generator) -> Course:
    """The course of a natural blink: 160 to 400 ms, down faster than up; shut in one frame at
    least."""
    interval = float(times[1] - times[0])
    down, up = chance.uniform(0.06, 0.12), chance.uniform(0.1, 0.2)
    return steps(times, begin, down, max(chance.uniform(0.0, 0.08), interval), up)


def opening(times: Course, begin: float, chance: np.random.Generator) -> Course:
    """The course of a mouth that opens and closes: 0.5 to 1.2 s."""
    rise, fall = chance.uniform(0.12, 0.3), chance.uniform(0.12, 0.35)
    return steps(times, begin, rise, chance.uniform(0.25, 0.6), fall)


def jumps(times: Course, begin: float, held: float, frames: int) -> Course:
    """From one picture to the other within ``frames`` steps of a thirtieth of a second, held
    for ``held`` seconds, and back. One step is a jump."""
    ramp = (frames - 1) / 30
    return steps(times, begin, ramp, held, ramp)


def wander(times: Course, scale: float, pace: float, chance: np.random.Generator) -> Course:
    """A random course of about ``scale`` at most, which turns about every ``pace`` seconds."""
    interval = float(times[1] - times[0])
    sigma = max(pace / interval / 2, 0.3)
    margin = int(4 * sigma) + 1
    raw = chance.normal(0, 1, (len(times) + 2 * margin, 1))
    path = cv2.GaussianBlur(raw, (0, 0), sigmaX=0.01, sigmaY=sigma)[margin:-margin, 0]
    path = path - path[0]
    return np.asarray(scale * path / (np.abs(path).max() + 1e-9), dtype=np.float64)
