"""SCRFD (Guo et al., 2021) on the inputs that a picture needs.

A picture is scaled to one or more input sizes; the boxes of all sizes are merged. The search for
the largest face ends once the first size has found it for certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged
from pipeline.sessions.base import SmallFaces
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.runtime import mapped_run_errors, open_session
from pipeline.sessions.scrfd_steps import ScrfdSteps
from pipeline.sessions.small_faces import DOUBTFUL_SCORE, SmallFaceSearch, WindowNetwork
from pipeline.types import Box, DetectedFace, Picture

# Scores, boxes and five points for three or five strides.
_OUTPUTS = (9, 15)

# A candidate with a lower score at the first size is not a face at any other size.
MIN_COARSE_SCORE = 0.1

# Share of the largest face's area: a candidate with more may become a larger face.
RIVAL_AREA_SHARE = 0.6

# Share of the longer side: next to such a face, the other sizes skip the finest grid.
LARGE_FACE_SHARE = 0.3

# Longer side over shorter side: little is left of narrower pictures at the first size.
MAX_ASPECT_RATIO = 4.0


@dataclass(frozen=True, slots=True)
class EarlyExit:
    """When a detector can stop after its first input size: a face with this score has no
    better box at any other size. The score is ``score`` for faces of at least ``share`` of
    the picture's longer side, and rises by ``slope`` for smaller ones."""

    score: float
    share: float
    slope: float

    def score_for(self, share: float) -> float:
        return self.score + self.slope * max(self.share - share, 0.0)


# Detectors by checksum, at the default sizes. Measured on generated portraits
# (tests/benchmarks/detector_sizes.py): the score at 640 stayed below by 0.01.
_MEASURED_SIZES = (128, 640)
_UNBEATEN = {
    # det_500m
    "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a": EarlyExit(
        score=0.865, share=0.48, slope=0.35
    ),
}


class ScrfdNetwork(WindowNetwork, Protocol):
    """A network of the kind SCRFD."""

    @property
    def fixed_size(self) -> int | None:
        """The only side in pixels that the input may have; None when it may have any."""
        ...

    def candidates(
        self, picture: Picture, threshold: float, *, large_only: bool = False
    ) -> BoxCandidates:
        """The boxes that score at least ``threshold``. The longer side of ``picture`` is a
        multiple of 32 pixels; the input is a black square of that side with the picture in
        its upper left corner. ``large_only`` may skip the finest grid, which finds no face of
        more than 100 pixels."""
        ...


class ScrfdDetector:
    """See ``base.Detector``. Threads may share it."""

    def __init__(
        self, network: ScrfdNetwork, settings: Settings, early_exit: EarlyExit | None = None
    ) -> None:
        """``early_exit`` is None when it was not measured for this network and its sizes."""
        fixed = network.fixed_size
        self.network = network
        self.sizes = tuple(sorted(settings.detector_sizes)) if fixed is None else (fixed,)
        self.threshold = settings.detection_threshold
        self.early_exit = early_exit
        # A network of a fixed size takes no windows.
        self._small_faces = SmallFaceSearch(
            network, self.sizes[-1], settings.smallest_face if fixed is None else 0,
            self.threshold,
        )

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        picture = _widen(picture, min(self.sizes))
        found = [
            detect_at_size(picture, size, self.network, self.threshold) for size in self.sizes[:-1]
        ]
        return faces_of(self._at_last_size(picture, found, small))

    def _at_last_size(
        self, picture: Picture, found: Sequence[BoxCandidates], small: SmallFaces, *,
        large_only: bool = False,
    ) -> BoxCandidates:
        """The faces, given what the other sizes found."""
        searched = small is not SmallFaces.NEVER and self._small_faces.is_needed(picture)
        least = min(DOUBTFUL_SCORE, self.threshold) if searched else self.threshold
        last = detect_at_size(
            picture, self.sizes[-1], self.network, least, large_only=large_only
        )
        faces = BoxCandidates.concatenate([*found, last.above(self.threshold)]).best()
        if not searched or (small is SmallFaces.WITHOUT_OTHERS and len(faces.scores)):
            return faces
        others = self._small_faces.search(picture, last, faces.boxes)
        return BoxCandidates.concatenate([faces, others])

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        if self.early_exit is None or _is_narrow(picture):
            return _largest(self.detect(picture, SmallFaces.WITHOUT_OTHERS))
        coarse = detect_at_size(picture, self.sizes[0], self.network, MIN_COARSE_SCORE)
        sure = coarse.above(self.threshold)
        face = _largest(faces_of(sure.best()))
        if face is not None and _is_certain(face, picture, coarse, self.early_exit):
            return face
        large = face is not None and side_share(face.box, picture) >= LARGE_FACE_SHARE
        small = SmallFaces.WITHOUT_OTHERS if face is None else SmallFaces.NEVER
        return _largest(faces_of(self._at_last_size(picture, [sure], small, large_only=large)))


