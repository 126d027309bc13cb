"""The SQL of the job store, built once.

Building a statement costs SQLAlchemy more than SQLite needs to run it, and the cache key of
the compiled form is kept with the statement object: statements that run for every job are
therefore constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    Row,
    and_,
    bindparam,
    column,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from pipeline.database.schema import jobs, signed_requests
from pipeline.jobs.model import ENDED, Claim, Job, JobState, NewJob
from pipeline.jobs.timeline import started_by
from pipeline.metering.usage import day_of

COLUMNS = [jobs.c[field.name] for field in fields(Job)]

_STATE = [column.name for column in COLUMNS].index("state")
_MEDIA = [column.name for column in COLUMNS].index("media")

QUEUED = jobs.c.state == JobState.QUEUED.value
RUNNING = jobs.c.state == JobState.RUNNING.value
# Written as in the index of paused jobs: a parameter would not match it. The empty text
# after the state keeps SQLite from scanning all waiting jobs instead.
PAUSED = and_(text("not_before > 0"), jobs.c.state.concat("") == JobState.QUEUED.value)
UNFINISHED = jobs.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value])
RETRIABLE = and_(
    jobs.c.state.in_([JobState.FAILED.value, JobState.CANCELLED.value]),
    jobs.c.erased_at.is_(None),
)

INSERT = insert(jobs).returning(jobs.c.seq)
INSERT_SIGNATURE = insert(signed_requests)
_SIGNED = and_(
    signed_requests.c.tenant_id == bindparam("tenant"),
    signed_requests.c.digest == bindparam("once"),
)
FIND_SIGNATURE = select(signed_requests.c.job_id).where(_SIGNED)

FIND = select(*COLUMNS).where(jobs.c.id == bindparam("job"))
FIND_OWN = FIND.where(jobs.c.tenant_id == bindparam("tenant"))
FIND_BY_KEY = select(*COLUMNS).where(
    jobs.c.tenant_id == bindparam("tenant"), jobs.c.idempotency_key == bindparam("key")
)
FIND_BY_SIGNATURE = (
    select(*COLUMNS).join(signed_requests, signed_requests.c.job_id == jobs.c.id).where(_SIGNED)
)

_CLAIMED = {
    "state": JobState.RUNNING.value,
    "attempts": jobs.c.attempts + 1,
    "messages": jobs.c.messages + 1,
    "fence": jobs.c.fence + 1,
    "lease_until": bindparam("until"),
    "worker": bindparam("holder"),
    "started_at": func.coalesce(jobs.c.started_at, bindparam("now")),
}

# One conditional UPDATE: of two that claim at once the second finds the row running
# (PostgreSQL looks at the condition again after it has waited for the row).
CLAIM = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"),
        jobs.c.stage == bindparam("at_stage"),
        jobs.c.not_before <= bindparam("now"),
        # Attempts were counted when the job was put back: a waiting job runs even if fewer
        # attempts are allowed by now.
        or_(QUEUED, and_(RUNNING, jobs.c.lease_until < bindparam("now"),
                         jobs.c.attempts < bindparam("most"))),
    )
    .values(**_CLAIMED)
    .returning(*COLUMNS)
)

# Several at once: the free ones among some jobs are locked, then claimed. Those that another
# transaction has locked are being claimed or cancelled there.
_WAITING_AMONG = and_(
    jobs.c.id.in_(bindparam("ids", expanding=True)), QUEUED,
    jobs.c.stage == bindparam("at_stage"), jobs.c.not_before <= bindparam("now"),
)
FREE_AMONG = (
    select(jobs.c.seq).where(_WAITING_AMONG, jobs.c.attempts == 0)
    .order_by(jobs.c.id).with_for_update(skip_locked=True)
)
CLAIM_FREE = (
    update(jobs).where(jobs.c.seq.in_(bindparam("seqs", expanding=True)))
    .values(**_CLAIMED).returning(*COLUMNS)
)
SUSPECT_AMONG = select(jobs.c.id).where(_WAITING_AMONG, jobs.c.attempts > 0)

# The row that a claim still holds; run with the columns to set beside these two names.
HELD = update(jobs).where(
    jobs.c.id == bindparam("held_job"), RUNNING, jobs.c.fence == bindparam("held_fence")
)

# The rows of several claims, locked.
HELD_AMONG = (
    select(jobs.c.id, jobs.c.fence)
    .where(jobs.c.id.in_(bindparam("ids", expanding=True)), RUNNING)
    .order_by(jobs.c.id).with_for_update()
)


def hold(claim: Claim) -> dict[str, Any]:
    """The parameters of ``HELD``."""
    return {"held_job": claim.id, "held_fence": claim.fence}


_SET_HISTORY = (
    update(jobs).where(jobs.c.seq == bindparam("of_seq"))
    .values(history=bindparam("of_history", type_=jobs.c.history.type))
)


def write_histories(connection: Connection, noted: Sequence[Job]) -> None:
    """Write what happened to locked jobs between their stages."""
    if noted:
        connection.execute(
            _SET_HISTORY, [{"of_seq": job.seq, "of_history": job.history} for job in noted]
        )


CANCELLED: dict[str, Any] = {
    "state": JobState.CANCELLED.value, "lease_until": None, "fence": jobs.c.fence + 1,
}
"""The columns of a job that is ended before its worker has ended it."""

CANCEL = (
    update(jobs)
    .where(
        jobs.c.id == bindparam("job"),
        jobs.c.tenant_id == bindparam("tenant"),
        jobs.c.state.not_in([state.value for state in ENDED]),
    )
    .values(CANCELLED)
    .returning(*COLUMNS)
)

_BEFORE = (QUEUED, jobs.c.stage == bindparam("at_stage"), jobs.c.seq < bindparam("before"))
POSITION = select(func.count(), func.min(column("seq", BigInteger))).select_from(
    select(jobs.c.seq).where(*_BEFORE).order_by(jobs.c.seq).limit(bindparam("most")).subquery()
)

# Counts no further than it must.
BACKLOG = select(func.count()).select_from(
    select(jobs.c.seq).where(QUEUED).limit(bindparam("most")).subquery()
)


def job_of(row: Row[Any]) -> Job:
    """A row of ``COLUMNS`` as a value."""
    values = list(row)
    values[_STATE] = JobState(values[_STATE])
    values[_MEDIA] = tuple(values[_MEDIA])
    return Job(*values)


def new_row(new: NewJob, now: float) -> dict[str, Any]:
    """The columns of an accepted job, which waits for its first stage."""
    return {
        "id": new.id,
        "tenant_id": new.tenant_id,
        "operation": new.operation,
        "dialect": new.dialect,
        "state": JobState.QUEUED.value,
        "stage": new.stage,
        "params": new.params,
        "media": list(new.media),
        "request_id": new.request_id,
        "digest": new.digest,
        "idempotency_key": new.idempotency_key,
        "attempts": 0,
        "messages": 0,
        "fence": 0,
        "not_before": 0.0,
        "trace": [],
        "created_at": now,
        "published_at": now,
        "charged_on": None if new.limits is None else day_of(now),
        "free": new.free,
        "traceparent": new.traceparent,
        "history": started_by(new, now),
    }


def accepted_job(new: NewJob, seq: int, values: dict[str, Any]) -> Job:
    """The job that was inserted as ``values``, without reading it again."""
    held = {"idempotency_key", "not_before", "state", "media"}
    return Job(
        seq=seq, state=JobState.QUEUED, media=new.media, lease_until=None, worker=None,
        result=None, error_code=None, error=None, started_at=None, finished_at=None,
        **{name: value for name, value in values.items() if name not in held},
    )
