"""What a job that has ended cost, in the transaction that ends it."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from pipeline.jobs.model import Job
from pipeline.metering import usage
from pipeline.metering.tariff import Cost


def settle(connection: Connection, job: Job, cost: Cost) -> None:
    """Count a job that was charged when it was accepted as what it cost. A job ends once,
    and with it this is done once."""
    usage.settle(connection, job.tenant_id, job.operation, job.charged_on, cost)


def settle_all(connection: Connection, ended: Iterable[Job], cost: Cost) -> None:
    """Settle jobs in an order in which no two transactions wait for each other."""
    for job in sorted(ended, key=lambda job: (job.tenant_id, job.charged_on or "")):
        settle(connection, job, cost)
