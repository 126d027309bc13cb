"""The stages of all operations on pictures: decoding, finding and measuring faces, embedding.

They know no operation: its plan controls them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from pipeline.analysis.engine import embed_together, examine
from pipeline.errors import FaceError, ImageNotFound, MediaNotFound, TaskUnsupported
from pipeline.execution.context import FaceDetail, JobContext, Resources
from pipeline.execution.enrolment import FaceCutouts
from pipeline.execution.fetch import was_fetched
from pipeline.execution.results import model_of, quality_json
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import FetchedPictureLimits, Plan
from pipeline.stages.decode import decode
from pipeline.storage_keys import is_transient
from pipeline.types import Picture


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
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    return replace(context, pictures=pictures, sizes=sizes)


def _picture(plan: Plan, job: Job, index: int, key: str, resources: Resources) -> Picture:
    """Raises ``ImageNotFound`` for a stored picture that was deleted meanwhile."""
    try:
        data = resources.media.get(key)
    except MediaNotFound as error:
        if is_transient(key):
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


def find_and_measure_faces(
    plan: Plan, job: Job, context: JobContext, resources: Resources
) -> JobContext:
    """Find the faces, and of the chosen ones (the largest) whatever the plan wants: their
    quality, their liveness, cutouts, aligned crops for embedding. Raises what ``examine``
    raises."""
    examined = []
    for index, picture in enumerate(context.pictures):
        with _naming_picture(index):
            examined.append(examine(picture, plan.analysis_of(index), resources))
    details: dict[str, list[list[FaceDetail]]] = dict(context.face_details)
    if plan.analysis.measure_quality:
        details["quality"] = [[*map(quality_json, each.qualities)] for each in examined]
    if plan.analysis.score_liveness:
        details["liveness"] = [[*each.liveness] for each in examined]
    if plan.analysis.cut_faces:
        context = context.add(FaceCutouts([each.cutouts for each in examined]))
    # The crops are all that embedding needs: pixels need not cross to its machine.
    return replace(
        context, pictures=[], sizes=[(each.width, each.height) for each in examined],
        faces=[each.faces for each in examined], face_details=details,
        crops=[each.crops for each in examined] if plan.analysis.embed_faces else [],
    )


def embed_faces(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """An embedding of each crop."""
    return replace(
        context, crops=[], embeddings=embed_together(context.crops, resources),
        model=model_of(resources.pack),
    )


@contextmanager
def _naming_picture(index: int) -> Iterator[None]:
    """An error that is raised inside names the picture ``index``."""
    try:
        yield
    except FaceError as error:
        error.picture = index
        raise
