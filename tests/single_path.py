"""The result of a single enrolment's stages for one picture, to compare others with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.bulk.engine import AnalysedPicture, BulkResources, FaceSelection
from pipeline.config.settings import Settings
from pipeline.errors import BadInput, FaceError
from pipeline.media.pictures import PictureLimits
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure, quality_limits
from pipeline.types import DetectedFace

LEAST_IOU = 0.98
LEAST_COSINE = 0.995


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """``refused`` says why nothing is enrolled, else it is empty; ``found`` are all faces,
    largest first; ``faces`` those to enrol, with their embeddings."""

    refused: str
    found: list[DetectedFace]
    faces: list[DetectedFace]
    embeddings: NDArray[np.float32]


def bulk_tools(pack: Pack, settings: Settings, sandbox: Any = None) -> BulkResources:
    limits = PictureLimits.from_settings(settings)
    return BulkResources(pack, limits, quality_limits(settings), sandbox)


def alone(data: bytes, wanted: FaceSelection, tools: BulkResources) -> Alone:
    """Run the stages in the order of a single enrolment."""
    try:
        picture = decode(data, tools.limits)
    except BadInput as error:
        return Alone(error.code, [], [], np.empty((0, 0), np.float32))
    found = detect(picture, tools.pack.detector())
    faces = found[: wanted.max_faces]
    reasons = [first_failure(measure(picture, face), tools.quality_limits) for face in faces]
    refused = ""
    if not found:
        refused = "no_face"
    elif wanted.faces == "one" and len(found) > 1:
        refused = "many_faces"
    elif wanted.gate and any(reasons):
        refused = "bad_quality " + str(next(filter(None, reasons)))
    embedder = tools.pack.embedder()
    return Alone(refused, found, faces, embed(align_faces(picture, faces, embedder), embedder))


def differences(answer: AnalysedPicture | FaceError, expected: Alone) -> list[str]:
    """The differences between ``answer`` and ``expected``; empty when there are none."""
    if isinstance(answer, FaceError):
        said = f"{answer.code} {answer.reason}" if answer.code == "bad_quality" else answer.code
        return [] if said == expected.refused else [f"{said!r}, not {expected.refused!r}"]
    if expected.refused:
        return [f"enrolled, not {expected.refused!r}"]
    if len(answer.faces) != len(expected.faces):
        return [f"{len(answer.faces)} faces, not {len(expected.faces)}"]
    told = []
    for one, other in zip(answer.faces, expected.faces, strict=True):
        if one.box.overlap(other.box) < LEAST_IOU:
            told.append(f"{one.box}, not {other.box}")
    cosines = (answer.embeddings * expected.embeddings).sum(axis=1)
    if cosines.min(initial=1.0) < LEAST_COSINE:
        told.append(f"a cosine of {cosines.min():.4f}")
    return told
