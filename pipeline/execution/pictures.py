"""The stages of all operations on pictures: decoding, finding and measuring faces, embedding.

They know no operation: its plan controls them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np

from pipeline.errors import (
    BadQuality,
    FaceError,
    ImageNotFound,
    ManyFaces,
    MediaNotFound,
    NoFace,
    TaskUnsupported,
)
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.enrolment import FaceCutouts
from pipeline.execution.fetch import was_fetched
from pipeline.execution.results import model_of, quality_json
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import KEEPING, FetchedPictureLimits, Plan
from pipeline.sessions.base import Detector
from pipeline.stages.align import align_faces
from pipeline.stages.cutout import cut_out
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect, largest_first
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure
from pipeline.stages.upright import upright
from pipeline.storage_keys import is_upload
from pipeline.types import DetectedFace, Picture, Quality, QualityLimits

T = TypeVar("T")


def decode_pictures(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """Raises ``TaskUnsupported``, ``ImageNotFound`` and what decoding raises."""
    pack = resources.pack
    if plan.dimension is not None and pack.info.dimension != plan.dimension:
        raise TaskUnsupported(
            f"{plan.operation} needs embeddings of {plan.dimension} numbers; the pack "
            f"{pack.info.name!r} gives {pack.info.dimension}. Serve another pack."
        )
    pictures = []
    for index, key in enumerate(context.media_of(job)):
        with _naming_picture(index):
            pictures.append(_picture(plan, job, index, key, resources))
    return replace(context, pictures=pictures, sizes=_sizes(pictures))


def _picture(plan: Plan, job: Job, index: int, key: str, resources: Resources) -> Picture:
    """Raises ``ImageNotFound`` for a stored picture that was deleted meanwhile."""
    try:
        data = resources.media.get(key)
    except MediaNotFound as error:
        if is_upload(key) or plan.operation in KEEPING:
            raise
        raise ImageNotFound from error
    if plan.fetched_limits is not None and was_fetched(job, index):
        # The web side has not seen the header of a fetched picture.
        inspect(data, _narrowed(resources.limits, plan.fetched_limits))
    return decode(data, resources.limits, resources.sandbox)


def _narrowed(limits: PictureLimits, fetched: FetchedPictureLimits) -> PictureLimits:
    return replace(
        limits, max_bytes=min(limits.max_bytes, fetched.max_bytes),
        max_side=min(limits.max_side, fetched.max_side),
        formats=frozenset(each for each in limits.formats if each in fetched.formats),
    )


def _sizes(pictures: list[Picture]) -> list[tuple[int, int]]:
    return [(picture.shape[1], picture.shape[0]) for picture in pictures]


def find_and_measure_faces(
    plan: Plan, job: Job, context: JobContext, resources: Resources
) -> JobContext:
    """Find the faces, and of the chosen ones (the largest) whatever the plan wants: their
    quality, their liveness, cutouts, aligned crops for embedding."""
    context = _find_faces(plan, context, resources.pack.detector())
    for index, found in enumerate(context.faces):
        if plan.face_required and not found:
            raise NoFace(picture=index)
        if 0 < plan.max_faces < len(found):
            raise ManyFaces(picture=index)
    pictures = context.pictures
    chosen = [found[: plan.embed_faces] for found in context.faces]
    details = dict(context.face_details)
    if plan.measure_quality:
        qualities = _qualities(plan, pictures, chosen, resources.quality_limits)
        details["quality"] = [[quality_json(each) for each in some] for some in qualities]
    if plan.cut_faces:
        cutouts = _for_each_face(pictures, chosen, lambda pixels, face: cut_out(pixels, face.box))
        context = context.add(FaceCutouts(cutouts))
    if plan.score_liveness:
        scorer = resources.pack.spoof_scorer()
        details["liveness"] = _for_each_face(
            pictures, chosen, lambda pixels, face: round(scorer.score(pixels, face.box), 4)
        )
    if plan.embed_faces:
        embedder = resources.pack.embedder()
        crops = [
            align_faces(pixels, some, embedder)
            for pixels, some in zip(pictures, chosen, strict=True)
        ]
        context = replace(context, crops=crops)
    # The crops are all that embedding needs: pixels need not cross to its machine.
    return replace(context, pictures=[], face_details=details)


def _find_faces(plan: Plan, context: JobContext, detector: Detector) -> JobContext:
    """The faces of every picture, largest first. Pictures of ``plan.auto_rotate`` are turned
    so that their faces stand upright."""
    turns = plan.auto_rotate or (False,) * len(context.pictures)
    pictures, faces = [], []
    for picture, turn in zip(context.pictures, turns, strict=True):
        turned, found = (
            upright(picture, detector) if turn else (picture, detect(picture, detector))
        )
        pictures.append(turned)
        faces.append(largest_first(found))
    return replace(context, pictures=pictures, sizes=_sizes(pictures), faces=faces)


def _qualities(
    plan: Plan, pictures: list[Picture], chosen: list[list[DetectedFace]], limits: QualityLimits
) -> list[list[Quality]]:
    """Raises ``BadQuality`` where the plan has a quality gate."""
    measured = _for_each_face(pictures, chosen, measure)
    if plan.quality_gate:
        for index, qualities in enumerate(measured):
            reasons = (first_failure(quality, limits) for quality in qualities)
            reason = next(filter(None, reasons), None)
            if reason is not None:
                raise BadQuality(reason, picture=index)
    return measured


def _for_each_face(
    pictures: list[Picture], chosen: list[list[DetectedFace]],
    measure_face: Callable[[Picture, DetectedFace], T],
) -> list[list[T]]:
    """The results of ``measure_face`` for each chosen face; errors name the picture."""
    measured = []
    for index, (picture, some) in enumerate(zip(pictures, chosen, strict=True)):
        with _naming_picture(index):
            measured.append([measure_face(picture, face) for face in some])
    return measured


def embed_faces(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """An embedding of each crop."""
    crops = [crop for some in context.crops for crop in some]
    vectors = embed(crops, resources.pack.embedder())
    ends = np.cumsum([len(some) for some in context.crops])[:-1]
    return replace(
        context, crops=[], embeddings=np.split(vectors, ends), model=model_of(resources.pack)
    )


@contextmanager
def _naming_picture(index: int) -> Iterator[None]:
    """An error that is raised inside names the picture ``index``."""
    try:
        yield
    except FaceError as error:
        error.picture = index
        raise
