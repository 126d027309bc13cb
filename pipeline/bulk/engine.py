"""Detects, checks and embeds the faces of many pictures at once.

    answers = analyse_pictures([first, second], FaceSelection(faces="one"), resources)

Every picture has the result that it would have alone: its faces, or an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.bulk.detection import BulkDetector
from pipeline.errors import BadInput, BadQuality, FaceError, ManyFaces, NoFace
from pipeline.media.picture_formats import PictureFormat
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.cutout import cut_out
from pipeline.stages.decode import decode_inspected
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure
from pipeline.types import Crop, DetectedFace, Picture, Quality, QualityLimits

MAX_FACES = 256
"""Faces of one picture that are enrolled, the largest first: their crops stay below 10 MB."""

MAX_PENDING_CROPS = 64
"""Crops, 37 kB each, that are collected before they are embedded in batches of eight."""

NO_EMBEDDINGS = np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class FaceSelection:
    """Which faces of a picture are enrolled: the ``largest``, the only ``one`` (pictures with
    several are rejected), or ``all``. With ``gate``, low quality rejects the picture."""

    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False

    @property
    def max_faces(self) -> int:
        return MAX_FACES if self.faces == "all" else 1


@dataclass(frozen=True, slots=True, eq=False)
class AnalysedPicture:
    """One picture: its upright size in pixels, how many faces were detected (when only the
    largest is wanted, until it was certain), and the faces to enrol, largest first, each
    with its quality, its cutout (JPEG) and its embedding. ``embeddings`` have shape (faces,
    dimension), float32, rows of unit length."""

    width: int
    height: int
    format: PictureFormat
    face_count: int
    faces: list[DetectedFace]
    qualities: list[Quality]
    cutouts: list[bytes]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BulkResources:
    """Models and limits. Pictures are decoded in ``sandbox``; None trusts them."""

    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _DetectedPicture:
    """A picture without embeddings yet, and the aligned crops to embed."""

    picture: AnalysedPicture
    crops: list[Crop]


def analyse_pictures(
    pictures: Sequence[bytes], selection: FaceSelection, resources: BulkResources
) -> list[AnalysedPicture | FaceError]:
    """One result for each picture, in order: the faces to enrol, or why there are none
    (``BadInput``: not a picture, no face, low quality, ...; a plain ``FaceError`` when
    decoding fails in an unforeseen way).

    Raises errors that no picture causes: ``Unavailable``, ``PackError``.
    """
    detector = BulkDetector(resources.pack)
    results: list[AnalysedPicture | FaceError] = []
    pending: list[tuple[int, _DetectedPicture]] = []
    for index, data in enumerate(pictures):
        detected = _analyse(data, selection, resources, detector)
        if isinstance(detected, _DetectedPicture):
            pending.append((index, detected))
            results.append(detected.picture)
        else:
            results.append(detected)
        if sum(len(each.crops) for _, each in pending) >= MAX_PENDING_CROPS:
            _embed(pending, results, resources)
            pending = []
    _embed(pending, results, resources)
    return results


def _embed(
    pending: Sequence[tuple[int, _DetectedPicture]],
    results: list[AnalysedPicture | FaceError],
    resources: BulkResources,
) -> None:
    """Complete the results of pending pictures, in full batches."""
    crops = [crop for _, each in pending for crop in each.crops]
    vectors = embed(crops, resources.pack.embedder())
    start = 0
    for index, each in pending:
        end = start + len(each.crops)
        results[index] = replace(each.picture, embeddings=vectors[start:end])
        start = end


def _analyse(
    data: bytes, selection: FaceSelection, resources: BulkResources, detector: BulkDetector
) -> _DetectedPicture | FaceError:
    """The detected faces, or the error that the picture causes."""
    try:
        header = inspect(data, resources.limits)
        pixels = decode_inspected(data, header, resources.sandbox, borrow=True)
        faces, count = _detect_faces(pixels, selection, detector)
        picture = AnalysedPicture(
            width=pixels.shape[1], height=pixels.shape[0], format=header.format,
            face_count=count, faces=faces,
            qualities=_qualities(pixels, faces, selection, resources),
            cutouts=[cut_out(pixels, face.box) for face in faces], embeddings=NO_EMBEDDINGS,
        )
        return _DetectedPicture(picture, align_faces(pixels, faces, resources.pack.embedder()))
    except FaceError as error:
        if isinstance(error, BadInput) or type(error) is FaceError:
            return error
        raise


def _detect_faces(
    pixels: Picture, selection: FaceSelection, detector: BulkDetector
) -> tuple[list[DetectedFace], int]:
    """The selected faces, and how many were detected. Raises ``NoFace``, ``ManyFaces``."""
    largest_only = selection.faces == "largest"
    found = detector.largest_face(pixels) if largest_only else detector.all_faces(pixels)
    if not found:
        raise NoFace
    if selection.faces == "one" and len(found) > 1:
        raise ManyFaces
    return found[: selection.max_faces], len(found)


def _qualities(
    pixels: Picture, faces: Sequence[DetectedFace], selection: FaceSelection,
    resources: BulkResources,
) -> list[Quality]:
    """Raises ``BadQuality`` for the first face that may not be enrolled."""
    qualities = [measure(pixels, face) for face in faces]
    if selection.gate:
        for quality in qualities:
            reason = first_failure(quality, resources.quality_limits)
            if reason is not None:
                raise BadQuality(reason)
    return qualities
