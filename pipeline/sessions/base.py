"""What a model pack offers, whichever library runs it.

Stages see these Protocols only; the libraries stay behind this room's door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sessions.contours import Contours
from pipeline.types import Box, Crop, Face, LandmarkScheme, Picture, Points


class Task(StrEnum):
    """What a model can be asked for."""

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
    """One model file of a pack, with the SHA-256 (lower-case hex) it must have.
    ``crop_scale`` is how many times the face's box an anti-spoof model looks at."""

    name: str
    task: Task
    sha256: str
    licence: str
    crop_scale: float = 0.0


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack as its manifest describes it, before any model is loaded.

    ``dimension`` is the length of its embeddings, 0 without recognition. ``path`` is
    the directory that holds the files.
    """

    name: str
    kind: str
    path: Path
    files: tuple[PackFile, ...]
    dimension: int
    scheme: LandmarkScheme

    @property
    def tasks(self) -> frozenset[Task]:
        return frozenset(file.task for file in self.files)

    @property
    def recognition_model(self) -> str:
        """The SHA-256 of the recognition model, which a calibration table belongs to;
        empty when the pack has none."""
        return next((file.sha256 for file in self.files if file.task is Task.RECOGNITION), "")


class Detector(Protocol):
    """Finds faces."""

    def detect(self, picture: Picture) -> list[Face]:
        """Faces of one picture, in no stated order; empty when there is none."""
        ...


class Embedder(Protocol):
    """Turns a face into a vector."""

    @property
    def dimension(self) -> int: ...

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        """The face cut out, turned and scaled as the model was trained."""
        ...

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        """Shape (len(crops), dimension), float32, every row of unit length."""
        ...


class FaceMeter(Protocol):
    """Draws the contours of eyes and mouth."""

    def measure(self, picture: Picture, face: Face) -> Contours:
        """The contours of ``face``, whose box and landmarks may be some pixels off."""
        ...


class SpoofScorer(Protocol):
    """Tells a face from a picture of one."""

    def score(self, picture: Picture, box: Box) -> float:
        """How live the face in ``box`` looks, 0 to 1."""
        ...


class Pack(Protocol):
    """A loaded pack: models are loaded when they are first asked for.

    Methods raise ``TaskUnsupported`` when the pack lacks the model and
    ``PackDamaged`` when a file's checksum is wrong.
    """

    @property
    def info(self) -> PackInfo: ...

    def detector(self) -> Detector: ...

    def embedder(self) -> Embedder: ...

    def meter(self) -> FaceMeter: ...

    def spoof_scorer(self) -> SpoofScorer: ...
