"""Analyses pictures: decodes them, finds their faces, checks, cuts out and embeds these.

    answers = analyse_pictures([PictureRequest(first, options), ...], resources)

Every picture has the result that it would have alone: its faces, or an error. Single calls and
bulk enrolment use this code. Where stages have machines of their own, each machine calls its part:
``decode``, ``examine``, ``embed``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.passive import passive_calibration
from pipeline.errors import BadInput, BadQuality, FaceError, ManyFaces, NoFace
from pipeline.media.pictures import PictureHeader, PictureLimits, inspect
from pipeline.sandbox.sandbox import Sandbox
from pipeline.sessions.base import Pack
from pipeline.stages.align import align_faces
from pipeline.stages.cutout import cut_out
from pipeline.stages.decode import decode_inspected
from pipeline.stages.detect import detect, detect_largest, detect_main, largest_first
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure
from pipeline.stages.upright import upright
from pipeline.types import AnalysisOptions, Crop, DetectedFace, Picture, Quality, QualityLimits

MAX_PENDING_CROPS = 64
"""Crops, 37 kB each, that are collected before they are embedded in batches of eight."""

NO_EMBEDDINGS = np.empty((0, 0), np.float32)

# Decimals of a passive liveness score.
_LIVENESS_DECIMALS = 4


class AnalysisResources(Protocol):
    """Models and limits. Pictures are decoded in ``sandbox``; None trusts them."""

    @property
    def pack(self) -> Pack: ...
    @property
    def limits(self) -> PictureLimits: ...
    @property
    def quality_limits(self) -> QualityLimits: ...
    @property
    def sandbox(self) -> Sandbox | None: ...


PictureWatcher = Callable[[Picture, FaceError | None], None]
"""Called with the pixels of a decoded picture, which are gone afterwards, and why there is
nothing in them."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureRequest:
    """A picture file, and what is wanted of it. ``limits`` replace those of the resources.
    ``watch`` sees the pixels if they can be decoded."""

    data: bytes
    options: AnalysisOptions
    limits: PictureLimits | None = None
    watch: PictureWatcher | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ExaminedPicture:
    """The faces of a picture of ``width`` x ``height`` pixels (upright), largest first. The
    other lists are empty unless wanted; each has an entry for each of the first
    ``options.embed_faces`` faces (with ``measure_all`` the qualities: for every face): its
    quality, its cutout (JPEG), its passive liveness score (0
    to 1), and its aligned crop until that is embedded."""

    width: int
    height: int
    faces: list[DetectedFace]
    qualities: list[Quality]
    cutouts: list[bytes]
    liveness: list[float]
    crops: list[Crop]


@dataclass(frozen=True, slots=True, eq=False)
class AnalysedPicture:
    """A picture file with the header ``header``. ``embeddings`` of the first faces have shape
    (faces, dimension), float32, rows of unit length."""

    header: PictureHeader
    examined: ExaminedPicture
    embeddings: NDArray[np.float32]


def analyse_pictures(
    requests: Sequence[PictureRequest], resources: AnalysisResources
) -> list[AnalysedPicture | FaceError]:
    """One result for each picture, in order: what was wanted of it, or why there is nothing
    (``BadInput``: not a picture, no face, low quality, ...; a plain ``FaceError`` when
    decoding fails in an unforeseen way).

    Raises errors that no picture causes: ``Unavailable``, ``PackError``.
    """
    results: list[AnalysedPicture | FaceError] = []
    pending: list[tuple[int, AnalysedPicture]] = []
    for index, request in enumerate(requests):
        answer = _analyse(request, resources)
        results.append(answer)
        if isinstance(answer, AnalysedPicture) and answer.examined.crops:
            pending.append((index, answer))
        if sum(len(each.examined.crops) for _, each in pending) >= MAX_PENDING_CROPS:
            _embed(pending, results, resources)
            pending = []
    _embed(pending, results, resources)
    return results


