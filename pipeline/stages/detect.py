"""Finding the faces of a picture."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.sessions.base import Detector
from pipeline.types import Face, Picture


def detect(picture: Picture, detector: Detector) -> list[Face]:
    """The faces of one picture, largest box first."""
    return largest_first(detector.detect(picture))


def largest_first(faces: Iterable[Face]) -> list[Face]:
    """Faces in the order in which every list of them stands."""
    return sorted(faces, key=lambda face: face.box.area, reverse=True)