def open_detector(path: Path, settings: Settings, sha256: str) -> ScrfdDetector:
    """Raises ``PackDamaged``, ``ProviderUnavailable``."""
    network = ScrfdSteps.open(path, settings) or WholeScrfd(path, settings)
    measured = settings.detector_sizes == _MEASURED_SIZES
    return ScrfdDetector(network, settings, _UNBEATEN.get(sha256) if measured else None)


class WholeScrfd:
    """A network of another structure than ``ScrfdSteps`` expects, run as insightface does."""

    def __init__(self, path: Path, settings: Settings) -> None:
        """Raises ``PackDamaged``, ``ProviderUnavailable``."""
        # It imports scipy and requests: half a second and 26 MB.
        from insightface.model_zoo.scrfd import SCRFD

        session = open_session(path, settings)
        if len(session.get_outputs()) not in _OUTPUTS:
            raise PackDamaged(f"{path} is no SCRFD detector with five points.")
        # Separate sessions per input size gain nothing on a CPU while the memory arena is on
        # (20.5 ms against 20.1) and take 25 MB more.
        self.model = SCRFD(model_file=str(path), session=session, static_shape_sessions=False)
        self._path = path
        sides = self.model.static_input_size
        if sides is not None and sides[0] != sides[1]:
            raise PackDamaged(f"{path} takes no square input.")
        self.fixed_size: int | None = None if sides is None else int(sides[0])

    def candidates(
        self, picture: Picture, threshold: float, *, large_only: bool = False  # noqa: ARG002
    ) -> BoxCandidates:
        height, width = picture.shape[:2]
        size = max(height, width)
        return self._run(_on_black(picture, size, size), threshold)

    def window_candidates(
        self, picture: Picture, threshold: float, *, small_only: bool = False  # noqa: ARG002
    ) -> BoxCandidates:
        height, width = (32 * math.ceil(side / 32) for side in picture.shape[:2])
        return self._run(_on_black(picture, height, width), threshold)

    def _run(self, canvas: Picture, threshold: float) -> BoxCandidates:
        with mapped_run_errors(self._path):
            found = self.model.forward(canvas, threshold)
        scores, boxes, points = (np.concatenate(each).astype(np.float32) for each in found)
        return BoxCandidates(boxes, scores.ravel(), points)


def _on_black(picture: Picture, height: int, width: int) -> Picture:
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: picture.shape[0], : picture.shape[1]] = picture
    return canvas


# One size ----------------------------------------------------------------------


def detect_at_size(
    picture: Picture, size: int, network: ScrfdNetwork, threshold: float, *,
    large_only: bool = False,
) -> BoxCandidates:
    """The candidates, in pixels of ``picture``, after scaling its longer side to ``size`` pixels.

    As in insightface the rest of the square is black, below or to the right. The network sees
    it, too: without it embeddings differ by 0.03."""
    height, width = picture.shape[:2]
    ratio = height / width
    new_width, new_height = (size, int(size * ratio)) if ratio <= 1 else (int(size / ratio), size)
    small = np.asarray(cv2.resize(picture, (new_width, new_height)), np.uint8)
    found = network.candidates(small, threshold, large_only=large_only)
    scale = np.float32(new_height / height)
    return BoxCandidates(found.boxes / scale, found.scores, found.points / scale)


def faces_of(chosen: BoxCandidates) -> list[DetectedFace]:
    """The candidates as faces, in their order."""
    rows = zip(chosen.boxes, chosen.scores, chosen.points, strict=True)
    return [
        DetectedFace(Box(*(float(side) for side in box)), float(score), points, "arcface5")
        for box, score, points in rows
    ]


def _largest(faces: Sequence[DetectedFace]) -> DetectedFace | None:
    return max(faces, key=lambda face: face.box.area, default=None)


def _is_certain(
    largest: DetectedFace, picture: Picture, coarse: BoxCandidates, early_exit: EarlyExit
) -> bool:
    """Whether no other size can give a better box of this face, or a larger face."""
    box = largest.box
    if largest.score < early_exit.score_for(side_share(box, picture)):
        return False
    own = np.array([box.left, box.top, box.right, box.bottom], np.float32)
    others: list[bool] = [
        _area(each) > RIVAL_AREA_SHARE * box.area
        for each in coarse.best().boxes
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


def _widen(picture: Picture, size: int) -> Picture:
    """Pads a very narrow picture with black below or to the right, so that its short side
    does not vanish when its long side is scaled to ``size``."""
    height, width = picture.shape[:2]
    least = max(height, width) // size + 1
    if min(height, width) >= least:
        return picture
    bottom, right = max(least - height, 0), max(least - width, 0)
    wide = cv2.copyMakeBorder(picture, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    return wide.astype(np.uint8, copy=False)
