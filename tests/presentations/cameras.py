"""The camera and the encoder that a presentation passes through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.types import Picture
from tests.clips import KINDS, encoded


def lit(picture: Picture, gain: float, gamma: float = 1.0) -> Picture:
    """In other light: ``gain`` times the light, and another slope of the tones."""
    table = 255 * (np.arange(256) / 255) ** gamma * gain
    return np.asarray(cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)), np.uint8)


def noisy(picture: Picture, sigma: float, chance: np.random.Generator) -> Picture:
    """With a camera's noise: a part of one large field, another one for each picture."""
    height, width = picture.shape[:2]
    down, across = (int(shift) for shift in chance.integers(0, 64, 2))
    noise = _noise(height + 64, width + 64)[down : down + height, across : across + width]
    changed = cv2.addWeighted(
        picture.astype(np.float32), 1.0, noise, sigma, 0.0, dtype=cv2.CV_8U
    )
    return np.asarray(changed, np.uint8)


@lru_cache(maxsize=4)
def _noise(height: int, width: int) -> NDArray[np.float32]:
    field = np.random.default_rng(5).normal(0, 1, (height, width, 3))
    return field.astype(np.float32)


# Gain and gamma for each frame of so many.
LIGHTS: dict[str, Callable[[int], Sequence[tuple[float, float]]]] = {
    "as it is": lambda count: [(1.0, 1.0)] * count,
    "dim": lambda count: [(0.55, 1.1)] * count,
    "bright": lambda count: [(1.25, 0.9)] * count,
    "changing": lambda count: [
        (1 + 0.25 * float(np.sin(2 * np.pi * number / count)), 1.0) for number in range(count)
    ],
}

NOISES = (0.0, 1.0, 2.5, 4.0)
SIZES = (360, 480, 640)  # of the longer side, in pixels
RATES = (10, 15, 24, 25, 30, 60)  # frames a second
CONTAINERS = tuple(KINDS)
QUALITIES = ("fine", "usual", "coarse")

# Options of the encoders for each quality.
_OPTIONS: dict[str, dict[str, dict[str, str]]] = {
    "libx264": {"fine": {"crf": "17"}, "usual": {}, "coarse": {"crf": "30"}},
    "libvpx": {"fine": {"crf": "10"}, "usual": {}, "coarse": {"crf": "36"}},
    "mjpeg": {"fine": {"q:v": "2"}, "usual": {}, "coarse": {"q:v": "10"}},
    "mpeg4": {"fine": {}, "usual": {}, "coarse": {}},
}
_BIT_RATES = {"fine": 4_000_000, "usual": 1_500_000, "coarse": 600_000}


@dataclass(frozen=True, slots=True)
class Camera:
    """``size`` is the longer side of its pictures in pixels, ``noise`` a standard deviation of
    0 to 255; the others are names of the tables above."""

    rate: int
    size: int
    light: str
    noise: float
    container: str
    quality: str

    def scaled(self, picture: Picture) -> Picture:
        """The picture in the camera's size, with even sides."""
        scale = self.size / max(picture.shape[:2])
        width, height = (2 * round(side * scale / 2) for side in picture.shape[1::-1])
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(picture, (width, height), interpolation=way), np.uint8)

    def film(self, play: Sequence[Picture], chance: np.random.Generator) -> bytes:
        """The file of a play that has the camera's size and rate."""
        changed = []
        for picture, light in zip(play, LIGHTS[self.light](len(play)), strict=True):
            picture = picture if light == (1.0, 1.0) else lit(picture, *light)
            changed.append(noisy(picture, self.noise, chance) if self.noise else picture)
        codec = KINDS[self.container][1]
        return encoded(
            changed, kind=self.container, fps=self.rate, bit_rate=_BIT_RATES[self.quality],
            options=_OPTIONS[codec][self.quality],
        )
