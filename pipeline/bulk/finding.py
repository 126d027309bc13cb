"""The faces that a detector would find, with no more looking than it takes."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.base import Candidates, HasSteps, Pack, StepDetector
from pipeline.stages.detect import detect, largest_first
from pipeline.types import Box, Face, Picture

# What scores less than this at the first size is no face at any other.
FAINT = 0.1

# Of the largest face's area: another spot with more of it may hold a larger face.
RIVAL = 0.6

# Of the longer side: beside a face of this share no smaller size needs the finest grid.
LARGE = 0.3

# Longer side over shorter side: of narrower pictures little is left at the first size.
NARROW = 4.0


class Finder:
    """Finds what ``pack.detector()`` finds, and counts when that took all of it."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._steps = pack.step_detector() if isinstance(pack, HasSteps) else None
        self.pictures = 0
        self.short = 0

    def all_faces(self, picture: Picture) -> list[Face]:
        """Largest first."""
        self.pictures += 1
        if self._steps is None or _is_narrow(picture):
            return detect(picture, self._pack.detector())
        steps = self._steps
        found = [look_at(picture, size, steps, steps.threshold) for size in steps.sizes]
        return faces_of(steps.choose(Candidates.joined(found)))

    def largest_face(self, picture: Picture) -> list[Face]:
        """The largest face, first, and those that were seen with it; empty when there is
        no face. Once the largest is certain, smaller ones are not looked for."""
        if self._steps is None or self._steps.unbeaten is None or _is_narrow(picture):
            return self.all_faces(picture)
        self.pictures += 1
        coarse = look_at(picture, self._steps.sizes[0], self._steps, FAINT)
        seen = self._steps.choose(_above(coarse, self._steps.threshold))
        faces = faces_of(seen)
        if faces and self._is_certain(faces[0], picture, coarse, self._steps):
            self.short += 1
            return faces
        large = bool(faces) and share_of(faces[0].box, picture) >= LARGE
        finer = [
            look_at(picture, size, self._steps, self._steps.threshold, large_only=large)
            for size in self._steps.sizes[1:]
        ]
        return faces_of(self._steps.choose(Candidates.joined([
            _above(coarse, self._steps.threshold), *finer
        ])))

    def _is_certain(
        self, largest: Face, picture: Picture, coarse: Candidates, steps: StepDetector
    ) -> bool:
        """Whether no other size could give a better box of this face, nor a larger face."""
        box = largest.box
        unbeaten = steps.unbeaten
        if unbeaten is None or largest.score < unbeaten.score_of(share_of(box, picture)):
            return False
        own = np.array([box.left, box.top, box.right, box.bottom], np.float32)
        others: list[bool] = [
            _area(each) > RIVAL * box.area
            for each in steps.choose(coarse).boxes
            if not np.allclose(each, own)
        ]
        return not any(others)


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def share_of(box: Box, picture: Picture) -> float:
    """The side of a square as large as ``box``, of the picture's longer side."""
    return math.sqrt(box.area) / float(max(picture.shape[:2]))


def _is_narrow(picture: Picture) -> bool:
    height, width = picture.shape[:2]
    return bool(max(height, width) > NARROW * min(height, width))


def look_at(
    picture: Picture, size: int, steps: StepDetector, threshold: float, *,
    large_only: bool = False,
) -> Candidates:
    """Candidates in pixels of ``picture``, looked at with its longer side brought to
    ``size`` pixels; as insightface does it, with black below or to the right, which is
    part of what the network sees: without it embeddings differ by 0.03."""
    height, width = picture.shape[:2]
    ratio = height / width
    new_width, new_height = (size, int(size * ratio)) if ratio <= 1 else (int(size / ratio), size)
    small = np.asarray(cv2.resize(picture, (new_width, new_height)), np.uint8)
    found = steps.candidates(small, threshold, large_only=large_only)
    scale = np.float32(new_height / height)
    return Candidates(found.boxes / scale, found.scores, found.points / scale)


def _above(candidates: Candidates, threshold: float) -> Candidates:
    kept = candidates.scores >= threshold
    return Candidates(candidates.boxes[kept], candidates.scores[kept], candidates.points[kept])


def faces_of(chosen: Candidates) -> list[Face]:
    """Largest first."""
    rows = zip(chosen.boxes, chosen.scores, chosen.points, strict=True)
    return largest_first(
        Face(Box(*(float(side) for side in box)), float(score), points, "arcface5")
        for box, score, points in rows
    )
