"""The jobs of an application that wait: how many, and the end of all of them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine, func, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_values, writing
from pipeline.database.schema import jobs
from pipeline.errors import JobCancelled
from pipeline.jobs.ending import error_json, settle_all
from pipeline.jobs.statements import CANCELLED, COLUMNS, QUEUED, job_of, write_histories
from pipeline.jobs.timeline import JobEvent, note
from pipeline.metering.costs import cost_of_error
from pipeline.operations import BULK, DUPLICATE_SEARCH

# Jobs that one transaction ends: others wait for its rows.
CHUNK = 250

# A batch's jobs end with it.
_OF_NO_BATCH = jobs.c.operation.not_in([BULK.operation, DUPLICATE_SEARCH.operation])


class WaitingJobs:
    """``clock`` gives epoch seconds (None: the database's). Methods raise
    ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def count(self, tenant_id: int, most: int) -> int:
        """How many jobs of the tenant are queued, those of batches left out; at most ``most``."""
        first = select(jobs.c.seq).where(QUEUED, jobs.c.tenant_id == tenant_id, _OF_NO_BATCH)
        query = select(func.count()).select_from(first.limit(most).subquery())
        return int(read_values(self._engine, query)[0])

    def cancel(self, tenant_id: int, most: int, by: str) -> list[str]:
        """End at most ``most`` of these jobs for the operator ``by``, the oldest first, and at most
        ``CHUNK`` of them; the ids of the ended jobs. One that is being claimed runs."""
        error = JobCancelled()
        oldest = (
            select(*COLUMNS).where(QUEUED, jobs.c.tenant_id == tenant_id, _OF_NO_BATCH)
            .order_by(jobs.c.seq).limit(min(most, CHUNK)).with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            waiting = [job_of(row) for row in connection.execute(oldest)]
            if not waiting:
                return []
            now = self._clock()
            rows = connection.execute(
                update(jobs).where(jobs.c.seq.in_([job.seq for job in waiting]))
                .values(
                    **CANCELLED, finished_at=now, error_code=error.code, error=error_json(error)
                )
                .returning(*COLUMNS)
            )
            ended = sorted(map(job_of, rows), key=lambda job: job.seq)
            write_histories(connection, [
                replace(job, history=note(job, JobEvent.CANCELLED, now, by=by)) for job in ended
            ])
            settle_all(connection, ended, cost_of_error(error.code), now)
        return [job.id for job in ended]
