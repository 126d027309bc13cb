"""The interfaces of model packs, independent of the library that runs a model.

Stages use these Protocols only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

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


class Detector(Protocol):
    """Detects faces."""

    def detect(self, picture: Picture) -> list[DetectedFace]:
        """The faces of one picture, in no particular order."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class BoxCandidates:
    """The boxes of a detector before non-maximum suppression: ``boxes``, shape (n, 4), left,
    top, right, bottom; ``scores`` (n,), 0 to 1; ``points`` (n, 5, 2), x then y; all float32.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    points: NDArray[np.float32]

    @classmethod
    def empty(cls) -> Self:
        return cls(*(np.zeros(shape, np.float32) for shape in ((0, 4), (0,), (0, 5, 2))))

    @classmethod
    def concatenate(cls, several: Sequence[BoxCandidates]) -> Self:
        """The concatenation of several candidates, in order."""
        if not several:
            return cls.empty()
        return cls(
            np.concatenate([each.boxes for each in several]),
            np.concatenate([each.scores for each in several]),
            np.concatenate([each.points for each in several]),
        )


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


class SteppedDetector(Protocol):
    """A detector whose steps can be run one by one."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides in pixels of the detector's square inputs."""
        ...

    @property
    def threshold(self) -> float:
        """Lowest score that counts as a face."""
        ...

    @property
    def early_exit(self) -> EarlyExit | None:
        """None when it was not measured for this detector and its sizes."""
        ...

    def candidates(
        self, picture: Picture, threshold: float, *, large_only: bool = False
    ) -> BoxCandidates:
        """The boxes that score at least ``threshold``. The longer side of ``picture`` is a
        multiple of 32 pixels; the input is a black square of that side with the picture in
        its upper left corner. ``large_only`` skips the finest grid, which finds no face of
        more than 100 pixels."""
        ...

    def choose(self, candidates: BoxCandidates) -> BoxCandidates:
        """The box with the highest score of each face, best first."""
        ...


@runtime_checkable
class HasSteps(Protocol):
    """A pack whose detector may support single steps."""

    def step_detector(self) -> SteppedDetector | None:
        """None when the detector does not support single steps."""
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
