"""Parts of the live video of one man, as cameras, networks and rooms change them."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.calibration.passive import passive_calibration
from pipeline.calibration.table import load_table
from pipeline.living.decision import DecisionPolicy
from pipeline.sessions.base import Pack
from pipeline.types import Picture
from tests.clips import at_rate, encoded
from tests.presentations.cameras import CONTAINERS, lit, noisy

WIDTH, HEIGHT = 640, 360

Play = list[Picture]


def judge_of(pack: Pack) -> DecisionPolicy:
    """The judge with the calibrations of a pack, which were fitted for its models."""
    table = load_table(pack.info.name, model=pack.info.recognition_model)
    assert table is not None
    return DecisionPolicy(table.distance, passive_score=passive_calibration(pack.info).score)


def on_canvas(picture: Picture, chance: np.random.Generator, fill: float = 0.95) -> Picture:
    """A photograph before a blurred wall of its own colours."""
    height = round(HEIGHT * fill)
    width = min(round(picture.shape[1] * height / picture.shape[0]), WIDTH)
    small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    wall = cv2.GaussianBlur(cv2.resize(picture, (WIDTH, HEIGHT)), (0, 0), 40)
    left = int(chance.integers(0, WIDTH - width + 1))
    top = (HEIGHT - height) // 2
    wall[top : top + height, left : left + width] = small
    return np.asarray(wall, dtype=np.uint8)


def filmed(play: Play, chance: np.random.Generator) -> bytes:
    """A play through some camera, at some rate, and some encoder."""
    crop = float(chance.uniform(0.62, 1.0))
    size = float(chance.choice((0.5, 0.75, 1.0, 1.25)))
    width, height = (2 * round(side * size / 2) for side in (WIDTH, HEIGHT))
    left = float(chance.uniform(0.3, 0.7)) * (1 - crop) * WIDTH
    top = float(chance.uniform(0.2, 0.6)) * (1 - crop) * HEIGHT
    matrix = np.array([[1 / crop, 0, -left / crop], [0, 1 / crop, -top / crop]])
    gain, gamma = chance.uniform(0.5, 1.3), chance.uniform(0.8, 1.3)
    sigma, mirrored = float(chance.choice((0, 0, 2, 5))), bool(chance.integers(0, 2))
    fps, speed = float(chance.choice((10, 15, 24, 30, 60))), float(chance.uniform(0.8, 1.25))
    changed = []
    for picture in at_rate(play, fps, source_fps=30 * speed):
        near = cv2.warpAffine(
            picture, matrix, picture.shape[1::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        picture = lit(np.asarray(near, np.uint8), gain, gamma)
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        picture = noisy(picture, sigma, chance) if sigma else picture
        changed.append(picture[:, ::-1] if mirrored else picture)
    kind = str(chance.choice(CONTAINERS))
    return encoded(changed, kind=kind, fps=fps)
