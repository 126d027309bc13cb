"""Crops faces as an embedding model expects them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.sessions.base import Embedder
from pipeline.types import Crop, DetectedFace, Picture


def align_faces(picture: Picture, faces: Sequence[DetectedFace], embedder: Embedder) -> list[Crop]:
    """One crop per face, in the order of ``faces``."""
    return [embedder.align(picture, face.landmarks) for face in faces]
