"""What bulk enrolment sees in pictures.

    seen = look([first, second], Wanted(faces="one", gate=True), tools)

Every picture gets the answer that it would get alone: what was seen, or the error.
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

# Faces of one picture that are enrolled, the largest: their crops stay below 10 MB.
MAX_FACES = 256

# Crops that wait for being embedded, 37 kB each, before they are: a batch takes eight.
MAX_PENDING_CROPS = 64

NO_EMBEDDINGS = np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class FaceSelection:
    """Which faces of a picture are enrolled: the ``largest``, the only ``one`` (several
    are refused), or ``all``; ``gate`` refuses those whose quality is too low."""

    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False

    @property
    def max_faces(self) -> int:
        return MAX_FACES if self.faces == "all" else 1


@dataclass(frozen=True, slots=True, eq=False)
class AnalysedPicture:
    """One picture: its upright size in pixels, how many faces were ``found`` (when the
    largest is wanted, until it was certain), and those to enrol, largest first, each with
    its quality, its cutout (JPEG) and its embedding, shape (faces, dimension), float32,
    rows of unit length."""

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
    """What looking takes. Pictures are decoded in ``sandbox``; None trusts them."""

    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    sandbox: Sandbox | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _DetectedPicture:
    """A picture whose faces are not embedded yet, but cut out for it as ``crops``."""

    picture: AnalysedPicture
    crops: list[Crop]


def analyse_pictures(
    pictures: Sequence[bytes], wanted: FaceSelection, tools: BulkResources
) -> list[AnalysedPicture | FaceError]:
    """One answer a picture, in their order: what is to be enrolled, or why nothing is
    (``BadInput``: not a picture, no face, a face of low quality, ...; a plain
    ``FaceError`` when decoding fails in a way that nobody foresaw).

    Raises what is no picture's fault: ``Unavailable``, ``PackError``.
    """
    finder = BulkDetector(tools.pack)
    answers: list[AnalysedPicture | FaceError] = []
    waiting: list[tuple[int, _DetectedPicture]] = []
    for place, data in enumerate(pictures):
        glance = _analyse(data, wanted, tools, finder)
        if isinstance(glance, _DetectedPicture):
            waiting.append((place, glance))
            answers.append(glance.picture)
        else:
            answers.append(glance)
        if sum(len(each.crops) for _, each in waiting) >= MAX_PENDING_CROPS:
            _embed(waiting, answers, tools)
            waiting = []
    _embed(waiting, answers, tools)
    return answers


def _embed(
    waiting: Sequence[tuple[int, _DetectedPicture]],
    answers: list[AnalysedPicture | FaceError],
    tools: BulkResources,
) -> None:
    """Complete the answers of pictures that wait for embeddings, with full batches."""
    crops = [crop for _, each in waiting for crop in each.crops]
    vectors = embed(crops, tools.pack.embedder())
    start = 0
    for place, each in waiting:
        end = start + len(each.crops)
        answers[place] = replace(each.picture, embeddings=vectors[start:end])
        start = end


def _analyse(
    data: bytes, wanted: FaceSelection, tools: BulkResources, finder: BulkDetector
) -> _DetectedPicture | FaceError:
    try:
        header = inspect(data, tools.limits)
        picture = decode_inspected(data, header, tools.sandbox, borrow=True)
        return _detect_faces(picture, header.format, wanted, tools, finder)
    except FaceError as error:
        if isinstance(error, BadInput) or type(error) is FaceError:
            return error
        raise


def _detect_faces(
    picture: Picture,
    name: PictureFormat,
    wanted: FaceSelection,
    tools: BulkResources,
    finder: BulkDetector,
) -> _DetectedPicture:
    """Raises ``NoFace``, ``ManyFaces``, ``BadQuality``."""
    find = finder.largest_face if wanted.faces == "largest" else finder.all_faces
    found = find(picture)
    if not found:
        raise NoFace
    if wanted.faces == "one" and len(found) > 1:
        raise ManyFaces
    faces = found[: wanted.max_faces]
    seen = AnalysedPicture(
        width=picture.shape[1], height=picture.shape[0], format=name, face_count=len(found),
        faces=faces, qualities=_qualities(picture, faces, wanted, tools),
        cutouts=[cut_out(picture, face.box) for face in faces], embeddings=NO_EMBEDDINGS,
    )
    return _DetectedPicture(seen, align_faces(picture, faces, tools.pack.embedder()))


def _qualities(
    picture: Picture, faces: Sequence[DetectedFace], wanted: FaceSelection, tools: BulkResources
) -> list[Quality]:
    """Raises ``BadQuality`` for the first face that may not be enrolled."""
    qualities = [measure(picture, face) for face in faces]
    if wanted.gate:
        for quality in qualities:
            reason = first_failure(quality, tools.quality_limits)
            if reason is not None:
                raise BadQuality(reason)
    return qualities
