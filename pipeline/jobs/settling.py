"""What goes with the end of a job, in the transaction that ends it: what it cost is
counted, and of whom it speaks is remembered."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from pipeline.database.job_faces import record_job_faces
from pipeline.jobs.model import Job
from pipeline.metering import usage
from pipeline.metering.costs import Cost
from pipeline.types import JsonObject


def settle(
    connection: Connection, job: Job, cost: Cost, now: float, result: JsonObject | None = None
) -> None:
    """Count a job that was charged when it was accepted as what it cost, and note the
    faces of its parameters and its result. A job ends once, and with it this is done once."""
    record_job_faces(connection, job.seq, job.params, result, now)
    usage.settle(connection, job.tenant_id, job.operation, job.charged_on, cost)


def settle_all(
    connection: Connection, ended: Iterable[Job], cost: Cost, now: float
) -> None:
    """Settle jobs in an order in which no two transactions wait for each other."""
    for job in sorted(ended, key=lambda job: (job.tenant_id, job.charged_on or "")):
        settle(connection, job, cost, now)
