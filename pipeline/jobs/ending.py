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
from pipeline.metering.costs import Cost
from pipeline.types import JsonObject


def settle(
    connection: Connection, job: Job, cost: Cost, now: float, result: JsonObject | None = None
) -> None:
    """Settle the cost of a job that was charged when it was accepted, and note the faces of
    its parameters and its result. A job ends once, so this happens once."""
    record_job_faces(connection, job.seq, job.params, result, now)
    usage.settle(connection, job.tenant_id, job.operation, job.charged_on, cost)


def settle_all(
    connection: Connection, ended: Iterable[Job], cost: Cost, now: float
) -> None:
    """Settle jobs in one order, so that no two transactions wait for each other."""
    for job in sorted(ended, key=lambda job: (job.tenant_id, job.charged_on or "")):
        settle(connection, job, cost, now)


def settle_costs(connection: Connection, ended: Iterable[tuple[Job, Cost]]) -> None:
    """Settle the costs of jobs, in one order and with one statement for those alike."""
    alike = Counter(
        (job.tenant_id, job.charged_on, job.operation, cost)
        for job, cost in ended if job.charged_on is not None
    )
    for (tenant_id, day, operation, cost), calls in sorted(alike.items()):
        usage.settle(connection, tenant_id, operation, day, cost, calls)


def ended(
    claim: Claim, state: JobState, trace: Sequence[JsonObject], now: float
) -> dict[str, Any]:
    """The columns of a claimed job that ends."""
    return {
        "state": state.value, "lease_until": None, "finished_at": now,
        "trace": [*claim.job.trace, *trace],
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
