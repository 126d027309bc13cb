"""How a picture, or the camera before it, moves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.alignment import similarity_transform
from pipeline.sessions.contours import ContourPoints
from pipeline.types import Picture
from tests.presentations.courses import Course, wander
from tests.presentations.edits import Field

Matrix = NDArray[np.float64]
"""A map of the plane in homogeneous coordinates, shape (3, 3), float64."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Where and when a play moves: the ``times`` (s) of its frames, the ``centre`` of the face in
    the picture (pixels), the distance of its eyes (pixels), and the rigid points of another live
    head in as many frames, for motion that is taken from it."""

    times: Course
    centre: tuple[float, float]
    eyes_apart: float
    chance: np.random.Generator
    path: Sequence[ContourPoints] = ()

    def wander(self, scale: float, pace: float) -> Course:
        return wander(self.times, scale, pace, self.chance)


Motion = Callable[[Sequence[Picture], Stage], list[Picture]]


def none(play: Sequence[Picture], stage: Stage) -> list[Picture]:
    return list(play)


def _by(matrices: Callable[[Stage, int, int], list[Matrix]]) -> Motion:
    """The motion by one map of the plane for each frame; shown a little larger, so that what lies
    beyond the picture's edges is hardly seen."""

    def motion(play: Sequence[Picture], stage: Stage) -> list[Picture]:
        height, width = play[0].shape[:2]
        nearer = _about(stage.centre, np.diag([1.08, 1.08, 1.0]))
        return [
            _warped(picture, matrix @ nearer)
            for picture, matrix in zip(play, matrices(stage, width, height), strict=True)
        ]

    return motion


def _warped(picture: Picture, matrix: Matrix) -> Picture:
    changed = cv2.warpPerspective(
        picture, matrix, picture.shape[1::-1], flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(changed, np.uint8)


def _about(centre: tuple[float, float], matrix: Matrix) -> Matrix:
    there = np.array([[1, 0, centre[0]], [0, 1, centre[1]], [0, 0, 1.0]])
    return np.asarray(there @ matrix @ np.linalg.inv(there), dtype=np.float64)


def _similar(x: float, y: float, turn: float = 0.0, scale: float = 1.0) -> Matrix:
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    return np.array([[cos, -sin, x], [sin, cos, y], [0, 0, 1.0]])


def _trembling(stage: Stage, width: int, strength: float = 1.0) -> list[Matrix]:
    """A hand: a slow drift and a quick tremor, a little turn and distance."""
    drift, tremor = 0.03 * width * strength, 0.0035 * width * strength
    x, y = (stage.wander(drift, 0.8) + stage.wander(tremor, 0.12) for _ in "xy")
    turn = stage.wander(0.03 * strength, 0.7) + stage.wander(0.004 * strength, 0.15)
    scale = 1 + stage.wander(0.025 * strength, 0.9)
    return [_about(stage.centre, _similar(*one)) for one in zip(x, y, turn, scale, strict=True)]


def _hand(stage: Stage, width: int, height: int) -> list[Matrix]:
    return _trembling(stage, width, float(stage.chance.uniform(0.5, 1.5)))


def _pan(stage: Stage, width: int, height: int) -> list[Matrix]:
    way = stage.chance.uniform(0.06, 0.14) * width * stage.chance.choice((-1, 1))
    part = stage.times / stage.times[-1]
    course = way * (part * part * (3 - 2 * part) - 0.5)
    return [
        hand @ _similar(float(x), 0.0)
        for x, hand in zip(course, _trembling(stage, width, 0.4), strict=True)
    ]


def _zoom(stage: Stage, width: int, height: int) -> list[Matrix]:
    rate, phase = stage.chance.uniform(0.25, 0.8), stage.chance.uniform(0, 2 * np.pi)
    grown = stage.chance.uniform(0.06, 0.16)
    course = 1 + grown + grown * np.sin(2 * np.pi * rate * stage.times + phase)
    return [
        hand @ _about(stage.centre, np.diag([scale, scale, 1.0]))
        for scale, hand in zip(course, _trembling(stage, width, 0.4), strict=True)
    ]


def _tilt(stage: Stage, width: int, height: int) -> list[Matrix]:
    course = stage.wander(float(stage.chance.uniform(0.08, 0.22)), 0.6)
    return [
        hand @ _about(stage.centre, _similar(0, 0, float(turn)))
        for turn, hand in zip(course, _trembling(stage, width, 0.4), strict=True)
    ]


def _perspective(stage: Stage, width: int, height: int) -> list[Matrix]:
    """A sheet that is turned about an upright and a level axis before a camera."""
    yaw = stage.wander(float(stage.chance.uniform(0.15, 0.5)), 0.7)
    pitch = stage.wander(float(stage.chance.uniform(0.1, 0.4)), 0.7)
    focal = 1.3 * max(width, height)
    matrices = []
    for about_y, about_x, hand in zip(yaw, pitch, _trembling(stage, width, 0.4), strict=True):
        cos_y, sin_y, cos_x, sin_x = (
            np.cos(about_y), np.sin(about_y), np.cos(about_x), np.sin(about_x),
        )
        # The columns of the rotation that take the sheet's x and y; its z is 0.
        turned = np.array([
            [focal * cos_y, focal * sin_y * sin_x, 0],
            [0, focal * cos_x, 0],
            [-sin_y, cos_y * sin_x, focal],
        ])
        matrices.append(hand @ _about(stage.centre, turned / focal))
    return matrices


def bent(play: Sequence[Picture], stage: Stage) -> list[Picture]:
    """A sheet that bends about one axis while a hand holds it."""
    height, width = play[0].shape[:2]
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    depth = stage.wander(float(stage.chance.uniform(0.015, 0.05)) * width, 0.6)
    wave = stage.chance.uniform(0.7, 1.6) * width
    phase = stage.chance.uniform(0, 2 * np.pi) + stage.wander(0.8, 1.0)
    upright = bool(stage.chance.integers(0, 2))
    hands = _trembling(stage, width, 0.5)
    changed = []
    for number, picture in enumerate(play):
        moved = cv2.perspectiveTransform(
            np.stack([across, down], axis=2).reshape(1, -1, 2),
            np.linalg.inv(hands[number] @ _about(stage.centre, np.diag([1.1, 1.1, 1.0]))),
        ).reshape(height, width, 2)
        u, v = moved[:, :, 0], moved[:, :, 1]
        axis = u if upright else v
        angle = axis * np.float32(2 * np.pi / wave) + np.float32(phase[number])
        bow, shorter = np.float32(depth[number]) * np.sin(angle), np.float32(0.5 * depth[number])
        # Bent about one axis it is seen shorter along the other.
        map_x = u + (shorter * np.cos(angle) if upright else bow)
        map_y = v + (bow if upright else shorter * np.cos(angle))
        changed.append(_remapped(picture, map_x, map_y))
    return changed


def _remapped(picture: Picture, map_x: Field, map_y: Field) -> Picture:
    return np.asarray(
        cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101),
        np.uint8,
    )


