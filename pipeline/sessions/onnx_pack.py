"""Packs of ONNX models: InsightFace's, and directories with a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pipeline.config.settings import Settings
from pipeline.errors import PackDamaged
from pipeline.sessions.alignment import crop_arcface
from pipeline.sessions.antispoof import MiniFasNets
from pipeline.sessions.base import (
    ContourModel,
    Detector,
    Embedder,
    ModelTask,
    PackFile,
    PackInfo,
    SpoofScorer,
)
from pipeline.sessions.capabilities import unsupported_error
from pipeline.sessions.checksums import check_file
from pipeline.sessions.contour_models import MeshContourModel, Points106ContourModel
from pipeline.sessions.runtime import check_providers, mapped_run_errors, open_session
from pipeline.sessions.scrfd import open_detector
from pipeline.sessions.vectors import unit_rows
from pipeline.types import Crop, Picture, Points


class ArcFaceEmbedder:
    """A recognition model of the ArcFace kind, on crops aligned by five points."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._session = open_session(path, settings)
        if len(self._session.get_outputs()) != 1:
            raise PackDamaged(f"{path} is no recognition model: it has several outputs.")
        self._path = path
        self._dimension = int(self._session.get_outputs()[0].shape[-1])
        shape = self._session.get_inputs()[0].shape
        self._side = int(shape[3])
        self._one_by_one = shape[0] == 1
        self._mean, self._spread = (0.0, 1.0) if _normalises(path) else (127.5, 127.5)

    @property
    def dimension(self) -> int:
        return self._dimension

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        return crop_arcface(picture, landmarks, self._side)

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self._dimension), dtype=np.float32)
        each = len(crops) if not self._one_by_one else 1
        with mapped_run_errors(self._path):
            rows = [
                self._run(crops[start : start + each]) for start in range(0, len(crops), each)
            ]
        return unit_rows(np.concatenate(rows))

    def _run(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        blob = cv2.dnn.blobFromImages(
            crops, 1 / self._spread, (self._side, self._side), (self._mean,) * 3, swapRB=True
        )
        rows: NDArray[np.float32] = self._session.run(
            None, {self._session.get_inputs()[0].name: blob}
        )[0]
        return rows


def _normalises(path: Path) -> bool:
    """Whether a recognition model takes plain pixels and normalises them itself. Recognised as
    insightface does it: by a subtraction and a multiplication among its first nodes."""
    try:
        names = [node.name for node in onnx.load(str(path)).graph.node[:8]]
    except (DecodeError, OSError, ValueError) as error:
        raise PackDamaged(f"{path} is no ONNX model: {error}") from error
    return all(
        any(name.startswith(prefixes) for name in names)
        for prefixes in (("Sub", "_minus"), ("Mul", "_mul"))
    )


class OnnxPack:
    """An InsightFace pack, or a directory with a manifest; see ``base.Pack``."""

    def __init__(self, info: PackInfo, settings: Settings) -> None:
        """Raises ``ProviderUnavailable``."""
        check_providers(settings)
        self.info = info
        self._settings = settings
        self.detector = cache(self._open_detector)
        self.embedder = cache(self._open_embedder)
        self.contour_model = cache(self._open_contour_model)
        self.spoof_scorer = cache(self._open_spoof_scorer)

    def _open_detector(self) -> Detector:
        path = self._checked(ModelTask.DETECTION)
        return open_detector(path, self._settings, self._files(ModelTask.DETECTION)[0].sha256)

    def _open_embedder(self) -> Embedder:
        return ArcFaceEmbedder(self._checked(ModelTask.RECOGNITION), self._settings)

    def _open_contour_model(self) -> ContourModel:
        if ModelTask.LANDMARK_106 in self.info.tasks:
            return Points106ContourModel(self._checked(ModelTask.LANDMARK_106), self._settings)
        mesh, eye = self._checked(ModelTask.LANDMARK_468), self._checked(ModelTask.EYE_CONTOUR)
        return MeshContourModel(mesh, eye, self._settings)

    def _open_spoof_scorer(self) -> SpoofScorer:
        files = self._files(ModelTask.ANTI_SPOOF)
        models = [(check_file(self.info, file), file.crop_scale) for file in files]
        return MiniFasNets(models, self._settings)

    def _checked(self, task: ModelTask) -> Path:
        return check_file(self.info, self._files(task)[0])

    def _files(self, task: ModelTask) -> list[PackFile]:
        """At least one. Raises ``TaskUnsupported``."""
        files = [file for file in self.info.files if file.task is task]
        if not files:
            raise unsupported_error(self.info, task)
        return files
