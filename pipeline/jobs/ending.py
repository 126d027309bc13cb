"""Ends jobs: the transaction that ends a job also counts its cost and notes the faces that
it mentions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection

from pipeline.database.job_faces import record_job_faces
from pipeline.errors import FaceError
from pipeline.jobs.model import Claim, Job, JobState
from pipeline.metering import usage
from pipeline.metering.costs import Cost, cost_of_error, cost_of_success
from pipeline.types import JsonObject


def settle_all(
    connection: Connection, ended: Sequence[Job], cost: Cost, now: float
) -> None:
    """Settle jobs that end alike and without a result: their cost, and the faces that their
    parameters name. A job ends once, so this happens once."""
    for job in ended:
        record_job_faces(connection, job.seq, job.params, None, now)
    settle_costs(connection, [(job, cost) for job in ended])


def settle_costs(connection: Connection, ended: Iterable[tuple[Job, Cost]]) -> None:
    """Settle the costs of jobs, with one statement for those alike and in one order, so that no
    two transactions wait for each other."""
    alike = Counter(
        (job.tenant_id, job.charged_on, job.operation, cost)
        for job, cost in ended if job.charged_on is not None
    )
    for (tenant_id, day, operation, cost), calls in sorted(alike.items()):
        usage.settle(connection, tenant_id, operation, day, cost, calls)


def cost_of(job: Job, error: FaceError | None = None) -> Cost:
    """The cost of a job that ends with ``error``, or well."""
    if error is not None:
        return cost_of_error(error.code)
    return cost_of_success(job.operation, free=job.free)


def ended(
    claim: Claim, trace: Sequence[JsonObject], now: float, error: FaceError | None = None
) -> dict[str, Any]:
    """The columns of a claimed job that ends with ``error``, or well; without its result."""
    how = {"state": JobState.DONE.value, "error_code": None, "error": None, "finished_at": now}
    return {
        **(how if error is None else failure(error, now)),
        "lease_until": None, "trace": [*claim.job.trace, *trace],
    }


def queued(claim: Claim, stage: str, now: float) -> dict[str, Any]:
    """The columns of a claimed job that waits again; the attempt does not count."""
    return {
        "state": JobState.QUEUED.value, "stage": stage, "lease_until": None, "worker": None,
        # No other claim changes the count while this one is held.
        "attempts": claim.job.attempts - 1, "published_at": now,
    }


def error_json(error: FaceError) -> JsonObject:
    """The form of an error in a job's row."""
    kept: JsonObject = {
        "code": error.code, "message": error.message, "picture": error.picture,
    }
    return kept if error.reason is None else {**kept, "reason": error.reason}


def failure(error: FaceError, now: float) -> dict[str, Any]:
    """The columns of a job that ends with an error."""
    return {
        "state": JobState.FAILED.value, "error_code": error.code, "error": error_json(error),
        "finished_at": now,
    }
