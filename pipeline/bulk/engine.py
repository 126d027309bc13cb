"""What bulk enrolment sees in pictures.

    seen = look([first, second], Wanted(faces="one", gate=True), tools)

Every picture gets the answer that it would get alone: what was seen, or the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadInput, BadQuality, FaceError, ManyFaces, NoFace
from pipeline.media.header import PictureLimits, inspect
from pipeline.media.layouts import PictureFormat
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.cutout import cut_out
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.stages.quality import failing, measure
from pipeline.types import Face, Picture, Quality, QualityLimits

# Faces of one picture that are enrolled, the largest: their crops stay below 10 MB.
MOST_FACES = 256


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which faces of a picture are enrolled: the ``largest``, the only ``one`` (several
    are refused), or ``all``; ``gate`` refuses those whose quality is too low."""

    faces: Literal["largest", "one", "all"] = "largest"
    gate: bool = False

    @property
    def most(self) -> int:
        return MOST_FACES if self.faces == "all" else 1


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One picture: its upright size in pixels, how many faces were ``found``, and those
    to enrol, largest first, each with its quality, its cutout (JPEG) and its embedding,
    shape (faces, dimension), float32, rows of unit length."""

    width: int
    height: int
    format: PictureFormat
    found: int
    faces: list[Face]
    qualities: list[Quality]
    cutouts: list[bytes]
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BulkTools:
    """What looking takes. Pictures are decoded in ``sandbox``; None trusts them."""

    pack: Pack
    limits: PictureLimits
    quality_limits: QualityLimits
    sandbox: Sandbox | None = None


def look(
    pictures: Sequence[bytes], wanted: Wanted, tools: BulkTools
) -> list[Seen | FaceError]:
    """One answer a picture, in their order: what is to be enrolled, or why nothing is
    (``BadInput``: not a picture, no face, a face of low quality, ...; a plain
    ``FaceError`` when decoding fails in a way that nobody foresaw).

    Raises what is no picture's fault: ``Unavailable``, ``PackError``.
    """
    return [_answer(data, wanted, tools) for data in pictures]


def _answer(data: bytes, wanted: Wanted, tools: BulkTools) -> Seen | FaceError:
    try:
        return _look_at(data, wanted, tools)
    except FaceError as error:
        if isinstance(error, BadInput) or type(error) is FaceError:
            return error
        raise


def _look_at(data: bytes, wanted: Wanted, tools: BulkTools) -> Seen:
    """One picture by the stages of a single enrolment."""
    header = inspect(data, tools.limits)
    picture = decode(data, tools.limits, tools.sandbox)
    found = detect(picture, tools.pack.detector())
    if not found:
        raise NoFace
    if wanted.faces == "one" and len(found) > 1:
        raise ManyFaces
    faces = found[: wanted.most]
    qualities = _gated(picture, faces, wanted, tools)
    embedder = tools.pack.embedder()
    return Seen(
        width=picture.shape[1], height=picture.shape[0], format=header.format,
        found=len(found), faces=faces, qualities=qualities,
        cutouts=[cut_out(picture, face.box) for face in faces],
        embeddings=embed(align_faces(picture, faces, embedder), embedder),
    )


def _gated(
    picture: Picture, faces: Sequence[Face], wanted: Wanted, tools: BulkTools
) -> list[Quality]:
    """Raises ``BadQuality`` for the first face that may not be enrolled."""
    qualities = [measure(picture, face) for face in faces]
    if wanted.gate:
        for quality in qualities:
            reason = failing(quality, tools.quality_limits)
            if reason is not None:
                raise BadQuality(reason)
    return qualities
