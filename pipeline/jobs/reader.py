"""Questions about jobs."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, Select, func, select

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_row, read_rows, read_values, reading
from pipeline.database.keyset import blocks
from pipeline.database.schema import job_faces, jobs
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import JobNotFound
from pipeline.jobs.model import Job, JobState, SignedRequest
from pipeline.jobs.results import decrypt_result
from pipeline.jobs.statements import (
    COLUMNS,
    FIND,
    FIND_BY_KEY,
    FIND_BY_SIGNATURE,
    FIND_OWN,
    POSITION,
    QUEUED,
    RUNNING,
    UNFINISHED,
    job_of,
)

# Every answer to a poll tells the position, and counting 200,000 rows takes 20 ms.
EXACT_POSITION = 1000

# Waiting rows that are scanned from each end: a millisecond.
MAX_WAITING_SCANNED = 500

JOB_ID = re.compile("[0-9a-f]{32}")

IDS_PER_QUERY = 500  # ids in one query: SQLite and PostgreSQL take more, planning takes longer


class JobReader:
    """Reads jobs. ``clock`` gives epoch seconds (None: the database's).

    All methods raise ``DatabaseUnavailable``.
    """

    def __init__(
        self, engine: Engine, clock: Clock | None = None,
        keys: KeySource | None = None,
    ) -> None:
        """``keys`` open the results of tenants whose data are encrypted."""
        self._engine = engine
        self._clock = database_clock(engine, clock)
        self._keys = keys or NoKeys()

    def find(self, job_id: str) -> Job | None:
        return self._one(FIND, job=job_id) if JOB_ID.fullmatch(job_id) else None

    def get(self, tenant_id: int, job_id: str) -> Job:
        """A tenant's own job. Raises ``JobNotFound``, also for another tenant's."""
        if JOB_ID.fullmatch(job_id):
            job = self._one(FIND_OWN, tenant=tenant_id, job=job_id)
            if job is not None:
                return job
        raise JobNotFound

    def ended_among(self, ids: Collection[str]) -> set[str]:
        """Those of ``ids`` whose jobs have ended."""
        found = set[str]()
        for some in blocks(list(ids), IDS_PER_QUERY):
            query = select(jobs.c.id).where(jobs.c.id.in_(some), ~UNFINISHED)
            found.update(read_values(self._engine, query))
        return found

    def about_face(self, tenant_id: int, face_id: int, limit: int) -> list[Job]:
        """The newest ended jobs that name a face of the tenant, newest first."""
        query = (
            select(*COLUMNS).join(job_faces, job_faces.c.job_seq == jobs.c.seq)
            .where(job_faces.c.face_id == face_id, jobs.c.tenant_id == tenant_id)
            .order_by(job_faces.c.job_seq.desc()).limit(limit)
        )
        rows = read_rows(self._engine, query)
        return [decrypt_result(job_of(row), self._keys) for row in rows]

    def by_idempotency_key(self, tenant_id: int, key: str) -> Job | None:
        return self._one(FIND_BY_KEY, tenant=tenant_id, key=key)

    def by_signature(self, tenant_id: int, once: SignedRequest) -> Job | None:
        """The job that a signed request has become, unless it was purged."""
        return self._one(FIND_BY_SIGNATURE, tenant=tenant_id, once=once.digest)

    def position(self, job: Job) -> int:
        """How many jobs wait before this one at its stage; 0 when it is next or running.

        From ``EXACT_POSITION`` on it is an upper estimate: the jobs accepted since the
        first that waits.
        """
        if job.state is not JobState.QUEUED:
            return 0
        values = {"at_stage": job.stage, "before": job.seq, "most": EXACT_POSITION}
        ((count, first),) = read_rows(self._engine, POSITION, values)
        return int(count) if count < EXACT_POSITION else job.seq - int(first)

    def exceeds_share(self, job: Job, share: int) -> bool:
        """Whether ``share`` older jobs of the tenant run at the stage of this one while
        other tenants' jobs wait there. Looks at the first and last ``MAX_WAITING_SCANNED``
        waiting jobs."""
        at_stage = jobs.c.stage == job.stage
        older = select(func.count()).where(
            RUNNING, at_stage, jobs.c.tenant_id == job.tenant_id, jobs.c.seq < job.seq
        )
        waiting = select(jobs.c.tenant_id).where(
            QUEUED, at_stage, jobs.c.not_before <= self._clock()
        ).limit(MAX_WAITING_SCANNED)
        with reading(self._engine) as connection:
            if connection.execute(older).scalar_one() < share:
                return False
            return any(
                tenant != job.tenant_id
                for order in (jobs.c.seq, jobs.c.seq.desc())
                for tenant in connection.execute(waiting.order_by(order)).scalars()
            )

    # -- the operator's questions -------------------------------------------------

    def recent(
        self, *, state: JobState | None = None, tenant_id: int | None = None, limit: int = 50
    ) -> list[Job]:
        """The newest jobs, newest first."""
        query = select(*COLUMNS).order_by(jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state.value)
        return self._of_tenant(query, tenant_id)

    def oldest(
        self, *, state: JobState | None = None, tenant_id: int | None = None, limit: int = 50
    ) -> list[Job]:
        """The jobs in a state, or, without one, those that have not ended; the one that was
        accepted first comes first."""
        inside = UNFINISHED if state is None else jobs.c.state == state.value
        query = select(*COLUMNS).where(inside).order_by(jobs.c.seq).limit(limit)
        return self._of_tenant(query, tenant_id)

    def _of_tenant(self, query: Select[Any], tenant_id: int | None) -> list[Job]:
        if tenant_id is not None:
            query = query.where(jobs.c.tenant_id == tenant_id)
        return [job_of(row) for row in read_rows(self._engine, query)]

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        rows = read_rows(self._engine, select(jobs.c.state, func.count()).group_by(jobs.c.state))
        return {str(state): int(count) for state, count in rows}

    def _one(self, query: Select[Any], **values: object) -> Job | None:
        row = read_row(self._engine, query, values)
        return None if row is None else decrypt_result(job_of(row), self._keys)
