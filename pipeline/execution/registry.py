"""The stages, and the end of each operation.

A new stage is a line in ``STAGES``, a new operation a line in ``_FINISH``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.execution.bulk import finish_bulk, inspect_chunk, open_bulk
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.duplicate_search import finish_duplicate_search
from pipeline.execution.enrolment import finish_enrol, finish_replace
from pipeline.execution.fetch import fetch_pictures, open_fetch
from pipeline.execution.living import analyse_clip, finish_living, open_living
from pipeline.execution.matrix import finish_matrix
from pipeline.execution.pictures import decode_pictures, embed_faces, find_and_measure_faces
from pipeline.execution.results import (
    finish_features,
    finish_locate,
    finish_match,
    finish_pair,
    finish_similarity,
)
from pipeline.execution.search import finish_search, open_search, search_index
from pipeline.jobs.model import Job
from pipeline.operations import Plan, Stage

RunStage = Callable[[Plan, Job, JobContext, Resources], JobContext]
OpenResources = Callable[[Settings, Engine, Resources], Iterable[object]]


@dataclass(frozen=True, slots=True)
class StageWork:
    """``run`` carries the stage out; ``open_resources`` opens the resources of this stage alone, in
    each process that serves it."""

    run: RunStage
    open_resources: OpenResources | None = None


STAGES = {
    Stage.FETCH: StageWork(fetch_pictures, open_fetch),
    Stage.DECODE: StageWork(decode_pictures),
    Stage.DETECT: StageWork(find_and_measure_faces),
    Stage.EMBED: StageWork(embed_faces),
    Stage.INDEX: StageWork(search_index, open_search),
    Stage.LIVENESS: StageWork(analyse_clip, open_living),
    Stage.BULK: StageWork(inspect_chunk, open_bulk),
}

_FINISH: dict[str, Callable[[Job, JobContext, Resources], JobOutcome]] = {
    "locate": finish_locate,
    "verify": finish_pair,
    "compare": finish_pair,
    "features": finish_features,
    "matrix": finish_matrix,
    "similarity": finish_similarity,
    "match": finish_match,
    "living": finish_living,
    "search": finish_search,
    "enrol": finish_enrol,
    "replace": finish_replace,
    "bulk": finish_bulk,
    "duplicate_search": finish_duplicate_search,
}


def open_stages(
    served: Iterable[Stage], settings: Settings, engine: Engine, resources: Resources
) -> Resources:
    """``resources`` with the own resources of the served stages."""
    own = dict(resources.own)
    for stage in served:
        opener = STAGES[stage].open_resources
        if opener is not None:
            own |= {type(each): each for each in opener(settings, engine, resources)}
    return replace(resources, own=own)


def run_stage(
    stage: Stage, plan: Plan, job: Job, context: JobContext, resources: Resources
) -> JobContext:
    """One stage of one job. Raises ``FaceError``."""
    return STAGES[stage].run(plan.for_params(job.params), job, context, resources)


def finish(plan: Plan, job: Job, context: JobContext, resources: Resources) -> JobOutcome:
    """The end of a job whose last stage is through. Raises ``FaceError``."""
    return _FINISH[plan.operation](job, context, resources)
