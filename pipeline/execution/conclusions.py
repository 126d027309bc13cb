"""How each operation ends."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.execution.bulk import conclude_bulk
from pipeline.execution.carry import Carry, Conclusion, Toolbox
from pipeline.execution.comparing import conclude_matrix
from pipeline.execution.doubling import conclude_doubles
from pipeline.execution.enrolling import conclude_enrol, conclude_replace
from pipeline.execution.living import conclude_living
from pipeline.execution.outcomes import (
    conclude_features,
    conclude_locate,
    conclude_match,
    conclude_pair,
    conclude_similarity,
)
from pipeline.execution.searching import conclude_search
from pipeline.jobs.model import Job
from pipeline.plans import Plan

_CONCLUDE: dict[str, Callable[[Job, Carry, Toolbox], Conclusion]] = {
    "locate": conclude_locate,
    "verify": conclude_pair,
    "compare": conclude_pair,
    "features": conclude_features,
    "matrix": conclude_matrix,
    "similarity": conclude_similarity,
    "match": conclude_match,
    "living": conclude_living,
    "search": conclude_search,
    "enrol": conclude_enrol,
    "replace": conclude_replace,
    "bulk": conclude_bulk,
    "doubles": conclude_doubles,
}


def conclude(plan: Plan, job: Job, carry: Carry, tools: Toolbox) -> Conclusion:
    """The end of a job whose last stage is through. Raises ``FaceError``."""
    return _CONCLUDE[plan.operation](job, carry, tools)
