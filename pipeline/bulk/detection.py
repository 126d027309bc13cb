"""Finds the faces that a pack's detector finds, with as few runs of the network as possible."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.base import BoxCandidates, HasSteps, Pack, SteppedDetector
from pipeline.stages.detect import detect, largest_first
from pipeline.types import Box, DetectedFace, Picture

# A candidate with a lower score at the first size is not a face at any other size.
MIN_COARSE_SCORE = 0.1

# Share of the largest face's area: a candidate with more may become a larger face.
RIVAL_AREA_SHARE = 0.6

# Share of the longer side: next to such a face, the smaller sizes skip the finest grid.
LARGE_FACE_SHARE = 0.3

# Longer side over shorter side: little is left of narrower pictures at the first size.
MAX_ASPECT_RATIO = 4.0


class BulkDetector:
    """Finds the same faces as ``pack.detector()``, and counts how often it could stop early."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._steps = pack.step_detector() if isinstance(pack, HasSteps) else None
        self.pictures = 0
        self.early_exits = 0

    def all_faces(self, picture: Picture) -> list[DetectedFace]:
        """All faces, largest first."""
        self.pictures += 1
        if self._steps is None or _is_narrow(picture):
            return detect(picture, self._pack.detector())
        steps = self._steps
        found = [detect_at_size(picture, size, steps, steps.threshold) for size in steps.sizes]
        return faces_of(steps.choose(BoxCandidates.concatenate(found)))

    def largest_face(self, picture: Picture) -> list[DetectedFace]:
        """The largest face, followed by others that were found with it; empty when there is
        no face. The search ends once the largest face is certain."""
        if self._steps is None or self._steps.early_exit is None or _is_narrow(picture):
            return self.all_faces(picture)
        self.pictures += 1
        coarse = detect_at_size(picture, self._steps.sizes[0], self._steps, MIN_COARSE_SCORE)
        faces = faces_of(self._steps.choose(_above(coarse, self._steps.threshold)))
        if faces and self._is_certain(faces[0], picture, coarse, self._steps):
            self.early_exits += 1
            return faces
        large = bool(faces) and side_share(faces[0].box, picture) >= LARGE_FACE_SHARE
        finer = [
            detect_at_size(picture, size, self._steps, self._steps.threshold, large_only=large)
            for size in self._steps.sizes[1:]
        ]
        return faces_of(self._steps.choose(BoxCandidates.concatenate([
            _above(coarse, self._steps.threshold), *finer
        ])))

    def _is_certain(
        self, largest: DetectedFace, picture: Picture, coarse: BoxCandidates, steps: SteppedDetector
    ) -> bool:
        """Whether no other size can give a better box of this face, or a larger face."""
        box = largest.box
        early_exit = steps.early_exit
        if early_exit is None or largest.score < early_exit.score_for(side_share(box, picture)):
            return False
        own = np.array([box.left, box.top, box.right, box.bottom], np.float32)
        others: list[bool] = [
            _area(each) > RIVAL_AREA_SHARE * box.area
            for each in steps.choose(coarse).boxes
            if not np.allclose(each, own)
        ]
        return not any(others)


def _area(box: NDArray[np.float32]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def side_share(box: Box, picture: Picture) -> float:
    """The side of a square with the area of ``box``, as a share of the picture's longer
    side."""
    return math.sqrt(box.area) / float(max(picture.shape[:2]))


def _is_narrow(picture: Picture) -> bool:
    height, width = picture.shape[:2]
    return bool(max(height, width) > MAX_ASPECT_RATIO * min(height, width))


def detect_at_size(
    picture: Picture, size: int, steps: SteppedDetector, threshold: float, *,
    large_only: bool = False,
) -> BoxCandidates:
    """Candidates, in pixels of ``picture``, after scaling its longer side to ``size`` pixels.

    As in insightface the rest of the square is black, below or to the right. The network sees
    it, too: without it embeddings differ by 0.03."""
    height, width = picture.shape[:2]
    ratio = height / width
    new_width, new_height = (size, int(size * ratio)) if ratio <= 1 else (int(size / ratio), size)
    small = np.asarray(cv2.resize(picture, (new_width, new_height)), np.uint8)
    found = steps.candidates(small, threshold, large_only=large_only)
    scale = np.float32(new_height / height)
    return BoxCandidates(found.boxes / scale, found.scores, found.points / scale)


def _above(candidates: BoxCandidates, threshold: float) -> BoxCandidates:
    kept = candidates.scores >= threshold
    return BoxCandidates(candidates.boxes[kept], candidates.scores[kept], candidates.points[kept])


def faces_of(chosen: BoxCandidates) -> list[DetectedFace]:
    """The candidates as faces, largest first."""
    rows = zip(chosen.boxes, chosen.scores, chosen.points, strict=True)
    return largest_first(
        DetectedFace(Box(*(float(side) for side in box)), float(score), points, "arcface5")
        for box, score, points in rows
    )
