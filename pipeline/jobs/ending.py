"""Ends jobs: the transaction that ends a job also counts its cost, notes the faces that it
mentions, and writes down what webhooks are told."""

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
from pipeline.webhooks.model import WebhookEvent
from pipeline.webhooks.outbox import announce


def settle_all(
    connection: Connection, ended: Sequence[Job], cost: Cost, now: float
) -> None:
    """Settle jobs that end alike and without a result: their cost, and the faces that their
    parameters name; their webhooks. A job ends once, so this happens once."""
    for job in ended:
        record_job_faces(connection, job.seq, job.params, None, now)
    settle_costs(connection, [(job, cost) for job in ended])
    announce_ends(connection, [(job, job.state, job.error_code) for job in ended], now)


def announce_ends(
    connection: Connection, ended: Iterable[tuple[Job, JobState, str | None]], now: float
) -> None:
    """Write down what webhooks are told of jobs that end at ``now`` in this state, with this
    code of an error. Jobs of batches belong to no call: the batch has an end of its own."""
    announce(
        connection,
        [
            WebhookEvent(
                job.tenant_id, f"job.{state}",
                {
                    "job_id": job.id, "operation": job.operation, "dialect": job.dialect,
                    "status": state.value, "code": code, "request_id": job.request_id,
                    "created_at": job.created_at, "finished_at": now,
                },
            )
            for job, state, code in ended if job.dialect
        ],
        now,
    )


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
