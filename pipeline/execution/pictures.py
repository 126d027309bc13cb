"""Running the stages of a plan on one job."""

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
from pipeline.execution.bulk import inspect_chunk
from pipeline.execution.context import JobContext, Resources
from pipeline.execution.fetch import fetch_pictures, was_fetched
from pipeline.execution.living import analyse_clip
from pipeline.execution.results import model_of
from pipeline.execution.search import search_index
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import (
    EnrolParams,
    FetchedPictureLimits,
    LocateParams,
    MatrixParams,
    SearchParams,
)
from pipeline.plans import Plan, Stage
from pipeline.sessions.base import Detector
from pipeline.stages.align import align_faces
from pipeline.stages.cutout import cut_out
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect, largest_first
from pipeline.stages.embed import embed
from pipeline.stages.quality import first_failure, measure
from pipeline.stages.upright import upright
from pipeline.storage_keys import is_transient
from pipeline.types import DetectedFace, JsonObject, Picture, Quality, QualityLimits

T = TypeVar("T")

# Faces of one picture that are enrolled, the largest: their crops stay below 10 MB.
MAX_ENROLLED_FACES = 256


def run_stage(
    stage: Stage, plan: Plan, job: Job, carry: JobContext, tools: Resources
) -> JobContext:
    """One stage of one job. Raises ``FaceError``."""
    return _STAGES[stage](_plan_for_params(plan, job.params), job, carry, tools)


def _plan_for_params(plan: Plan, params: JsonObject) -> Plan:
    """The plan as the parameters of one job want it."""
    if plan.operation == "locate":
        return replace(plan, face_required=LocateParams.from_json(params).face_required)
    if plan.operation != "enrol":
        return plan
    wanted = EnrolParams.from_json(params)
    return replace(
        plan, gate=wanted.gate, one_face=wanted.faces == "one",
        embed_faces=MAX_ENROLLED_FACES if wanted.faces == "all" else 1,
    )


