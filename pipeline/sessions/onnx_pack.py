"""Packs of ONNX models, run through insightface's model zoo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
from insightface.model_zoo.scrfd import SCRFD
from numpy.typing import NDArray

from pipeline.config import Settings
from pipeline.errors import TaskUnsupported
from pipeline.sessions.alignment import crop_arcface
from pipeline.sessions.base import Detector, Embedder, PackInfo, Task
from pipeline.sessions.checksums import check_file
from pipeline.sessions.runtime import check_providers, open_session
from pipeline.sessions.vectors import unit_rows
from pipeline.types import Box, Crop, Face, Picture, Points


class ScrfdDetector:
    """SCRFD (Guo et al., 2021) at one or more input sizes, merged."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._model = SCRFD(
            model_file=str(path), session=open_session(path, settings, arena=False)
        )
        self._sizes = [(size, size) for size in settings.detector_sizes]
        self._threshold = settings.detection_threshold

    def detect(self, picture: Picture) -> list[Face]:
        boxes, landmarks = self._model.detect(
            picture, input_size=self._sizes, det_thresh=self._threshold
        )
        return [
            Face(Box(*map(float, row[:4])), float(row[4]), points, "arcface5")
            for row, points in zip(boxes, landmarks, strict=True)
        ]


class ArcFaceEmbedder:
    """An ArcFace-like recognition model on crops aligned by five points."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._model = ArcFaceONNX(model_file=str(path), session=open_session(path, settings))
        self._dimension = int(self._model.output_shape[-1])
        self._side = int(self._model.input_size[0])

    @property
    def dimension(self) -> int:
        return self._dimension

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        return crop_arcface(picture, landmarks, self._side)

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self._dimension), dtype=np.float32)
        return unit_rows(self._model.get_feat(list(crops)))


class OnnxPack:
    """A pack of InsightFace or a directory with a manifest; see ``base.Pack``."""

    def __init__(self, info: PackInfo, settings: Settings) -> None:
        check_providers(settings)
        self._info = info
        self._settings = settings
        self._detector: ScrfdDetector | None = None
        self._embedder: ArcFaceEmbedder | None = None

    @property
    def info(self) -> PackInfo:
        return self._info

    def detector(self) -> Detector:
        if self._detector is None:
            self._detector = ScrfdDetector(self._checked(Task.DETECTION), self._settings)
        return self._detector

    def embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = ArcFaceEmbedder(self._checked(Task.RECOGNITION), self._settings)
        return self._embedder

    def _checked(self, task: Task) -> Path:
        for file in self._info.files:
            if file.task is task:
                return check_file(self._info, file)
        raise TaskUnsupported(
            f"The pack {self._info.name!r} has no model for {task.value}; it has "
            f"{', '.join(sorted(self._info.tasks))}."
        )
