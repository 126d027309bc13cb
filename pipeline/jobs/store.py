"""Jobs in SQL: the queue of record.

The broker may lose, repeat or delay its messages. The state of a job is kept here, and every
change is one conditional UPDATE.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_values, writing
from pipeline.database.job_faces import clear_job_faces
from pipeline.database.schema import jobs, tenants
from pipeline.encryption.data_key import KeySource, NoKeys
from pipeline.errors import (
    FaceError,
    IdempotencyConflict,
    InvalidParameter,
    JobCancelled,
    JobNotFound,
    JobTimedOut,
    Overloaded,
    ReplayedRequest,
    TenantNotFound,
)
from pipeline.jobs.backlog import Backlog
from pipeline.jobs.challenges import take_challenge
from pipeline.jobs.damage import kept_reads
from pipeline.jobs.ending import cost_of, error_json, queued, settle_all
from pipeline.jobs.model import Claim, Effect, Job, JobState, NewJob, SignedRequest
from pipeline.jobs.overview import JobOverview
from pipeline.jobs.pictures import are_there, store_pictures
from pipeline.jobs.reader import JOB_ID, JobReader
from pipeline.jobs.search import JobSearch
from pipeline.jobs.statements import (
    CANCEL,
    COLUMNS,
    FIND_SIGNATURE,
    HELD,
    INSERT,
    INSERT_SIGNATURE,
    RETRIABLE,
    accepted_job,
    hold,
    job_of,
    new_row,
    write_histories,
)
from pipeline.jobs.timeline import JobEvent, note
from pipeline.jobs.together import JobEnd, JobsTogether
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.jobs.waiting_jobs import WaitingJobs
from pipeline.metering.usage import charge
from pipeline.types import JsonObject

MAX_KEY_CHARS = 255  # the column of the schema

_TENANT = select(tenants.c.id).where(tenants.c.id == bindparam("tenant"))

# Waiting jobs above which pictures wait in the media store: a backlog of hours must not blow
# up the database, whose file does not shrink.
CROWD = 1000


class JobStore:
    """Accepting, running and ending jobs. ``read`` answers questions about them, ``upkeep``
    is the reconciler's side, ``overview`` counts them, ``search`` lists them for operators,
    ``together`` changes several at once, ``waiting`` ends those of an application.
    ``clock`` gives epoch seconds (None: the database's).

    All methods raise ``DatabaseUnavailable``.
    """

    def __init__(
        self, engine: Engine, clock: Clock | None = None,
        keys: KeySource | None = None,
    ) -> None:
        clock = self._clock = database_clock(engine, clock)
        self.read = JobReader(engine, clock, keys)
        self.upkeep = JobUpkeep(engine, clock)
        self.overview = JobOverview(engine, clock)
        self.search = JobSearch(engine)
        self.waiting = WaitingJobs(engine, clock)
        self._engine = engine
        self.together = JobsTogether(engine, clock, keys or NoKeys())
        self._backlog = Backlog(engine, clock)
        self._crowd = Backlog(engine, clock)

    def now(self) -> float:
        """Epoch seconds by the clock of the job rows."""
        return self._clock()

    # -- the web side -------------------------------------------------------------

    def submit(self, new: NewJob, *, max_waiting: int | None = None) -> tuple[Job, bool]:
        """Record a job; (job, True), or (the earlier job, False) when the idempotency
        key or the signed request is known.

        Raises ``ReplayedRequest``, ``IdempotencyConflict``, ``ChallengeUnusable``,
        ``Overloaded``, ``QuotaExceeded``, ``InvalidParameter`` for an idempotency key that is
        too long, ``TenantNotFound``.
        """
        if len(new.idempotency_key or "") > MAX_KEY_CHARS:
            raise InvalidParameter(f"an Idempotency-Key has at most {MAX_KEY_CHARS} characters")
        if max_waiting is not None and self._backlog.reaches(max_waiting):
            earlier = self._earlier(new)
            if earlier is None:
                raise Overloaded
            return earlier, False
        now = self._clock()
        values = new_row(new, now)
        try:
            with writing(self._engine) as connection:
                seq = connection.execute(INSERT, values).scalar_one()
                _check_tenant(connection, new.tenant_id)
                store_pictures(connection, seq, new.pictures)
                if new.once is not None:
                    connection.execute(
                        INSERT_SIGNATURE,
                        {
                            "tenant_id": new.tenant_id, "digest": new.once.digest,
                            "expires_at": new.once.until, "job_id": new.id,
                        },
                    )
                if new.challenge is not None:
                    take_challenge(connection, new.challenge, new.id, now)
                # Last: until the commit, others of this tenant wait for these rows.
                if new.limits is not None:
                    charge(connection, new.tenant_id, new.operation, new.limits, now)
        except IntegrityError as error:
            earlier = self._earlier(new)
            if earlier is None:
                raise TenantNotFound from error
            return earlier, False
        self._backlog.added_one()
        self._crowd.added_one()
        return accepted_job(new, seq, values), True

    def is_crowded(self) -> bool:
        """Whether so many jobs wait that pictures should not wait in their rows."""
        return self._crowd.reaches(CROWD)

    def _earlier(self, new: NewJob) -> Job | None:
        """The job that ``new`` repeats. The idempotency key goes first: it asks for the answer
        even where a repeated signature is refused."""
        if new.idempotency_key is not None:
            earlier = self.read.by_idempotency_key(new.tenant_id, new.idempotency_key)
            if earlier is not None and earlier.digest != new.digest:
                raise IdempotencyConflict
            if earlier is not None:
                return earlier
        return None if new.once is None else self._signed_earlier(new, new.once)

    def _signed_earlier(self, new: NewJob, once: SignedRequest) -> Job | None:
        """Raises ``ReplayedRequest``."""
        values = {"tenant": new.tenant_id, "once": once.digest}
        if not read_values(self._engine, FIND_SIGNATURE, values):
            return None
        earlier = self.read.by_signature(new.tenant_id, once)
        if not once.answered:
            raise ReplayedRequest
        if earlier is None:
            raise ReplayedRequest("This signed request has had its answer, which is kept no more.")
        if earlier.operation != new.operation:
            raise signed_for(earlier.operation)
        return earlier

    def cancel(self, tenant_id: int, job_id: str, by: str = "") -> tuple[Job, bool]:
        """(job, whether this call ended it). ``by`` is the operator who wants it. Raises
        ``JobNotFound``."""
        if not JOB_ID.fullmatch(job_id):
            raise JobNotFound
        error = JobCancelled()
        with writing(self._engine) as connection:
            row = connection.execute(
                CANCEL,
                {
                    "job": job_id, "tenant": tenant_id, "finished_at": self._clock(),
                    "error_code": error.code, "error": error_json(error),
                },
            ).one_or_none()
            if row is not None:
                job = job_of(row)
                self._note(connection, job, JobEvent.CANCELLED, by)
                settle_all(connection, [job], cost_of(job, error), self._clock())
        return self.read.get(tenant_id, job_id), row is not None

    # -- the worker's side --------------------------------------------------------

    def claim(
        self, job_id: str, stage: str, worker: str, lease_s: float, max_attempts: int
    ) -> Claim | None:
        """The right to run ``stage`` of a job, or None when it must not run: it has ended,
        is at another stage, pauses, is held by a living worker, or by a dead one at its last
        attempt.
        """
        claims, _ = self.together.claim([job_id], stage, worker, lease_s, max_attempts)
        return claims[0] if claims else None

    def renew(self, claims: Iterable[Claim], lease_s: float) -> None:
        """Extend the leases of these claims."""
        held = sorted(claims, key=lambda claim: claim.id)
        if not held:
            return
        until = self._clock() + lease_s
        with writing(self._engine) as connection:
            for claim in held:
                connection.execute(HELD, {**hold(claim), "lease_until": until})

    def finish(
        self, claim: Claim, result: JsonObject, trace: Sequence[JsonObject], effect: Effect | None
    ) -> bool:
        """End a job with its result and its effect in one transaction; False when the
        claim was lost meanwhile: then nothing has changed."""
        return self._end(JobEnd(claim, trace, result, effect))

    def fail(self, claim: Claim, error: FaceError, trace: Sequence[JsonObject]) -> bool:
        """End a job with an error; False when the claim was lost meanwhile."""
        return self._end(JobEnd(claim, trace, error=error))

    def _end(self, end: JobEnd) -> bool:
        (outcome,) = self.together.end([end])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def hand_over(self, claim: Claim, stage: str, trace: Sequence[JsonObject]) -> bool:
        """Leave a job to the workers of ``stage``; the attempt does not count."""
        return self.together.hand_over([(claim, stage, trace)])[0]

    def retry_later(
        self, claim: Claim, error: FaceError, *, stage: str, pause_s: float, retry_for_s: float
    ) -> bool:
        """Let a job wait because of ``error`` and start again at ``stage``; the attempt does
        not count. After ``retry_for_s`` since it first had to wait like this it fails: with the
        error when that is retryable, else as timed out. Waiting in a queue does not count."""
        now = self._clock()
        since = (claim.job.error or {}).get("since", now)
        if now + pause_s > since + retry_for_s:
            return self.fail(claim, error if error.retryable else JobTimedOut(), [])
        kept = {**error_json(error), **kept_reads(claim.job, error, now)}
        if math.isfinite(retry_for_s):
            kept["since"] = since
        history = note(
            claim.job, JobEvent.PAUSED, now, code=error.code, worker=claim.job.worker or ""
        )
        waits = {"not_before": now + pause_s, "error": kept, "history": history}
        return self.together.put_back([(claim, {**queued(claim, stage, now), **waits})])[0]

    # -- the operator's side ------------------------------------------------------

    def retry(self, job_id: str, stage: str, by: str = "") -> Job:
        """Queue a failed or cancelled job again from ``stage``, for the operator ``by``. Raises
        ``JobNotFound`` when there is no such job, it did not fail, or its pictures are gone."""
        ended = select(jobs.c.error_code).where(jobs.c.id == job_id).with_for_update()
        with writing(self._engine) as connection:
            code = connection.execute(ended).scalar_one_or_none()
            row = connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, RETRIABLE)
                .values(
                    state=JobState.QUEUED.value, stage=stage, attempts=0, not_before=0.0,
                    fence=jobs.c.fence + 1, error=None, error_code=None, result=None,
                    worker=None, started_at=None, finished_at=None, published_at=self._clock(),
                    pack=None,
                    # Its cost is settled; the operator's retry costs nothing.
                    charged_on=None,
                )
                .returning(*COLUMNS)
            ).one_or_none()
            if row is None:
                raise JobNotFound("No failed or cancelled job that can be repeated has this id.")
            job = job_of(row)
            if not are_there(connection, job):
                raise JobNotFound("The job's pictures have been deleted; it cannot be repeated.")
            clear_job_faces(connection, job.seq)
            return self._note(connection, job, JobEvent.RETRIED, by, code or "")

    def _note(
        self, connection: Connection, job: Job, event: JobEvent, by: str, code: str = ""
    ) -> Job:
        """Write what was done into the history of a job whose row is locked."""
        noted = replace(job, history=note(job, event, self._clock(), by=by, code=code))
        write_histories(connection, [noted])
        return noted


def _check_tenant(connection: Connection, tenant_id: int) -> None:
    """Raises ``TenantNotFound`` where no foreign key does. Of a tenant that is being deleted, the
    job is deleted by upkeep."""
    if connection.dialect.name != "postgresql":
        return
    if connection.execute(_TENANT, {"tenant": tenant_id}).first() is None:
        raise TenantNotFound


def signed_for(operation: str) -> ReplayedRequest:
    """The error of a signed request that was sent for another ``operation`` before."""
    return ReplayedRequest(
        f"This signed request was already sent for {operation}, and serves one operation: sign the "
        "next one with another timestamp or a nonce."
    )
