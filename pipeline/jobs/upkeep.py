"""Finds jobs that no worker would run without help, puts them back or ends them, and removes
old ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, func, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_rows, read_values, writing
from pipeline.database.schema import job_pictures, jobs, signed_requests
from pipeline.errors import FaceError, JobCrashed
from pipeline.jobs.challenges import forget_challenges
from pipeline.jobs.ending import failure, settle_all
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.pictures import drop_pictures
from pipeline.jobs.statements import (
    COLUMNS,
    PAUSED,
    QUEUED,
    RUNNING,
    UNFINISHED,
    job_of,
    write_histories,
)
from pipeline.jobs.timeline import JobEvent, note
from pipeline.metering.costs import cost_of_error


class JobUpkeep:
    """The reconciler's side of the job rows. ``clock`` gives epoch seconds (None: the database's).

    All methods raise ``DatabaseUnavailable``.
    """

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def has_unfinished(self, stage: str) -> bool:
        """Whether jobs wait or run at ``stage``."""
        first = select(jobs.c.seq).where(UNFINISHED, jobs.c.stage == stage).limit(1)
        return bool(read_values(self._engine, first))

    def stages_with_waiting(self) -> list[str]:
        """The stages at which jobs wait for a worker, pauses included."""
        return read_values(self._engine, select(jobs.c.stage).where(QUEUED).distinct())

    def count_waiting(self, stage: str) -> int:
        """How many jobs wait for a worker at ``stage``, pauses included."""
        waiting = select(func.count()).where(QUEUED, jobs.c.stage == stage)
        return read_values(self._engine, waiting)[0]

    def count_due(self, stage: str) -> int:
        """How many of those waiting at ``stage`` are in no pause and need a message."""
        paused = select(func.count()).where(
            PAUSED, jobs.c.stage == stage, jobs.c.not_before > self._clock()
        )
        return self.count_waiting(stage) - read_values(self._engine, paused)[0]

    def stale_messages(self, stage: str, older_than_s: float, limit: int) -> list[Job]:
        """The oldest jobs waiting at ``stage`` whose message was sent at least
        ``older_than_s`` ago and whose pause, if any, is over."""
        sent = jobs.c.published_at <= self._clock() - older_than_s
        return self._in_no_pause(stage, limit, jobs.c.seq, QUEUED, sent)

    def ended_pauses(self, stage: str, limit: int) -> list[Job]:
        """Jobs at ``stage`` whose pause ended after their message was last sent."""
        unsent = jobs.c.not_before > jobs.c.published_at
        return self._in_no_pause(stage, limit, jobs.c.not_before, PAUSED, unsent)

    def _in_no_pause(
        self, stage: str, limit: int, order: ColumnElement[Any], *conditions: ColumnElement[bool]
    ) -> list[Job]:
        now_due = jobs.c.not_before <= self._clock()
        query = select(*COLUMNS).where(jobs.c.stage == stage, now_due, *conditions)
        rows = read_rows(self._engine, query.order_by(order).limit(limit))
        return [job_of(row) for row in rows]

    def oldest_unfinished(self) -> float | None:
        """When the oldest job that has not ended was accepted."""
        first = select(func.min(jobs.c.seq)).where(UNFINISHED).scalar_subquery()
        oldest = read_values(self._engine, select(jobs.c.created_at).where(jobs.c.seq == first))
        return oldest[0] if oldest else None

    def release_dead(
        self, max_attempts: int, *, worker: str | None = None, culprit: str | None = None,
        limit: int = 500,
    ) -> tuple[list[Job], list[Job]]:
        """(jobs put back, jobs ended as crashed) of those whose lease has run out, or
        of all that ``worker``, known to be dead, held.

        It may have held several. The attempt counts for ``culprit``, the one that it ran when
        it died; for all of them where that is unknown.
        """
        now = self._clock()
        dead = jobs.c.lease_until < now if worker is None else jobs.c.worker == worker
        if not read_values(self._engine, select(jobs.c.seq).where(RUNNING, dead).limit(1)):
            return [], []  # as most rounds, which write nothing
        with writing(self._engine) as connection:
            rows = connection.execute(
                select(*COLUMNS)
                .where(RUNNING, dead)
                .order_by(jobs.c.seq).limit(limit).with_for_update(skip_locked=True)
            ).all()
            held = [job_of(row) for row in rows]
            known = any(job.id == culprit for job in held)
            innocent = [job.id for job in held if known and job.id != culprit]
            guilty = [job for job in held if not known or job.id == culprit]
            crashed = [job.id for job in guilty if job.attempts >= max_attempts]
            back = [job.id for job in guilty if job.attempts < max_attempts]
            write_histories(connection, [
                replace(job, history=note(
                    job, JobEvent.LOST, now, charged=job.id not in innocent,
                    worker=job.worker or "",
                ))
                for job in held
            ])
            error = JobCrashed()
            ended = self._set(connection, crashed, **failure(error, now))
            settle_all(connection, ended, cost_of_error(error.code), self._clock())
            # published_at 0: the message died with the worker and is sent again at once
            again = {"state": JobState.QUEUED.value, "published_at": 0.0}
            returned = self._set(connection, back, **again)
            returned += self._set(connection, innocent, **again, attempts=jobs.c.attempts - 1)
        return sorted(returned, key=lambda job: job.seq), ended

    def _set(self, connection: Connection, ids: Sequence[str], **values: Any) -> list[Job]:
        if not ids:
            return []
        rows = connection.execute(
            update(jobs)
            .where(jobs.c.id.in_(ids))
            .values(fence=jobs.c.fence + 1, lease_until=None, worker=None, **values)
            .returning(*COLUMNS)
        ).all()
        # RETURNING gives rows in no order; the oldest job goes first.
        return sorted(map(job_of, rows), key=lambda job: job.seq)

    def fail_waiting(self, stage: str, error: FaceError, limit: int) -> list[Job]:
        """End at most ``limit`` jobs that wait at ``stage``; the ended jobs."""
        found = (
            select(jobs.c.id).where(QUEUED, jobs.c.stage == stage).order_by(jobs.c.seq).limit(limit)
        )
        if not read_values(self._engine, found):
            return []
        with writing(self._engine) as connection:
            held = found.with_for_update(skip_locked=True)
            ids = connection.execute(held).scalars().all()
            ended = self._set(connection, ids, **failure(error, self._clock()))
            settle_all(connection, ended, cost_of_error(error.code), self._clock())
        return ended

    def mark_published(self, ids: Sequence[str]) -> None:
        """Note that messages for these jobs were sent just now."""
        if not ids:
            return
        # A locked row is being claimed: its message has arrived. Waiting for it while other
        # rows are locked could make two transactions wait for each other.
        free = (
            select(jobs.c.seq, jobs.c.state)
            .where(jobs.c.id.in_(ids)).with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            waiting = [
                row.seq for row in connection.execute(free) if row.state == JobState.QUEUED
            ]
            connection.execute(
                update(jobs).where(jobs.c.seq.in_(waiting)).values(published_at=self._clock())
            )

    def purge(self, older_than_s: float, limit: int = 1000) -> int:
        """Remove jobs that ended at least ``older_than_s`` ago, signatures that can
        no longer be replayed and past challenges; the number of jobs removed."""
        now = self._clock()
        old = (
            select(jobs.c.seq).where(jobs.c.finished_at < now - older_than_s)
            .limit(limit).with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            # Chosen first: inside the DELETE, PostgreSQL may choose again for every row,
            # skip the rows that it has locked itself, and remove more than the limit.
            chosen = connection.execute(old).scalars().all()
            drop_pictures(connection, chosen, now)
            removed = connection.execute(jobs.delete().where(jobs.c.seq.in_(chosen))).rowcount
        with writing(self._engine) as connection:
            connection.execute(
                signed_requests.delete().where(signed_requests.c.expires_at < now)
            )
            forget_challenges(connection, now)
        return removed

    def drop_pictures(self, older_than_s: float, limit: int = 1000) -> int:
        """Delete the pictures, in rows or to be enrolled, of at most ``limit`` jobs that ended
        so long ago without using them; the number of jobs."""
        before = self._clock() - older_than_s
        # Few pictures wait and many jobs have ended: the sum keeps SQLite from going through
        # the index of the latter.
        theirs = (
            select(job_pictures.c.job_seq).join(jobs, jobs.c.seq == job_pictures.c.job_seq)
            .where(jobs.c.finished_at + 0.0 < before).limit(limit)
        )
        found = set(read_values(self._engine, theirs))
        if not found:
            return 0
        # An operator may be repeating one of them.
        still = (
            select(jobs.c.seq).where(jobs.c.seq.in_(found), jobs.c.finished_at < before)
            .with_for_update(skip_locked=True)
        )
        with writing(self._engine) as connection:
            chosen = connection.execute(still).scalars().all()
            drop_pictures(connection, chosen, self._clock())
        return len(chosen)
