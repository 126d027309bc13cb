"""Large pictures with labelled faces of a given width, made from the test pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.base import Detector
from pipeline.stages.detect import detect_largest
from pipeline.types import Box, DetectedFace, Picture
from tests.photos import read

# Side of a cell in widths of its face: what surrounds the face in its photo comes along.
_CELL_WIDTHS = 2.8

SAME = 0.3  # overlap of two boxes of one face; their edges are a pixel off or two


@dataclass(frozen=True, slots=True, eq=False)
class LabelledFace:
    """A picture with one face, and the box of it."""

    picture: Picture
    box: Box


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A picture, and the boxes of all faces that were put into it."""

    picture: Picture
    boxes: list[Box]

    def missed(self, found: Sequence[DetectedFace]) -> list[Box]:
        """The faces that are not among those found."""
        return [
            box for box in self.boxes if not any(face.box.overlap(box) > SAME for face in found)
        ]

    def others(self, found: Sequence[DetectedFace]) -> list[DetectedFace]:
        """Those found that were not put there."""
        return [
            face for face in found if not any(face.box.overlap(box) > SAME for box in self.boxes)
        ]


def photo_faces(folder: Path, detector: Detector) -> list[LabelledFace]:
    """The main faces of the photos of people, with what surrounds them."""
    return _labelled(sorted((folder / "photos").glob("*/*.jpg")), detector)


def crop_faces(
    folder: Path, detector: Detector, count: int, chance: np.random.Generator
) -> list[LabelledFace]:
    """``count`` faces that were cut out closely: without hair or background."""
    paths = sorted((folder / "lfw_aligned").rglob("*.jpg"))
    chosen = [paths[index] for index in chance.permutation(len(paths))[: 2 * count]]
    return _labelled(chosen, detector)[:count]


def _labelled(paths: Sequence[Path], detector: Detector) -> list[LabelledFace]:
    pictures = [read(path) for path in paths]
    return [
        LabelledFace(picture, face.box)
        for picture in pictures for face in detect_largest(picture, detector)
    ]


def grid(
    faces: Sequence[LabelledFace], face_width: float, background: Picture,
    chance: np.random.Generator,
) -> Grid:
    """``background`` with as many of ``faces`` as fit, ``face_width`` pixels wide, in random
    cells of a grid."""
    height, width = background.shape[:2]
    side = int(_CELL_WIDTHS * face_width)
    columns, rows = width // side, height // side
    page = background.copy()
    boxes = []
    cells = chance.permutation(columns * rows)
    for face, cell in zip(faces, cells.tolist(), strict=False):
        corner = (cell % columns) * side, (cell // columns) * side
        boxes.append(place(face, face_width, page, corner, side))
    return Grid(page, boxes)


def place(
    face: LabelledFace, face_width: float, page: Picture, corner: tuple[int, int], side: int
) -> Box:
    """Draws ``face`` into the middle of the square of ``side`` pixels at ``corner``."""
    scale = face_width / face.box.width
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    small = cv2.resize(face.picture, None, fx=scale, fy=scale, interpolation=method)
    across = round((face.box.left + face.box.right) / 2 * scale)
    down = round((face.box.top + face.box.bottom) / 2 * scale)
    left, top = max(0, across - side // 2), max(0, down - side // 2)
    part = small[top : down + side // 2, left : across + side // 2]
    x, y = corner[0] + side // 2 - (across - left), corner[1] + side // 2 - (down - top)
    page[y : y + part.shape[0], x : x + part.shape[1]] = part
    moved_x, moved_y = x - left, y - top
    return Box(
        face.box.left * scale + moved_x, face.box.top * scale + moved_y,
        face.box.right * scale + moved_x, face.box.bottom * scale + moved_y,
    )


def soft_background(width: int, height: int, chance: np.random.Generator) -> Picture:
    """Soft blotches of colour, as out of focus."""
    coarse = chance.integers(40, 200, (12, 16, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def faceless(width: int, height: int, chance: np.random.Generator) -> dict[str, Picture]:
    """Pictures without a face, by what they show."""
    shape = (height, width, 3)
    rows = np.linspace(0, 1, height)[:, None, None]
    sky = (np.array([220, 160, 90]) * (1 - rows) + np.array([245, 225, 200]) * rows)
    sky = sky + chance.normal(0, 3, shape)
    fine = chance.integers(0, 256, shape, np.uint8)
    grass = cv2.GaussianBlur(chance.normal(110, 90, shape).clip(0, 255), (1, 0), 0.8, sigmaY=5)
    page = np.full(shape, 245, np.uint8)
    for row in range(30, height, 34):
        words = "".join(chr(letter) for letter in chance.integers(97, 123, width // 12))
        cv2.putText(page, words, (10, row), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (30, 30, 30), 2)
    windows = np.full(shape, 150, np.uint8)
    windows[:, :, 2] = 120
    for top in range(10, height, 60):
        for left in range(10, width, 44):
            shade = int(chance.integers(20, 90))
            cv2.rectangle(windows, (left, top), (left + 24, top + 36), (shade,) * 3, -1)
    dots = soft_background(width, height, chance)
    for _ in range(width * height // 4000):
        centre = tuple(int(each) for each in chance.integers(0, (width, height)))
        radius = int(chance.integers(3, 40))
        cv2.circle(dots, centre, radius, chance.integers(0, 256, 3).tolist(), -1)
    made: dict[str, NDArray[Any]] = {
        "sky": sky, "noise": fine, "soft noise": np.asarray(cv2.GaussianBlur(fine, (0, 0), 2)),
        "grass": np.asarray(grass), "text": page, "windows": windows, "dots": dots,
        "blotches": soft_background(width, height, chance),
    }
    return {name: each.clip(0, 255).astype(np.uint8) for name, each in made.items()}


def without_faces(picture: Picture, faces: Sequence[DetectedFace]) -> Picture:
    """``picture`` with its faces and the area around them painted over."""
    page = picture.copy()
    for face in faces:
        box = face.box
        middle = round((box.left + box.right) / 2), round((box.top + box.bottom) / 2)
        size = round(0.8 * box.width), round(0.8 * box.height)
        cv2.ellipse(page, middle, size, 0, 0, 360, (120, 130, 140), -1)
    return page