def _head_steps(stage: Stage) -> list[Matrix]:
    """The motion of another live head since its first frame, scaled to this face."""
    begin = stage.path[0]
    spread = np.sqrt(((begin - begin.mean(axis=0)) ** 2).sum(axis=1).mean())
    # The rigid points spread about as far as the eyes are apart.
    points = [(one - begin.mean(axis=0)) * (stage.eyes_apart / spread) for one in stage.path]
    matrices = []
    for one in points:
        matrix = np.vstack([similarity_transform(points[0], one), [0, 0, 1]])
        matrices.append(_about(stage.centre, matrix))
    return matrices


def _with_head(stage: Stage, width: int, height: int) -> list[Matrix]:
    return _head_steps(stage)


def head_alone(play: Sequence[Picture], stage: Stage) -> list[Picture]:
    """The face moves as another live head does; what lies far from it stays."""
    height, width = play[0].shape[:2]
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    x, y = stage.centre
    reach = 2.6 * stage.eyes_apart
    near = np.hypot((across - x) / reach, (down - y) / (1.25 * reach))
    weight = np.clip(2 - 1.25 * near, 0, 1).astype(np.float32)
    weight = weight * weight * (3 - 2 * weight)
    changed = []
    for picture, matrix in zip(play, _head_steps(stage), strict=True):
        back = np.linalg.inv(matrix).astype(np.float32)
        step_x = back[0, 0] * across + back[0, 1] * down + back[0, 2] - across
        step_y = back[1, 0] * across + back[1, 1] * down + back[1, 2] - down
        changed.append(_remapped(picture, across + weight * step_x, down + weight * step_y))
    return changed


UNMOVED = "none"

MOTIONS: dict[str, Motion] = {
    UNMOVED: none,
    "hand": _by(_hand),
    "pan": _by(_pan),
    "zoom": _by(_zoom),
    "tilt": _by(_tilt),
    "perspective": _by(_perspective),
    "bent": bent,
    "head": _by(_with_head),
    "head alone": head_alone,
}

# Motions that are taken from another head.
OF_A_HEAD = ("head", "head alone")
