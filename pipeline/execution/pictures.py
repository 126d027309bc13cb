"""The stages of all operations on pictures: decoding, finding and measuring faces, embedding.

They know no operation: its plan controls them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.engine import NO_EMBEDDINGS, embed_together, examine
from pipeline.analysis.result_cache import KEPT_ERRORS, AnalysisKey, KeptAnalysis
from pipeline.errors import FaceError, ImageNotFound, MediaNotFound, TaskUnsupported
from pipeline.execution.context import CachedPicture, FaceDetail, JobContext, Resources
from pipeline.execution.enrolment import FaceCutouts
from pipeline.execution.fetch import was_fetched
from pipeline.execution.results import model_of, quality_json
from pipeline.jobs.model import Job
from pipeline.media.pictures import PictureLimits, inspect
from pipeline.operations import KEEPING, FetchedPictureLimits, Plan
from pipeline.stages.decode import decode
from pipeline.storage_keys import is_encrypted, is_upload, media_hash
from pipeline.types import Picture

# In the place of a picture whose result is known.
NO_PIXELS = np.zeros((0, 0, 3), np.uint8)


def decode_pictures(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """Raises ``TaskUnsupported``, ``ImageNotFound`` and what decoding raises."""
    pack = resources.pack
    if plan.dimension is not None and pack.info.dimension != plan.dimension:
        raise TaskUnsupported(
            f"{plan.operation} needs embeddings of {plan.dimension} numbers; the pack "
            f"{pack.info.name!r} gives {pack.info.dimension}. Serve another pack."
        )
    pictures, cached = [], []
    media = context.media_of(job)
    for index, key in enumerate(media):
        with _naming_picture(index):
            data = _read(plan, job, index, key, resources)
            slot = _slot(plan, job, index, key, resources)
            cached.append(slot)
            # The next decoding overwrites a borrowed picture: there is none in this job.
            last = index == len(media) - 1
            pictures.append(
                NO_PIXELS if slot.known is not None else
                decode(data, resources.limits, resources.sandbox, borrow=last)
            )
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    return replace(context, pictures=pictures, sizes=sizes, cached=cached)


def _read(plan: Plan, job: Job, index: int, key: str, resources: Resources) -> bytes:
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
    return data


def _slot(plan: Plan, job: Job, index: int, key: str, resources: Resources) -> CachedPicture:
    """What this process keeps of a picture, by the hash that the store compared."""
    options = plan.analysis_of(index)
    fresh = options.score_liveness or options.measure_all  # which also tells how long it takes
    if resources.results is None or fresh or is_encrypted(key):
        return CachedPicture()
    kept_as = AnalysisKey(job.tenant_id, media_hash(key), options)
    return CachedPicture(kept_as, resources.results.get(kept_as))


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
    cached = [
        _examine(plan, index, picture, context, resources)
        for index, picture in enumerate(context.pictures)
    ]
    examined = [each.examined for each in cached if each.examined is not None]
    details: dict[str, list[list[FaceDetail]]] = dict(context.face_details)
    if plan.analysis.measure_quality or plan.analysis.measure_all:
        details["quality"] = [[*map(quality_json, each.qualities)] for each in examined]
    if plan.analysis.score_liveness:
        details["liveness"] = [[*each.liveness] for each in examined]
    if plan.analysis.cut_faces:
        context = context.add(FaceCutouts([each.cutouts for each in examined]))
    if not plan.analysis.embed_faces:
        _keep(cached, [NO_EMBEDDINGS] * len(cached), resources)
    # The crops are all that embedding needs: pixels need not cross to its machine.
    return replace(
        context, cached=cached, pictures=[], sizes=[(each.width, each.height) for each in examined],
        faces=[each.faces for each in examined], face_details=details,
        crops=[each.crops for each in examined] if plan.analysis.embed_faces else [],
    )


def _examine(
    plan: Plan, index: int, picture: Picture, context: JobContext, resources: Resources
) -> CachedPicture:
    """What is known of a picture, or else found in it now."""
    slot = context.cached[index] if context.cached else CachedPicture()
    with _naming_picture(index):
        if slot.known is not None:
            return replace(slot, examined=slot.known.found())
        try:
            return replace(slot, examined=examine(picture, plan.analysis_of(index), resources))
        except KEPT_ERRORS as error:
            if slot.key is not None and resources.results is not None:
                resources.results.put(slot.key, KeptAnalysis.of_error(error))
            raise


def embed_faces(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """An embedding of each crop."""
    return embed_faces_together([context], resources)[0]


def embed_faces_together(
    contexts: Sequence[JobContext], resources: Resources
) -> list[JobContext]:
    """An embedding of each crop of several jobs."""
    pictures = [crops for context in contexts for crops in context.crops]
    embedded = iter(embed_together(pictures, resources))
    return [
        _with_embeddings(context, [next(embedded) for _ in context.crops], resources)
        for context in contexts
    ]


def _with_embeddings(
    context: JobContext, embeddings: list[NDArray[np.float32]], resources: Resources
) -> JobContext:
    for index, slot in enumerate(context.cached):
        if slot.known is not None:
            embeddings[index] = slot.known.embeddings
    _keep(context.cached, embeddings, resources)
    return replace(
        context, cached=[], crops=[], embeddings=embeddings, model=model_of(resources.pack)
    )


def _keep(
    cached: Sequence[CachedPicture], embeddings: Sequence[NDArray[np.float32]],
    resources: Resources,
) -> None:
    """Keep the results that were not known."""
    if resources.results is None:
        return
    for slot, rows in zip(cached, embeddings, strict=False):
        if slot.key is not None and slot.known is None and slot.examined is not None:
            resources.results.put(slot.key, KeptAnalysis.of(slot.examined, rows))


@contextmanager
def _naming_picture(index: int) -> Iterator[None]:
    """An error that is raised inside names the picture ``index``."""
    try:
        yield
    except FaceError as error:
        error.picture = index
        raise