def _embed(
    pending: Sequence[tuple[int, AnalysedPicture]],
    results: list[AnalysedPicture | FaceError],
    resources: AnalysisResources,
) -> None:
    """Complete the results of pending pictures, in full batches."""
    if not pending:
        return
    embeddings = embed_together([each.examined.crops for _, each in pending], resources)
    for (index, each), rows in zip(pending, embeddings, strict=True):
        examined = replace(each.examined, crops=[])
        results[index] = replace(each, examined=examined, embeddings=rows)


def embed_together(
    crops: Sequence[Sequence[Crop]], resources: AnalysisResources
) -> list[NDArray[np.float32]]:
    """The embeddings of the crops of several pictures, in full batches; for each picture shape
    (crops, dimension)."""
    vectors = embed([crop for some in crops for crop in some], resources.pack.embedder())
    return np.split(vectors, np.cumsum([len(some) for some in crops])[:-1])


def _analyse(request: PictureRequest, resources: AnalysisResources) -> AnalysedPicture | FaceError:
    """The picture without embeddings, or the error that it causes."""
    try:
        header = inspect(request.data, request.limits or resources.limits)
        pixels = decode_inspected(request.data, header, resources.sandbox, borrow=True)
        examined = _examine_watched(pixels, request, resources)
        return AnalysedPicture(header, examined, NO_EMBEDDINGS)
    except FaceError as error:
        if isinstance(error, BadInput) or type(error) is FaceError:
            return error
        raise


def _examine_watched(
    pixels: Picture, request: PictureRequest, resources: AnalysisResources
) -> ExaminedPicture:
    """``examine``, and ``request.watch``."""
    watch = request.watch or (lambda _pixels, _error: None)
    try:
        examined = examine(pixels, request.options, resources)
    except BadInput as error:
        watch(pixels, error)
        raise
    watch(pixels, None)
    return examined


def examine(
    picture: Picture, options: AnalysisOptions, resources: AnalysisResources
) -> ExaminedPicture:
    """What is wanted of a decoded picture, except embeddings. With ``auto_rotate`` sizes and
    places are those of the rotated picture.

    Raises ``NoFace``, ``ManyFaces``, ``BadQuality``, ``PictureCorrupt``,
    ``TaskUnsupported``.
    """
    pack = resources.pack
    picture, faces = _find(picture, options, pack)
    if options.face_required and not faces:
        raise NoFace
    if 0 < options.max_faces < len(faces):
        raise ManyFaces
    chosen = faces[: options.embed_faces]
    measured = faces if options.measure_all else chosen if options.measure_quality else []
    qualities = [measure(picture, face) for face in measured]
    if options.quality_gate:
        _check_quality(qualities, resources.quality_limits)
    return ExaminedPicture(
        width=picture.shape[1], height=picture.shape[0], faces=faces, qualities=qualities,
        cutouts=[cut_out(picture, face.box) for face in chosen] if options.cut_faces else [],
        liveness=_passive_scores(picture, chosen, pack) if options.score_liveness else [],
        crops=align_faces(picture, chosen, pack.embedder()) if chosen else [],
    )


def _passive_scores(picture: Picture, faces: Sequence[DetectedFace], pack: Pack) -> list[float]:
    scorer, calibration = pack.spoof_scorer(), passive_calibration(pack.info)
    return [
        round(calibration.score(scorer.score(picture, face.box)), _LIVENESS_DECIMALS)
        for face in faces
    ]


def _find(
    picture: Picture, options: AnalysisOptions, pack: Pack
) -> tuple[Picture, list[DetectedFace]]:
    """The picture, rotated if that is wanted, and its faces, largest first."""
    detector = pack.detector()
    if options.auto_rotate:
        rotated, faces = upright(picture, detector)
        return rotated, largest_first(faces)
    look = {"all": detect, "main": detect_main, "largest": detect_largest}[options.find]
    return picture, look(picture, detector)


def _check_quality(qualities: Sequence[Quality], limits: QualityLimits) -> None:
    """Raises ``BadQuality`` for the first face that may not be enrolled."""
    for quality in qualities:
        reason = first_failure(quality, limits)
        if reason is not None:
            raise BadQuality(reason)
