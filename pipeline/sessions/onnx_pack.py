"""Packs of ONNX models, run with insightface's model zoo."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from insightface.model_zoo.arcface_onnx import ArcFaceONNX
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
        session = open_session(path, settings)
        if len(session.get_outputs()) != 1:
            raise PackDamaged(f"{path} is no recognition model: it has several outputs.")
        self._model = ArcFaceONNX(model_file=str(path), session=session)
        self._path = path
        self._dimension = int(self._model.output_shape[-1])
        self._side = int(self._model.input_size[0])
        self._one_by_one = self._model.input_shape[0] == 1

    @property
    def dimension(self) -> int:
        return self._dimension

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        return crop_arcface(picture, landmarks, self._side)

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        if not crops:
            return np.empty((0, self._dimension), dtype=np.float32)
        with mapped_run_errors(self._path):
            if self._one_by_one:
                rows = np.concatenate([self._model.get_feat([crop]) for crop in crops])
            else:
                rows = self._model.get_feat(list(crops))
        return unit_rows(rows)


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