def _decode(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    if plan.dimension is not None and tools.pack.info.dimension != plan.dimension:
        raise TaskUnsupported(
            f"{plan.operation} needs embeddings of {plan.dimension} numbers; the pack "
            f"{tools.pack.info.name!r} gives {tools.pack.info.dimension}. Serve another pack."
        )
    pictures = []
    for index, key in enumerate(carry.media_of(job)):
        with _naming_picture(index):
            pictures.append(_picture(job, index, key, tools))
    return replace(carry, pictures=pictures, sizes=_sizes(pictures))


def _picture(job: Job, index: int, key: str, tools: Resources) -> Picture:
    """Raises ``ImageNotFound`` for a stored picture that was deleted meanwhile."""
    try:
        data = tools.media.get(key)
    except MediaNotFound as error:
        if is_transient(key):
            raise
        raise ImageNotFound from error
    if was_fetched(job, index):
        # Of what was fetched the web side has not seen the header.
        inspect(data, _narrowed(tools.limits, MatrixParams.from_json(job.params).bounds))
    return decode(data, tools.limits, tools.sandbox)


def _narrowed(limits: PictureLimits, bounds: FetchedPictureLimits) -> PictureLimits:
    return replace(
        limits, max_bytes=min(limits.max_bytes, bounds.max_bytes),
        max_side=min(limits.max_side, bounds.max_side),
        formats=frozenset(each for each in limits.formats if each in bounds.formats),
    )


def _sizes(pictures: list[Picture]) -> list[tuple[int, int]]:
    return [(picture.shape[1], picture.shape[0]) for picture in pictures]


def _find_and_measure_faces(
    plan: Plan, job: Job, carry: JobContext, tools: Resources
) -> JobContext:
    carry = _find_faces(plan, job, carry, tools.pack.detector())
    most = 1 if plan.one_face else plan.most_faces
    for index, found in enumerate(carry.faces):
        if plan.face_required and not found:
            raise NoFace(picture=index)
        if 0 < most < len(found):
            raise ManyFaces(picture=index)
    chosen = [found[: plan.embed_faces] for found in carry.faces]
    if plan.measure:
        carry = replace(carry, qualities=_qualities(plan, carry, chosen, tools.quality_limits))
    if plan.cut:
        carry = replace(carry, cutouts=_for_each_face(carry.pictures, chosen, _cut))
    if job.params.get("liveness") is True:
        scorer = tools.pack.spoof_scorer()
        carry = replace(carry, livenesses=_for_each_face(
            carry.pictures, chosen, lambda picture, face: scorer.score(picture, face.box)
        ))
    if plan.embed_faces:
        embedder = tools.pack.embedder()
        crops = [
            align_faces(picture, some, embedder)
            for picture, some in zip(carry.pictures, chosen, strict=True)
        ]
        carry = replace(carry, crops=crops)
    # The crops are all that embedding needs: pixels need not cross to its machine.
    return replace(carry, pictures=[])


def _find_faces(plan: Plan, job: Job, carry: JobContext, detector: Detector) -> JobContext:
    """The faces of every picture; those that are to be turned by their faces, turned."""
    if plan.operation != "matrix":
        return replace(carry, faces=[detect(picture, detector) for picture in carry.pictures])
    pictures, faces = [], []
    for picture, turn in zip(
        carry.pictures, MatrixParams.from_json(job.params).auto_rotate, strict=True
    ):
        seen, found = upright(picture, detector) if turn else (picture, detect(picture, detector))
        pictures.append(seen)
        faces.append(largest_first(found))
    return replace(carry, pictures=pictures, sizes=_sizes(pictures), faces=faces)


def _qualities(
    plan: Plan, carry: JobContext, chosen: list[list[DetectedFace]], limits: QualityLimits
) -> list[list[Quality]]:
    measured = _for_each_face(carry.pictures, chosen, measure)
    for index, qualities in enumerate(measured):
        reasons = (first_failure(quality, limits) for quality in qualities if plan.gate)
        reason = next((reason for reason in reasons if reason), None)
        if reason is not None:
            raise BadQuality(reason, picture=index)
    return measured


def _cut(picture: Picture, face: DetectedFace) -> bytes:
    return cut_out(picture, face.box)


def _for_each_face(
    pictures: list[Picture],
    chosen: list[list[DetectedFace]],
    look: Callable[[Picture, DetectedFace], T],
) -> list[list[T]]:
    """What ``look`` makes of each chosen face; errors name the picture."""
    seen = []
    for index, (picture, some) in enumerate(zip(pictures, chosen, strict=True)):
        with _naming_picture(index):
            seen.append([look(picture, face) for face in some])
    return seen


def _embed(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    vectors = embed([crop for crops in carry.crops for crop in crops], tools.pack.embedder())
    ends = np.cumsum([len(crops) for crops in carry.crops])[:-1]
    return replace(
        carry, crops=[], embeddings=np.split(vectors, ends), model=model_of(tools.pack)
    )


def _index(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    return replace(carry, hits=search_index(job, SearchParams.from_json(job.params), carry, tools))


def _bulk(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobContext:
    """A search of a batch looks at no pictures."""
    return carry if plan.operation == "doubles" else inspect_chunk(plan, job, carry, tools)


@contextmanager
def _naming_picture(index: int) -> Iterator[None]:
    """An error that is raised inside names the picture ``index``."""
    try:
        yield
    except FaceError as error:
        error.picture = index
        raise


_STAGES: dict[Stage, Callable[[Plan, Job, JobContext, Resources], JobContext]] = {
    Stage.FETCH: fetch_pictures,
    Stage.DECODE: _decode,
    Stage.DETECT: _find_and_measure_faces,
    Stage.EMBED: _embed,
    Stage.INDEX: _index,
    Stage.LIVENESS: analyse_clip,
    Stage.BULK: _bulk,
}
