"""The pack that comes from PyPI: dlib's HOG detector, five points, 128-d ResNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import dlib
import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.base import Detector, Embedder, PackFile, PackInfo, Task
from pipeline.sessions.catalogue import DLIB_DIMENSION
from pipeline.sessions.checksums import check_file
from pipeline.sessions.vectors import unit_rows
from pipeline.types import Box, Crop, Face, Picture, Points

_CHIP_SIDE = 150
"""Side in pixels of the crops that the ResNet was trained on (dlib's documentation)."""


class HogDetector:
    """dlib's frontal face detector (Dalal and Triggs, 2005; King, 2015)."""

    def __init__(self, predictor: Path) -> None:
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(predictor))

    def detect(self, picture: Picture) -> list[Face]:
        rgb = np.ascontiguousarray(picture[:, :, ::-1])
        boxes, scores, _ = self._detector.run(rgb, 1)
        return [self._face(rgb, box, score) for box, score in zip(boxes, scores, strict=True)]

    def _face(self, rgb: Picture, box: dlib.rectangle, score: float) -> Face:
        shape = self._predictor(rgb, box)
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)
        return Face(
            Box(box.left(), box.top(), box.right() + 1, box.bottom() + 1), score, points, "dlib5"
        )


class ResNetEmbedder:
    """dlib's ResNet with 29 convolution layers, trained by metric learning."""

    def __init__(self, path: Path) -> None:
        self._model = dlib.face_recognition_model_v1(str(path))

    @property
    def dimension(self) -> int:
        return DLIB_DIMENSION

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        points = [dlib.point(round(float(x)), round(float(y))) for x, y in landmarks]
        # dlib aligns by the points; the rectangle is not looked at.
        face = dlib.full_object_detection(dlib.rectangle(0, 0, 1, 1), points)
        crop: Crop = dlib.get_face_chip(np.ascontiguousarray(picture), face, size=_CHIP_SIDE)
        return crop

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, DLIB_DIMENSION), dtype=np.float32)
        rgb = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops]
        return unit_rows(self._model.compute_face_descriptor(rgb))


class DlibPack:
    """See ``base.Pack``."""

    def __init__(self, info: PackInfo) -> None:
        self._info = info
        self._detector: HogDetector | None = None
        self._embedder: ResNetEmbedder | None = None

    @property
    def info(self) -> PackInfo:
        return self._info

    def detector(self) -> Detector:
        if self._detector is None:
            self._detector = HogDetector(check_file(self._info, self._file(Task.DETECTION)))
        return self._detector

    def embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = ResNetEmbedder(check_file(self._info, self._file(Task.RECOGNITION)))
        return self._embedder

    def _file(self, task: Task) -> PackFile:
        return next(file for file in self._info.files if file.task is task)
