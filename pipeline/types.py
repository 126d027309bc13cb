"""Values that pass between the stages, with the shapes of their arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

JsonObject = dict[str, Any]
"""A JSON object as Python values."""

Picture = NDArray[np.uint8]
"""Pixels, shape (height, width, 3), uint8, BGR, upright."""

Crop = NDArray[np.uint8]
"""One aligned face, shape (side, side, 3), uint8, BGR; the side is the pack's."""

Points = NDArray[np.float32]
"""Five landmarks, shape (5, 2), float32, x then y, in pixels of the picture."""

Embedding = NDArray[np.float32]
"""One face as a vector, shape (dimension,), float32, unit length."""

LandmarkScheme = Literal["arcface5", "dlib5"]
"""The meaning of the five points.

``arcface5``: left eye, right eye, nose tip, left and right mouth corner (left and
right as seen in the picture). ``dlib5``: the four eye corners and the nose base, in
the order of dlib's five-point predictor.
"""


@dataclass(frozen=True, slots=True)
class Box:
    """A face box in pixels of the upright picture; it may exceed the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def height(self) -> float:
        return self.bottom - self.top

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def centre(self) -> tuple[float, float]:
        return (self.left + self.right) / 2, (self.top + self.bottom) / 2

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0 to 1."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(across, 0.0) * max(down, 0.0)
        whole = self.area + other.area - shared
        return shared / whole if whole > 0 else 0.0

    def clipped_to(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Whole pixels (left, top, right, bottom), clipped to the picture."""

        def cut(value: float, limit: int) -> int:
            return min(max(round(value), 0), limit)

        return (
            cut(self.left, width),
            cut(self.top, height),
            cut(self.right, width),
            cut(self.bottom, height),
        )


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFace:
    """One detected face.

    ``score`` is the detector's own confidence, 0 to 1 for SCRFD and unbounded for
    the HOG detector: compare it only within one pack.
    """

    box: Box
    score: float
    landmarks: Points
    scheme: LandmarkScheme


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of a face for recognition.

    ``size``: shorter side of the box in pixels. ``blur``: 0 to 100, larger is sharper.
    ``brightness`` (0 to 255) and ``contrast`` (0 to 127): mean and standard deviation of the
    grey values. ``yaw``, ``pitch``, ``roll``: degrees, 0 is frontal and upright. ``score``:
    the total, 0 to 1.
    """

    size: float
    blur: float
    brightness: float
    contrast: float
    yaw: float
    pitch: float
    roll: float
    score: float


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """The limits of a face at enrolment, in the units of ``Quality``; angles apply in both
    directions."""

    min_size: float
    min_blur: float
    min_brightness: float
    max_brightness: float
    min_contrast: float
    max_yaw: float
    max_pitch: float
    max_roll: float


@dataclass(frozen=True, slots=True)
class AnalysisOptions:
    """What is wanted of the faces of a picture.

    ``find``: ``all`` of them; the ``main`` ones, without those that are small beside a large
    picture unless there are no others; or the ``largest``, which costs least; others are then
    not listed. With ``face_required`` a picture without a face is refused; ``max_faces`` is how
    many a picture may have, 0 for any number. ``embed_faces`` is how many of the largest faces
    are embedded at most, 0 for none. Of these faces ``measure_quality`` wants the quality,
    ``quality_gate`` that it passes the limits, ``score_liveness`` how live each looks, and
    ``cut_faces`` pictures; ``measure_all`` wants the quality of every face that was found.
    With ``auto_rotate`` the upright turn of the picture is found from its faces; these are then
    the main ones.
    """

    find: Literal["all", "main", "largest"] = "all"
    face_required: bool = False
    max_faces: int = 0
    embed_faces: int = 0
    measure_quality: bool = False
    measure_all: bool = False
    quality_gate: bool = False
    score_liveness: bool = False
    cut_faces: bool = False
    auto_rotate: bool = False


ALL_FACES = AnalysisOptions()


@dataclass(frozen=True, slots=True)
class VectorModel:
    """The model of a gallery's vectors; vectors of two models cannot be compared."""

    pack: str
    sha256: str
    dimension: int


@dataclass(frozen=True, slots=True, eq=False)
class IndexEntry:
    """A face in an index. Its label is never reused for another vector; ``collections`` are
    the ids of the collections that it is in."""

    label: int
    vector: Embedding
    collections: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A stored index. ``media_key`` is the key of its manifest of ``size`` bytes with the
    SHA-256 ``sha256``. It holds ``count`` labels and every change up to ``number``. ``id`` is
    0 before it is recorded; ``created_at`` is in epoch seconds."""

    tenant_id: int
    pack: str
    dimension: int
    engine: str
    media_key: str
    sha256: str
    size: int
    count: int
    number: int
    created_at: float
    id: int = 0
