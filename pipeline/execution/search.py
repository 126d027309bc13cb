"""The index stage, and the end of a search."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Engine

from pipeline.calibration.table import Calibration
from pipeline.config.settings import Settings
from pipeline.database.clock import database_clock
from pipeline.errors import IntermediateLost, PackMismatch
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.results import (
    base_result,
    enrolled_face_json,
    model_of,
    require_calibration,
    shortest_decimals,
)
from pipeline.gallery.change_log import ChangeLog
from pipeline.gallery.collections import CollectionStore
from pipeline.gallery.faces import faces_by_label
from pipeline.gallery.records import LabelledFace
from pipeline.index.base import Hit
from pipeline.index.chosen_views import ChosenViews
from pipeline.index.engine_views import EngineOptions, EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.index.open_vector_engine import open_vector_engine
from pipeline.index.options import ViewOptions
from pipeline.index.vector_spaces import SpaceStore
from pipeline.index.views import Views
from pipeline.jobs.model import Job
from pipeline.operations import MAX_HITS, Plan, SearchParams
from pipeline.types import JsonObject

# Hits beyond those asked for: some may have been deleted since the index was asked.
SPARE_HITS = 8


@dataclass(frozen=True, slots=True)
class SearchResources:
    """Only an index process has them. Of the views, ``local`` are those in its memory, and
    ``outside`` those in a vector engine, None without one."""

    views: Views
    local: LocalViews
    outside: EngineViews | None
    gallery: ChangeLog
    collections: CollectionStore


class SearchHits(msgspec.Struct, frozen=True):
    """The hits of the index, best first."""

    hits: list[Hit]


def open_search(settings: Settings, engine: Engine, resources: Resources) -> Iterable[object]:
    gallery = ChangeLog(engine, resources.keys)
    local = LocalViews(
        gallery, resources.media, ViewOptions.from_settings(settings), database_clock(engine)
    )
    outside = _open_outside(settings, engine, gallery)
    views = local if outside is None else ChosenViews(local, outside)
    collections = CollectionStore(engine, resources.media)
    return [SearchResources(views, local, outside, gallery, collections)]


def _open_outside(settings: Settings, engine: Engine, gallery: ChangeLog) -> EngineViews | None:
    opened = open_vector_engine(settings)
    if opened is None:
        return None
    follower = secrets.token_hex(16)
    options = EngineOptions.from_settings(settings)
    return EngineViews(gallery, opened, SpaceStore(engine), follower, options)


def search_index(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobContext:
    """Search the index for the job's only face.

    Raises ``CollectionNotFound``, ``PackMismatch``, ``IndexBehind``, ``IntermediateLost`` and
    ``TaskUnsupported`` on a worker that holds no index.
    """
    asked = SearchParams.from_json(job.params)
    own = resources.get(SearchResources)
    _check_model(job, context, resources, own.gallery)
    inside = None
    if asked.collections is not None:
        found = own.collections.resolve(job.tenant_id, asked.collections)
        inside = [collection.id for collection in found]
    try:
        hits = own.views.search(
            job.tenant_id, context.embeddings[0][0], _count(asked) + SPARE_HITS, inside,
            asked.number,
        )
    finally:
        if resources.may_switch:
            # The gallery that was searched may be that of the other pack by now.
            _check_model(job, context, resources, own.gallery)
    return context.add(SearchHits(hits))


def _check_model(job: Job, context: JobContext, resources: Resources, gallery: ChangeLog) -> None:
    """Vectors of two models cannot be compared: those of the probe, of the gallery and
    of the calibration table must come from one."""
    here = model_of(resources.pack)
    if context.model != here:
        # A worker of another pack, which the deployment no longer has, or not yet.
        raise IntermediateLost("Another model pack embedded the face.")
    there = gallery.vector_model(job.tenant_id)
    if there is not None and there != here:
        raise PackMismatch(
            f"The gallery was made with the pack {there.pack!r} and {here.pack!r} is served; "
            "enrol it anew to change the pack."
        )


def finish_search(job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """The hits that still exist, still in the searched collections, at the moment in which
    the job ends. Raises ``Uncalibrated``."""
    asked = SearchParams.from_json(job.params)
    table = require_calibration(job, resources)
    hits = context.get(SearchHits).hits
    result = base_result(context, resources)
    if asked.embedding:
        result["embedding"] = shortest_decimals(context.embeddings[0][0])

    def effect(connection: Connection) -> JsonObject:
        return {**result, "hits": _existing_hits(connection, job, asked, hits, table)}

    return JobOutcome({}, effect)


def _existing_hits(
    connection: Connection, job: Job, asked: SearchParams, hits: list[Hit], table: Calibration
) -> list[JsonObject]:
    stored = faces_by_label(connection, job.tenant_id, [hit.label for hit in hits])
    found: list[JsonObject] = []
    for hit in hits:
        face = stored.get(hit.label)
        if face is None or not _in_searched_collections(face, asked):
            continue
        found.append(
            {
                **enrolled_face_json(face.face),
                "cosine": hit.cosine,
                "confidence": table.confidence(hit.cosine),
                "collections": [
                    {"key": each.key, "score": each.score} for each in face.collections
                ],
            }
        )
    return found[: _count(asked)]


def _in_searched_collections(face: LabelledFace, asked: SearchParams) -> bool:
    wanted = asked.collections
    return wanted is None or any(each.key in wanted for each in face.collections)


def _count(asked: SearchParams) -> int:
    return min(max(asked.k, 1), MAX_HITS)
