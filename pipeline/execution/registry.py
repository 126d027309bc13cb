"""How each operation ends."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.execution.bulk import finish_bulk
from pipeline.execution.context import JobContext, JobOutcome, Resources
from pipeline.execution.duplicate_search import finish_duplicate_search
from pipeline.execution.enrolment import finish_enrol, finish_replace
from pipeline.execution.living import finish_living
from pipeline.execution.matrix import finish_matrix
from pipeline.execution.results import (
    finish_features,
    finish_locate,
    finish_match,
    finish_pair,
    finish_similarity,
)
from pipeline.execution.search import finish_search
from pipeline.jobs.model import Job
from pipeline.plans import Plan

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
    "doubles": finish_duplicate_search,
}


def finish(plan: Plan, job: Job, carry: JobContext, tools: Resources) -> JobOutcome:
    """The end of a job whose last stage is through. Raises ``FaceError``."""
    return _FINISH[plan.operation](job, carry, tools)
