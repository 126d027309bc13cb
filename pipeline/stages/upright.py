"""Finds the rotation in which a picture's faces are upright."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import cv2
import numpy as np

from pipeline.sessions.base import Detector
from pipeline.types import Box, DetectedFace, Picture

# Clockwise, in degrees, and cv2.rotate's name for it.
TURNS: dict[int, int] = {
    90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}

# Long side in pixels of the detector's input. The detector uses 640, so that rotating more
# pixels gains nothing.
MAX_SIDE = 1280

# Above this score no other rotation is tried. SCRFD gives a face that is not upright at most
# 0.78; the median of upright faces is 0.83 for small and blurred ones and 0.89 for others
# (297 pictures, 752 detections; tests/benchmarks/upright.py).
CERTAIN_SCORE = 0.85

# Where SCRFD's scores of upside-down faces start. HOG scores start at 0.
DOUBTFUL_SCORE = 0.45

# Rotations with more than this share of the best rotation's evidence are checked again.
CLOSE = 0.5

# Border added for that check, as a share of the longer side: the scores of a face that fills
# its picture differ less between rotations than those of a face with a border.
MARGIN = 0.5

LEVEL = math.cos(math.radians(45))


def upright(picture: Picture, detector: Detector) -> tuple[Picture, list[DetectedFace]]:
    """``picture`` rotated by 0, 90, 180 or 270 degrees so that its faces are upright, and
    these faces in no particular order. Unchanged when no rotation shows a face.

    A detector is trained on upright faces: it scores others lower or misses them, and their
    eyes are not level. The evidence of a rotation is the sum of its faces' scores.
    """
    small = _reduced(picture)
    seen: dict[int, list[DetectedFace]] = {}
    for turn in (0, *TURNS):
        seen[turn] = detector.detect(_turned(small, turn))
        if turn == 0 and any(map(_certain, seen[turn])):
            break
    best = _best(small, seen, detector)
    upright_picture = _turned(picture, best)
    height, width = upright_picture.shape[:2]
    small_height, small_width = _turned(small, best).shape[:2]
    return upright_picture, [
        _enlarged(face, width / small_width, height / small_height) for face in seen[best]
    ]


def _best(picture: Picture, seen: dict[int, list[DetectedFace]], detector: Detector) -> int:
    scores = {turn: uprightness(faces) for turn, faces in seen.items()}
    threshold = CLOSE * max(scores.values())
    candidates = [turn for turn, weight in scores.items() if weight > threshold]
    if len(candidates) > 1:
        for turn in candidates:
            scores[turn] += uprightness(detector.detect(_widened(_turned(picture, turn))))
    return max(scores, key=lambda turn: scores[turn])


def uprightness(faces: Iterable[DetectedFace]) -> float:
    """The evidence that these faces are upright."""
    return sum(_uprightness(face) * _score(face) for face in faces)


def _certain(face: DetectedFace) -> bool:
    return (
        face.scheme == "arcface5" and face.score >= CERTAIN_SCORE and _uprightness(face) >= LEVEL
    )


def _score(face: DetectedFace) -> float:
    # Every detection counts a little: of two doubtful faces the better one decides.
    return max(face.score - (DOUBTFUL_SCORE if face.scheme == "arcface5" else 0.0), 0.005)


def _uprightness(face: DetectedFace) -> float:
    """The cosine of the angle between the line of the eyes and the horizontal, 0 beyond a
    right angle."""
    points = face.landmarks.astype(np.float64)
    left, right = points[0], points[1]
    if face.scheme == "dlib5":
        left, right = points[2:4].mean(axis=0), points[0:2].mean(axis=0)
    across, down = right - left
    length = math.hypot(across, down)
    return max(float(across) / length, 0.0) if length > 0 else 0.0


# Pictures ----------------------------------------------------------------------


def _turned(picture: Picture, degrees: int) -> Picture:
    """``picture`` rotated clockwise."""
    if degrees == 0:
        return picture
    return np.asarray(cv2.rotate(picture, TURNS[degrees]), np.uint8)


def _reduced(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return picture
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _widened(picture: Picture) -> Picture:
    """The picture with its edge repeated on all sides."""
    edge = round(MARGIN * max(picture.shape[:2]))
    wide = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    return np.asarray(wide, np.uint8)


def _enlarged(face: DetectedFace, across: float, down: float) -> DetectedFace:
    """The face scaled to a picture that is larger by these factors."""
    box = face.box
    return replace(
        face,
        box=Box(box.left * across, box.top * down, box.right * across, box.bottom * down),
        landmarks=face.landmarks * np.array([across, down], np.float32),
    )
