"""Detects the faces of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.sessions.base import Detector, SmallFaces
from pipeline.types import DetectedFace, Picture


def detect(picture: Picture, detector: Detector) -> list[DetectedFace]:
    """All faces of one picture, largest box first."""
    return largest_first(detector.detect(picture, SmallFaces.ALWAYS))


def detect_main(picture: Picture, detector: Detector) -> list[DetectedFace]:
    """The faces of one picture, largest box first. Faces that are small beside a large picture
    count only when there are no others: those of passers-by do not."""
    return largest_first(detector.detect(picture, SmallFaces.WITHOUT_OTHERS))


def detect_largest(picture: Picture, detector: Detector) -> list[DetectedFace]:
    """A list of the largest face of one picture; empty without any."""
    face = detector.detect_largest(picture)
    return [] if face is None else [face]


def largest_first(faces: Iterable[DetectedFace]) -> list[DetectedFace]:
    """Sorts faces in the order of every list of faces: largest box first."""
    return sorted(faces, key=lambda face: face.box.area, reverse=True)
