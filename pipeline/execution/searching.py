"""The index stage, and what a search answers."""

from __future__ import annotations

from sqlalchemy import Connection

from pipeline.calibration import Calibration
from pipeline.errors import PackMismatch, TaskUnsupported
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.outcomes import calibrated, enrolled_face, model_of, neutral, numbers
from pipeline.gallery.faces import by_labels
from pipeline.gallery.records import LabelledFace
from pipeline.index.base import Hit
from pipeline.jobs.model import Job, JsonObject
from pipeline.operations import MOST_HITS, Search

# Hits beyond those asked for: some may have been deleted since the index was asked.
SPARE = 8


def find(job: Job, wanted: Search, carry: Carry, tools: Toolbox) -> list[Hit]:
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
        job.tenant_id, carry.embeddings[0][0], _count(wanted) + SPARE, inside, wanted.number
    )


def _check_model(job: Job, carry: Carry, tools: Toolbox) -> None:
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


def conclude_search(job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """The hits that are still there, still in the collections that were asked for, in the
    moment in which the job ends. Raises ``Uncalibrated``."""
    wanted = Search.of(job.params)
    table = calibrated(tools)
    result = neutral(carry, tools)
    if wanted.embedding:
        result["embedding"] = numbers(carry.embeddings[0][0])

    def effect(connection: Connection) -> JsonObject:
        return {**result, "hits": _present(connection, job, wanted, carry, table)}

    return Conclusion({}, effect)


def _present(
    connection: Connection, job: Job, wanted: Search, carry: Carry, table: Calibration
) -> list[JsonObject]:
    found = by_labels(connection, job.tenant_id, [hit.label for hit in carry.hits])
    hits: list[JsonObject] = []
    for hit in carry.hits:
        there = found.get(hit.label)
        if there is None or not _asked(there, wanted):
            continue
        hits.append(
            {
                **enrolled_face(there.face),
                "cosine": hit.cosine,
                "confidence": table.confidence(hit.cosine),
                "collections": [
                    {"key": group.key, "score": group.score} for group in there.collections
                ],
            }
        )
    return hits[: _count(wanted)]


def _asked(there: LabelledFace, wanted: Search) -> bool:
    if wanted.collections is None:
        return True
    return any(group.key in wanted.collections for group in there.collections)


def _count(wanted: Search) -> int:
    return min(max(wanted.k, 1), MOST_HITS)
