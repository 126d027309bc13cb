"""Detects the faces of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.sessions.base import Detector
from pipeline.types import DetectedFace, Picture


def detect(picture: Picture, detector: Detector) -> list[DetectedFace]:
    """The faces of one picture, largest box first."""
    return largest_first(detector.detect(picture))


def largest_first(faces: Iterable[DetectedFace]) -> list[DetectedFace]:
    """Sorts faces in the order of every list of faces: largest box first."""
    return sorted(faces, key=lambda face: face.box.area, reverse=True)
