"""The index stage, and what a search answers."""

from __future__ import annotations

from sqlalchemy import Connection

from pipeline.calibration.table import Calibration
from pipeline.errors import PackMismatch, TaskUnsupported
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import (
    base_result,
    enrolled_face_json,
    model_of,
    require_calibration,
    shortest_decimals,
)
from pipeline.gallery.faces import faces_by_label
from pipeline.gallery.records import LabelledFace
from pipeline.index.base import Hit
from pipeline.jobs.model import Job
from pipeline.operations import MAX_HITS, SearchParams
from pipeline.types import JsonObject

# Hits beyond those asked for: some may have been deleted since the index was asked.
SPARE_HITS = 8


def search_index(job: Job, wanted: SearchParams, carry: JobContext, tools: Resources) -> list[Hit]:
    """What the index finds for the job's only face.

    Raises ``CollectionNotFound``, ``PackMismatch``, ``IndexBehind``, and
    ``TaskUnsupported`` on a worker that holds no index.
    """
    if tools.views is None:
        raise TaskUnsupported("this worker holds no index")
    _check_model(job, carry, tools)
    inside = None
    if wanted.collections is not None:
        found = tools.collections.resolve(job.tenant_id, wanted.collections)
        inside = [group.id for group in found]
    return tools.views.search(
        job.tenant_id, carry.embeddings[0][0], _count(wanted) + SPARE_HITS, inside, wanted.number
    )


def _check_model(job: Job, carry: JobContext, tools: Resources) -> None:
    """Vectors of two models cannot be compared: those of the probe, of the gallery and
    of the calibration table must come from one."""
    assert tools.views is not None
    here = model_of(tools.pack)
    if carry.model != here:
        raise PackMismatch(
            f"A worker served the pack {carry.model.pack if carry.model else '?'!r} and the "
            f"index {here.pack!r}; start them with one FACELINE_PACK."
        )
    there = tools.views.source.vector_model(job.tenant_id)
    if there is not None and there != here:
        raise PackMismatch(
            f"The gallery was made with the pack {there.pack!r} and {here.pack!r} is served; "
            "enrol it anew to change the pack."
        )


def finish_search(job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """The hits that are still there, still in the collections that were asked for, in the
    moment in which the job ends. Raises ``Uncalibrated``."""
    wanted = SearchParams.from_json(job.params)
    table = require_calibration(tools)
    result = base_result(carry, tools)
    if wanted.embedding:
        result["embedding"] = shortest_decimals(carry.embeddings[0][0])

    def effect(connection: Connection) -> JsonObject:
        return {**result, "hits": _present(connection, job, wanted, carry, table)}

    return JobOutcome({}, effect)


def _present(
    connection: Connection, job: Job, wanted: SearchParams, carry: JobContext, table: Calibration
) -> list[JsonObject]:
    found = faces_by_label(connection, job.tenant_id, [hit.label for hit in carry.hits])
    hits: list[JsonObject] = []
    for hit in carry.hits:
        there = found.get(hit.label)
        if there is None or not _in_searched_collections(there, wanted):
            continue
        hits.append(
            {
                **enrolled_face_json(there.face),
                "cosine": hit.cosine,
                "confidence": table.confidence(hit.cosine),
                "collections": [
                    {"key": group.key, "score": group.score} for group in there.collections
                ],
            }
        )
    return hits[: _count(wanted)]


def _in_searched_collections(there: LabelledFace, wanted: SearchParams) -> bool:
    if wanted.collections is None:
        return True
    return any(group.key in wanted.collections for group in there.collections)


def _count(wanted: SearchParams) -> int:
    return min(max(wanted.k, 1), MAX_HITS)
