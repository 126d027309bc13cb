"""The interfaces of model packs, independent of the library that runs a model.

Stages use these Protocols only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.contours import Contours
from pipeline.types import Box, Crop, DetectedFace, LandmarkScheme, Picture, Points


class ModelTask(StrEnum):
    """The task of a model."""

    DETECTION = "detection"
    RECOGNITION = "recognition"
    LANDMARK_68 = "landmark_68"
    LANDMARK_106 = "landmark_106"
    LANDMARK_468 = "landmark_468"
    EYE_CONTOUR = "eye_contour"
    ANTI_SPOOF = "anti_spoof"
    ATTRIBUTES = "attributes"


@dataclass(frozen=True, slots=True)
class PackFile:
    """One model file of a pack with its SHA-256 (lower-case hex). ``crop_scale`` is the size
    of an anti-spoof model's crop in sizes of the face's box."""

    name: str
    task: ModelTask
    sha256: str
    licence: str
    crop_scale: float = 0.0


SHOWN_DIGITS = 12
"""Digits of a digest that are shown: enough to tell two packs apart."""


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack as its manifest describes it, before any model is loaded.

    ``dimension`` is the length of its embeddings, 0 without recognition. ``path`` is
    the directory of its files.
    """

    name: str
    kind: str
    path: Path
    files: tuple[PackFile, ...]
    dimension: int
    scheme: LandmarkScheme

    @property
    def tasks(self) -> frozenset[ModelTask]:
        return frozenset(file.task for file in self.files)

    @property
    def recognition_model(self) -> str:
        """The SHA-256 of the recognition model, which identifies its calibration table; empty
        without a recognition model."""
        return next((file.sha256 for file in self.files if file.task is ModelTask.RECOGNITION), "")

    @property
    def digest(self) -> str:
        """SHA-256 over the models (lower-case hex): the same for two packs that compute the same,
        whatever their names and folders."""
        models = sorted(f"{file.task} {file.sha256} {file.crop_scale:g}" for file in self.files)
        return hashlib.sha256("\n".join([self.kind, *models]).encode()).hexdigest()


class SmallFaces(Enum):
    """Whether faces that are small beside a large picture are searched for, which costs more:
    never, only without any other face, or always."""

    NEVER = auto()
    WITHOUT_OTHERS = auto()
    ALWAYS = auto()


class Detector(Protocol):
    """Detects faces."""

    def detect(
        self, picture: Picture, small: SmallFaces = SmallFaces.NEVER
    ) -> list[DetectedFace]:
        """The faces of one picture, in no particular order. A detector may have no way to find
        small ones."""
        ...

    def detect_largest(self, picture: Picture) -> DetectedFace | None:
        """The largest face, a small one only without others; None without any. It may cost
        less than all of them."""
        ...


class Embedder(Protocol):
    """Computes the embedding of a face."""

    @property
    def dimension(self) -> int: ...

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        """The face cropped, rotated and scaled as the model expects."""
        ...

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Shape (len(crops), dimension), float32, every row of unit length."""
        ...


class ContourModel(Protocol):
    """Finds the contours of eyes and mouth."""

    def measure(self, picture: Picture, face: DetectedFace) -> Contours:
        """The contours of ``face``, whose box and landmarks may be some pixels off."""
        ...


class SpoofScorer(Protocol):
    """Tells a face from a picture of a face."""

    def score(self, picture: Picture, box: Box) -> float:
        """The passive liveness score of the face in ``box``, 0 to 1."""
        ...


class Pack(Protocol):
    """A pack that loads each model at its first use.

    Methods raise ``TaskUnsupported`` when the pack lacks the model and
    ``PackDamaged`` when a file's checksum is wrong.
    """

    @property
    def info(self) -> PackInfo: ...

    def detector(self) -> Detector: ...

    def embedder(self) -> Embedder: ...

    def contour_model(self) -> ContourModel: ...

    def spoof_scorer(self) -> SpoofScorer: ...
