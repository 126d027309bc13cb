"""Finding the faces of a picture."""

from __future__ import annotations

from pipeline.sessions.base import Detector
from pipeline.types import Face, Picture


def detect(picture: Picture, detector: Detector) -> list[Face]:
    """The faces of one picture, largest box first."""
    return sorted(detector.detect(picture), key=lambda face: face.box.area, reverse=True)
