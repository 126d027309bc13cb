"""Jobs in SQL: the queue of record.

The broker may lose, repeat or delay its messages; what is true about a job stands
here, and every change is one conditional UPDATE.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    Select,
    and_,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from pipeline.database.engine import reading, writing
from pipeline.database.schema import jobs, signed_requests
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    JobCrashed,
    JobNotFound,
    JobTimedOut,
    Overloaded,
    ReplayedRequest,
)
from pipeline.jobs.model import ENDED, Claim, Job, JobState, JsonObject, NewJob

Effect = Callable[[Connection], None]
"""What a job changes besides its own row, in the transaction that ends it."""

COLUMNS = [column for column in jobs.c if column.name not in {"idempotency_key", "not_before"}]


class JobStore:
    """All that is ever done to job rows. ``clock`` gives epoch seconds."""

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._clock = clock

    # -- the shim's side ----------------------------------------------------------

    def submit(self, new: NewJob, *, max_waiting: int | None = None) -> tuple[Job, bool]:
        """Record a job; (job, True), or (the earlier job, False) when the idempotency
        key is known.

        Raises ``ReplayedRequest``, ``IdempotencyConflict``, ``Overloaded``.
        """
        now = self._clock()
        job_id = uuid.uuid4().hex
        try:
            with writing(self._engine) as connection:
                if max_waiting is not None and self._waiting(connection) >= max_waiting:
                    raise Overloaded
                row = connection.execute(
                    insert(jobs).values(_new_row(new, job_id, now)).returning(*COLUMNS)
                ).mappings().one()
                if new.once is not None:
                    connection.execute(
                        insert(signed_requests).values(
                            tenant_id=new.tenant_id, digest=new.once, expires_at=new.once_until
                        )
                    )
                return _job(row), True
        except IntegrityError:
            # Either unique key: the idempotency key was used, or the signature was.
            return self._earlier(new), False

    def _earlier(self, new: NewJob) -> Job:
        if new.idempotency_key is not None:
            earlier = self.by_idempotency_key(new.tenant_id, new.idempotency_key)
            if earlier is not None:
                if earlier.digest != new.digest:
                    raise IdempotencyConflict
                return earlier
        raise ReplayedRequest

    def by_idempotency_key(self, tenant_id: int, key: str) -> Job | None:
        return self._one(jobs.c.tenant_id == tenant_id, jobs.c.idempotency_key == key)

    def find(self, job_id: str) -> Job | None:
        return self._one(jobs.c.id == job_id)

    def get(self, tenant_id: int, job_id: str) -> Job:
        """A tenant's own job. Raises ``JobNotFound``, also for another tenant's."""
        job = self._one(jobs.c.tenant_id == tenant_id, jobs.c.id == job_id)
        if job is None:
            raise JobNotFound
        return job

    def position(self, job: Job) -> int:
        """How many jobs wait before this one at its stage; 0 when it is next or running."""
        if job.state is not JobState.QUEUED:
            return 0
        with reading(self._engine) as connection:
            return connection.execute(
                select(func.count()).where(
                    jobs.c.state == JobState.QUEUED,
                    jobs.c.stage == job.stage,
                    jobs.c.seq < job.seq,
                )
            ).scalar_one()

    def cancel(self, tenant_id: int, job_id: str) -> tuple[Job, bool]:
        """(job, whether this call ended it). Raises ``JobNotFound``."""
        with writing(self._engine) as connection:
            changed = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id == job_id,
                    jobs.c.tenant_id == tenant_id,
                    jobs.c.state.not_in(ENDED),
                )
                .values(
                    state=JobState.CANCELLED,
                    error_code="job_cancelled",
                    lease_until=None,
                    fence=jobs.c.fence + 1,
                    finished_at=self._clock(),
                )
            ).rowcount
        return self.get(tenant_id, job_id), changed == 1

    # -- the worker's side --------------------------------------------------------

    def claim(
        self, job_id: str, stage: str, worker: str, lease_s: float, max_attempts: int
    ) -> Claim | None:
        """The right to run ``stage`` of a job, or None when it is not to be run: ended,
        at another stage, held by a living worker, waiting out a pause, or tried often
        enough.
        """
        now = self._clock()
        with writing(self._engine) as connection:
            row = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id == job_id,
                    jobs.c.stage == stage,
                    jobs.c.not_before <= now,
                    jobs.c.attempts < max_attempts,
                    or_(
                        jobs.c.state == JobState.QUEUED,
                        and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_until < now),
                    ),
                )
                .values(
                    state=JobState.RUNNING,
                    attempts=jobs.c.attempts + 1,
                    messages=jobs.c.messages + 1,
                    fence=jobs.c.fence + 1,
                    lease_until=now + lease_s,
                    worker=worker,
                    started_at=func.coalesce(jobs.c.started_at, now),
                )
                .returning(*COLUMNS)
            ).mappings().one_or_none()
        if row is None:
            return None
        job = _job(row)
        return Claim(job=job, fence=job.fence)

    def renew(self, claims: Iterable[Claim], lease_s: float) -> None:
        """Say that the holders of these claims are alive."""
        until = self._clock() + lease_s
        with writing(self._engine) as connection:
            for claim in claims:
                connection.execute(update(jobs).where(_held(claim)).values(lease_until=until))

    def finish(
        self, claim: Claim, result: JsonObject, trace: Sequence[JsonObject], effect: Effect | None
    ) -> bool:
        """End a job with its result and its effect in one transaction; False when the
        claim was lost meanwhile, and then nothing has changed."""
        return self._end(claim, trace, effect, state=JobState.DONE, result=result)

    def fail(self, claim: Claim, error: FaceError, trace: Sequence[JsonObject]) -> bool:
        """End a job with an error; False when the claim was lost meanwhile."""
        return self._end(
            claim, trace, None,
            state=JobState.FAILED, error_code=error.code, error=error_json(error),
        )

    def hand_over(self, claim: Claim, stage: str, trace: Sequence[JsonObject]) -> bool:
        """Leave a job for the workers of ``stage``; the attempt is counted back."""
        now = self._clock()
        return self._change(
            claim,
            state=JobState.QUEUED, stage=stage, lease_until=None, worker=None,
            attempts=jobs.c.attempts - 1, published_at=now,
            trace=[*claim.job.trace, *trace],
        )

    def give_back(
        self, claim: Claim, error: FaceError, *, stage: str, pause_s: float, retry_for_s: float
    ) -> bool:
        """Let a job wait because of ``error`` and start again at ``stage``; the attempt
        is counted back. After ``retry_for_s`` since its start it fails with the error,
        or as timed out when the error has no code of its own to show."""
        now = self._clock()
        started = claim.job.started_at or now
        if now + pause_s > started + retry_for_s:
            return self.fail(claim, error if error.retryable else JobTimedOut(), [])
        return self._change(
            claim,
            state=JobState.QUEUED, stage=stage, lease_until=None, worker=None,
            attempts=jobs.c.attempts - 1, not_before=now + pause_s, published_at=now,
            error=error_json(error),
        )

    def _end(
        self, claim: Claim, trace: Sequence[JsonObject], effect: Effect | None, **values: Any
    ) -> bool:
        return self._change(
            claim, effect,
            lease_until=None, finished_at=self._clock(), trace=[*claim.job.trace, *trace],
            **{"error": None, **values},
        )

    def _change(self, claim: Claim, effect: Effect | None = None, /, **values: Any) -> bool:
        with writing(self._engine) as connection:
            changed = connection.execute(update(jobs).where(_held(claim)).values(**values))
            if changed.rowcount != 1:
                return False
            if effect is not None:
                effect(connection)
        return True

    # -- the reconciler's side ----------------------------------------------------

    def release_dead(
        self, max_attempts: int, *, worker: str | None = None, limit: int = 500
    ) -> tuple[list[Job], list[Job]]:
        """(jobs put back, jobs ended as crashed) of those whose lease has run out, or
        of all that ``worker``, known to be dead, held."""
        now = self._clock()
        dead = jobs.c.lease_until < now if worker is None else jobs.c.worker == worker
        with writing(self._engine) as connection:
            rows = connection.execute(
                select(jobs.c.id, jobs.c.attempts)
                .where(jobs.c.state == JobState.RUNNING, dead)
                .order_by(jobs.c.seq).limit(limit).with_for_update(skip_locked=True)
            ).all()
            crashed = [row.id for row in rows if row.attempts >= max_attempts]
            back = [row.id for row in rows if row.attempts < max_attempts]
            error = JobCrashed()
            ended = self._set(
                connection, crashed,
                state=JobState.FAILED, error_code=error.code, error=error_json(error),
                finished_at=now,
            )
            # published_at 0: the message went down with the worker, send again at once
            returned = self._set(
                connection, back, state=JobState.QUEUED, published_at=0.0
            )
        return returned, ended

    def _set(self, connection: Connection, ids: list[str], **values: Any) -> list[Job]:
        if not ids:
            return []
        rows = connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(ids))
            .values(fence=jobs.c.fence + 1, lease_until=None, worker=None, **values)
            .returning(*COLUMNS)
        ).mappings().all()
        return [_job(row) for row in rows]

    def waiting(self, stage: str) -> int:
        """How many jobs wait for a worker at ``stage``, those in a pause left out."""
        with reading(self._engine) as connection:
            return self._waiting(
                connection, jobs.c.stage == stage, jobs.c.not_before <= self._clock()
            )

    def unheard(self, stage: str, older_than_s: float, limit: int) -> list[Job]:
        """The oldest jobs waiting at ``stage`` whose message was sent at least
        ``older_than_s`` ago and whose pause, if any, is over."""
        now = self._clock()
        return self._many(
            select(*COLUMNS)
            .where(
                jobs.c.state == JobState.QUEUED,
                jobs.c.stage == stage,
                jobs.c.published_at <= now - older_than_s,
                jobs.c.not_before <= now,
            )
            .order_by(jobs.c.seq)
            .limit(limit)
        )

    def paused_due(self, stage: str, limit: int) -> list[Job]:
        """Jobs at ``stage`` whose pause ended after their message was last sent."""
        return self._many(
            select(*COLUMNS)
            .where(
                jobs.c.state == JobState.QUEUED,
                jobs.c.stage == stage,
                jobs.c.not_before > jobs.c.published_at,
                jobs.c.not_before <= self._clock(),
            )
            .order_by(jobs.c.seq)
            .limit(limit)
        )

    def mark_published(self, ids: Sequence[str]) -> None:
        """Note that messages for these jobs were sent just now."""
        if not ids:
            return
        with writing(self._engine) as connection:
            connection.execute(
                update(jobs).where(jobs.c.id.in_(ids)).values(published_at=self._clock())
            )

    def oldest_unfinished(self) -> float | None:
        """When the oldest job that has not ended was accepted."""
        with reading(self._engine) as connection:
            oldest: float | None = connection.execute(
                select(func.min(jobs.c.created_at)).where(jobs.c.state.not_in(ENDED))
            ).scalar_one()
        return oldest

    def purge(self, older_than_s: float, limit: int = 1000) -> int:
        """Remove jobs that ended at least ``older_than_s`` ago and signatures that can
        no longer be replayed; the number of jobs removed."""
        now = self._clock()
        with writing(self._engine) as connection:
            old = select(jobs.c.seq).where(jobs.c.finished_at < now - older_than_s).limit(limit)
            removed = connection.execute(jobs.delete().where(jobs.c.seq.in_(old))).rowcount
            connection.execute(
                signed_requests.delete().where(signed_requests.c.expires_at < now)
            )
        return removed

    # -- the operator's side ------------------------------------------------------

    def recent(
        self, *, state: JobState | None = None, tenant_id: int | None = None, limit: int = 50
    ) -> list[Job]:
        """The newest jobs, newest first."""
        query = select(*COLUMNS).order_by(jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if tenant_id is not None:
            query = query.where(jobs.c.tenant_id == tenant_id)
        return self._many(query)

    def counts(self) -> dict[str, int]:
        """How many jobs there are in each state."""
        with reading(self._engine) as connection:
            rows = connection.execute(
                select(jobs.c.state, func.count()).group_by(jobs.c.state)
            ).all()
        return {str(state): int(count) for state, count in rows}

    def retry(self, job_id: str, stage: str) -> Job:
        """Queue a failed or cancelled job again from ``stage``. Raises ``JobNotFound``
        when there is no such job or it did not fail."""
        with writing(self._engine) as connection:
            row = connection.execute(
                update(jobs)
                .where(
                    jobs.c.id == job_id,
                    jobs.c.state.in_([JobState.FAILED, JobState.CANCELLED]),
                )
                .values(
                    state=JobState.QUEUED, stage=stage, attempts=0, not_before=0.0,
                    fence=jobs.c.fence + 1, error=None, error_code=None, result=None,
                    started_at=None, finished_at=None, published_at=self._clock(),
                )
                .returning(*COLUMNS)
            ).mappings().one_or_none()
        if row is None:
            raise JobNotFound("No failed or cancelled job has this id.")
        return _job(row)

    # -- reading ------------------------------------------------------------------

    def _one(self, *conditions: ColumnElement[bool]) -> Job | None:
        with reading(self._engine) as connection:
            row = connection.execute(select(*COLUMNS).where(*conditions)).mappings().one_or_none()
        return None if row is None else _job(row)

    def _many(self, query: Select[Any]) -> list[Job]:
        with reading(self._engine) as connection:
            return [_job(row) for row in connection.execute(query).mappings()]

    @staticmethod
    def _waiting(connection: Connection, *conditions: ColumnElement[bool]) -> int:
        return connection.execute(
            select(func.count()).where(jobs.c.state == JobState.QUEUED, *conditions)
        ).scalar_one()


def error_json(error: FaceError) -> JsonObject:
    """What a job row keeps of an error."""
    return {"code": error.code, "message": error.message, "picture": error.picture}


def _held(claim: Claim) -> ColumnElement[bool]:
    return and_(
        jobs.c.id == claim.id, jobs.c.state == JobState.RUNNING, jobs.c.fence == claim.fence
    )


def _new_row(new: NewJob, job_id: str, now: float) -> dict[str, Any]:
    return {
        "id": job_id,
        "tenant_id": new.tenant_id,
        "operation": new.operation,
        "dialect": new.dialect,
        "state": JobState.QUEUED,
        "stage": new.stage,
        "params": new.params,
        "media": list(new.media),
        "request_id": new.request_id,
        "digest": new.digest,
        "idempotency_key": new.idempotency_key,
        "trace": [],
        "created_at": now,
        "published_at": now,
    }


def _job(row: RowMapping) -> Job:
    values = dict(row)
    values["state"] = JobState(values["state"])
    values["media"] = tuple(values["media"])
    return Job(**values)
