"""The pack from PyPI: dlib's HOG detector, five points, 128-d ResNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import dlib
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PackDamaged
from pipeline.sessions.base import (
    ContourModel,
    Detector,
    Embedder,
    ModelTask,
    PackInfo,
    SmallFaces,
    SpoofScorer,
)
from pipeline.sessions.capabilities import unsupported_error
from pipeline.sessions.catalogue import DLIB_DIMENSION
from pipeline.sessions.checksums import check_file
from pipeline.sessions.contours import POINTS_68, Contours
from pipeline.sessions.vectors import unit_rows
from pipeline.types import Box, Crop, DetectedFace, Picture, Points

_CHIP_SIDE = 150
"""Side in pixels of the crops that the ResNet was trained on (dlib's documentation)."""

_SIDE = 1280
"""Long side in pixels of the detector's input. The detector finds faces from 80 pixels on,
a sixteenth of this side. The cost is bounded, too: about 110 ms and 20 MB per picture."""

_LARGEST_ZOOM = 2.0
"""Largest factor by which a small picture is enlarged; beyond it no more faces were found."""

_METER_SIDE = 400
"""Longer side in pixels of a face in the input of the 68-point model."""

_CLOSE_SIDE = 200
_CLOSE_EDGE = 25
"""When nothing is found, a face may fill the picture. A second pass uses 200 pixels with the
edge repeated 25 times outwards (7 ms). Of 200 aligned 112 x 112 LFW crops the first pass
misses nine, both passes together miss one."""


class HogDetector:
    """dlib's frontal face detector: a sliding window over histograms of oriented
    gradients (Dalal and Triggs, 2005), trained by max-margin (King, 2015)."""

    def __init__(self, predictor: Path) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = _open(dlib.shape_predictor, predictor)

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER  # noqa: ARG002
    ) -> list[DetectedFace]:
        height, width = picture.shape[:2]
        long_side = max(height, width)
        found = self._look(picture, min(_SIDE / long_side, _LARGEST_ZOOM), 0)
        found = found or self._look(picture, _CLOSE_SIDE / long_side, _CLOSE_EDGE)
        if not found:
            return []
        rgb = _rgb(picture)
        return [DetectedFace(box, score, self._points(rgb, box), "dlib5") for box, score in found]

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        return max(self.detect(picture), key=lambda face: face.box.area, default=None)

    def _look(self, picture: Picture, scale: float, edge: int) -> list[tuple[Box, float]]:
        """Boxes in pixels of ``picture``, found after scaling it and repeating its edge
        ``edge`` times outwards."""
        height, width = picture.shape[:2]
        size = max(round(width * scale), 1), max(round(height * scale), 1)
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        scaled = cv2.resize(picture, size, interpolation=method)
        if edge:
            scaled = cv2.copyMakeBorder(scaled, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        rectangles, scores, _ = self._detector.run(_rgb(scaled), 0)
        return [
            (
                Box(
                    (rectangle.left() - edge) / scale,
                    (rectangle.top() - edge) / scale,
                    (rectangle.right() + 1 - edge) / scale,
                    (rectangle.bottom() + 1 - edge) / scale,
                ),
                float(score),
            )
            for rectangle, score in zip(rectangles, scores, strict=True)
        ]

    def _points(self, rgb: Picture, box: Box) -> Points:
        left, top, right, bottom = (
            round(side) for side in (box.left, box.top, box.right - 1, box.bottom - 1)
        )
        shape = self._predictor(rgb, dlib.rectangle(left, top, right, bottom))
        return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)


class ResNetEmbedder:
    """dlib's ResNet of 29 convolution layers, trained by metric learning on faces
    aligned by five points."""

    def __init__(self, path: Path) -> None:
        self._model = _open(dlib.face_recognition_model_v1, path)

    @property
    def dimension(self) -> int:
        return DLIB_DIMENSION

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        points = [dlib.point(round(float(x)), round(float(y))) for x, y in landmarks]
        # dlib aligns by the points and ignores the rectangle.
        face = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
        crop: Crop = dlib.get_face_chip(np.ascontiguousarray(picture), face, size=_CHIP_SIDE)
        return crop

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, DLIB_DIMENSION), dtype=np.float32)
        return unit_rows(self._model.compute_face_descriptor([_rgb(crop) for crop in crops]))


class Points68ContourModel:
    """dlib's 68 points: an ensemble of regression trees (Kazemi and Sullivan, 2014).

    Its lid ratio was measured as 0.11 for closed and 0.33 for open eyes."""

    def __init__(self, path: Path) -> None:
        self._predictor = _open(dlib.shape_predictor, path)

    def measure(self, picture: Picture, face: DetectedFace) -> Contours:
        # The predictor gives whole pixels, which are too coarse for the lids of a small face.
        box = face.box
        scale = _METER_SIDE / max(box.width, box.height, 1.0)
        corner = np.array([box.left - box.width / 2, box.top - box.height / 2])
        matrix = np.hstack([np.eye(2) * scale, -scale * corner[:, None]])
        side = 2 * _METER_SIDE
        large = cv2.warpAffine(picture, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
        inner = dlib.rectangle(
            *(round(part) for part in (
                scale * box.width / 2, scale * box.height / 2,
                scale * box.width * 1.5 - 1, scale * box.height * 1.5 - 1,
            ))
        )
        shape = self._predictor(_rgb(large), inner)
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        return POINTS_68.contours(points / scale + corner)


class DlibPack:
    """See ``base.Pack``."""

    def __init__(self, info: PackInfo) -> None:
        self.info = info
        self.detector = cache(self._open_detector)
        self.embedder = cache(self._open_embedder)
        self.contour_model = cache(self._open_contour_model)

    def _open_detector(self) -> Detector:
        return HogDetector(self._checked(ModelTask.DETECTION))

    def _open_embedder(self) -> Embedder:
        return ResNetEmbedder(self._checked(ModelTask.RECOGNITION))

    def _open_contour_model(self) -> ContourModel:
        return Points68ContourModel(self._checked(ModelTask.LANDMARK_68))

    def spoof_scorer(self) -> SpoofScorer:
        raise unsupported_error(self.info, ModelTask.ANTI_SPOOF)

    def _checked(self, task: ModelTask) -> Path:
        file = next(file for file in self.info.files if file.task is task)
        return check_file(self.info, file)


def _open(model: Callable[[str], Any], path: Path) -> Any:
    """Loads a dlib model. dlib raises ``RuntimeError`` for every problem."""
    try:
        return model(str(path))
    except RuntimeError as error:
        raise PackDamaged(f"dlib cannot load {path}: {error}") from error


def _rgb(picture: NDArray[Any]) -> Picture:
    """BGR to RGB, as a copy: dlib takes no views."""
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
