"""A hand-held camera: its motion, its sensor, and the screen or sheet that it films."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from pipeline.types import Picture
from tests.outside_attacks.tracking import Floats


def wander(rng: Generator, count: int, fps: float, low: float, high: float) -> Floats:
    """A smooth random path of unit spread, shape (count,): sinusoids of ``low`` to ``high`` Hz
    whose amplitude falls with frequency."""
    hertz = np.geomspace(low, high, 7) * rng.uniform(0.85, 1.15, 7)
    phases, gains = rng.uniform(0, 2 * math.pi, 7), rng.normal(0, 1, 7) / np.sqrt(hertz)
    time = np.arange(count)[:, None] / fps
    path = (np.sin(2 * math.pi * hertz * time + phases) * gains).sum(axis=1)
    return np.asarray(path / max(float(np.sqrt((gains**2).sum() / 2)), 1e-6))


def hand_path(rng: Generator, count: int, fps: float, size: float) -> Floats:
    """What a hand does to a picture of ``size`` pixels: shape (count, 4), shift in pixels, angle
    in radians, log scale. Sway below 2 Hz, tremor of 7 to 11 Hz (Elble and Koller, "Tremor",
    1990) a tenth as large."""

    def axis(spread: float) -> Floats:
        sway, tremor = wander(rng, count, fps, 0.15, 2), wander(rng, count, fps, 7, 11)
        return spread * (sway + 0.1 * tremor)

    return np.column_stack([
        axis(0.008 * size), axis(0.008 * size), axis(math.radians(0.6)), axis(0.006),
    ])


def posed(pose: Floats, centre: Floats) -> Floats:
    """One row of ``hand_path`` as a similarity about ``centre``, shape (2, 3)."""
    scale = math.exp(float(pose[3]))
    cos, sin = scale * math.cos(float(pose[2])), scale * math.sin(float(pose[2]))
    turn = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([turn, (centre + pose[:2] - turn @ centre)[:, None]])


def shaken(
    frames: Iterable[Picture], path: Floats, *, zoom: float = 1.03, rolling: bool = True
) -> Iterator[Picture]:
    """Frames as a hand-held camera sees them; the rows of a rolling shutter lean with its
    motion. ``zoom`` hides the edges of the picture."""
    for number, frame in enumerate(frames):
        height, width = frame.shape[:2]
        pose = path[number] + [0, 0, 0, math.log(zoom)]
        matrix = posed(pose, np.array([width / 2, height / 2]))
        if rolling and number:
            # Read out during two thirds of the time between two frames.
            lean = (path[number, :2] - path[number - 1, :2]) * 0.66 / height
            shear = np.array([[1, lean[0], 0], [0, 1 + lean[1], 0], [0, 0, 1]])
            matrix = (shear @ np.vstack([matrix, [0, 0, 1]]))[:2]
        yield np.asarray(cv2.warpAffine(frame, matrix, (width, height), flags=cv2.INTER_CUBIC,
                                        borderMode=cv2.BORDER_REPLICATE), np.uint8)


def sensed(
    frames: Iterable[Picture], rng: Generator, fps: float, *, noise: float = 2.0, soft: float = 0.5
) -> Iterator[Picture]:
    """Frames with a sensor's noise, which grows with light and is coarser in colour; a lens's
    softness in pixels; and an exposure that drifts by a percent."""
    drift = wander(rng, 4000, fps, 0.1, 0.8)
    grain: NDArray[np.float32] | None = None
    for number, frame in enumerate(frames):
        height, width = frame.shape[:2]
        if grain is None:
            grain = _grain(rng, height + 64, width + 64)
        top, left = rng.integers(0, 64, 2)
        picture = cv2.GaussianBlur(frame, (0, 0), soft) if soft else frame
        values = picture.astype(np.float32) * np.float32(1 + 0.01 * drift[number])
        light = np.sqrt(values / 128 + 0.15, dtype=np.float32)
        flip = -1 if rng.random() < 0.5 else 1
        step = flip * noise * grain[top : top + height, left : left + width]
        yield np.asarray(np.clip(values + light * step + 0.5, 0, 255), np.uint8)


def _grain(rng: Generator, height: int, width: int) -> NDArray[np.float32]:
    """Unit noise, shape (height, width, 3): half brightness, half colour of twice the size."""
    bright = rng.standard_normal((height, width, 1), np.float32)
    colour = rng.standard_normal((height // 2 + 1, width // 2 + 1, 3), np.float32)
    coarse = cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(0.8 * bright + 0.6 * coarse, (0, 0), 0.55), np.float32) * 1.5


def blink_curve(count: int, fps: float, start: float, rng: Generator) -> Floats:
    """How far the lids are closed in each frame, 0 to 1: down in about 90 ms, shut for 40, up in
    twice the time (Evinger, Manning and Sibony, "Eyelid movements", 1991). ``start``: seconds."""
    down, shut, up = rng.uniform(0.07, 0.11), rng.uniform(0.03, 0.06), rng.uniform(0.16, 0.24)
    # The shutter averages over a part of each frame's time.
    times = (np.arange(count)[:, None] + np.linspace(0, 0.5, 5)) / fps - start
    falling = _eased(times / down)
    rising = _eased((times - down - shut) / up)
    return np.asarray((falling - rising).mean(axis=1))


def opening_curve(count: int, fps: float, start: float, rng: Generator) -> Floats:
    """How far a mouth is open in each frame, 0 to 1: open within a third of a second, held, and
    closed again."""
    rise, hold, fall = rng.uniform(0.3, 0.45), rng.uniform(0.4, 0.7), rng.uniform(0.3, 0.5)
    times = np.arange(count) / fps - start
    return _eased(times / rise) - _eased((times - rise - hold) / fall)


def _eased(part: Floats) -> Floats:
    clipped = np.clip(part, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
