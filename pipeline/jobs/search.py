"""Lists of jobs for operators, newest first, in pages by key.

However many jobs there are and however rare the wanted ones, a page costs a bounded number of
rows: it looks at ``MOST_LOOKED_AT`` at most and says from where to go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    func,
    literal,
    select,
    union_all,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from pipeline.database.engine import read_rows, read_values, reading
from pipeline.database.schema import jobs
from pipeline.jobs.model import Job, JobState
from pipeline.jobs.pictures import are_there
from pipeline.operations import Stage

# Rows that one page looks at: some ten milliseconds.
MOST_LOOKED_AT = 10_000

WAITING_STATES = (JobState.QUEUED, JobState.RUNNING)

ERROR_STATES = (JobState.FAILED, JobState.CANCELLED)

# As in the index of the jobs with errors.
_HAS_ERROR = jobs.c.error_code.is_not(None)

_NEWEST = jobs.c.seq.desc()

_ENDS = select(func.min(jobs.c.seq)), select(func.max(jobs.c.seq))


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs to list; None: any. ``since`` and ``until`` bound the time of acceptance (epoch
    seconds, the later one is outside)."""

    state: JobState | None = None
    operation: str | None = None
    tenant_id: int | None = None
    error_code: str | None = None
    request_id: str | None = None
    since: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class JobSummary:
    """What a list shows of a job. Times are epoch seconds; ``dialect`` is empty for the jobs of
    batches and of operators."""

    seq: int
    id: str
    tenant_id: int
    operation: str
    dialect: str
    state: str
    stage: str
    request_id: str
    attempts: int
    error_code: str | None
    created_at: float
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class FoundJobs:
    """Jobs, the newest first. ``next`` is the ``before`` with which the search goes on; None: there
    are no more. There may be more although few or none were found."""

    jobs: list[JobSummary]
    next: int | None


_SUMMARY = [jobs.c[each.name] for each in fields(JobSummary)]


class JobSearch:
    """Finds jobs of all tenants. Methods raise ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, wanted: JobFilter, before: int | None = None, limit: int = 50) -> FoundJobs:
        """At most ``limit`` jobs with numbers (``seq``) below ``before``."""
        with reading(self._engine) as connection:
            found, end = self._look(connection, wanted, before, limit)
            query = select(*_SUMMARY).where(jobs.c.seq.in_(found)).order_by(_NEWEST)
            rows = connection.execute(query).all()
        return FoundJobs([JobSummary(*row) for row in rows], end)

    def _look(
        self, connection: Connection, wanted: JobFilter, before: int | None, limit: int
    ) -> tuple[list[int], int | None]:
        """The numbers of the jobs of a page, and where the search goes on."""
        first = None if wanted.since is None else first_at(connection, wanted.since)
        if wanted.until is not None:
            end = first_at(connection, wanted.until)
            before = end if before is None else min(before, end)
        rows = _newest_within(wanted, first, before)
        window = rows.limit(MOST_LOOKED_AT).subquery()
        fits = _fits(window.c, wanted)
        if not fits:
            window = rows.limit(limit + 1).subquery()
        query = select(window.c.seq).where(*fits).order_by(window.c.seq.desc()).limit(limit + 1)
        found = list(connection.execute(query).scalars())
        if len(found) > limit:
            return found[:limit], found[limit - 1]
        ends = select(func.count(), func.min(window.c.seq)).select_from(window)
        looked_at, last = connection.execute(ends).one()
        return found, int(last) if fits and looked_at == MOST_LOOKED_AT else None

    def count_since(self, moment: float) -> int:
        """How many jobs were accepted since then (epoch seconds)."""
        with reading(self._engine) as connection:
            query = select(func.count()).where(jobs.c.seq >= first_at(connection, moment))
            return int(connection.execute(query).scalar_one())

    def last_errors(self, limit: int) -> Sequence[tuple[JobSummary, str]]:
        """The newest jobs that ended with an error, with its message."""
        query = select(*_SUMMARY, jobs.c.error).where(_HAS_ERROR).order_by(_NEWEST).limit(limit)
        return [
            (JobSummary(*row[:-1]), str((row.error or {}).get("message", "")))
            for row in read_rows(self._engine, query)
        ]

    def is_erased(self, job: Job) -> bool:
        """Whether what the job was about was deleted because one of its faces was."""
        query = select(jobs.c.erased_at).where(jobs.c.seq == job.seq)
        return any(each is not None for each in read_values(self._engine, query))

    def has_pictures(self, job: Job) -> bool:
        """Whether the pictures that wait in the database with the job are still there."""
        with reading(self._engine) as connection:
            return are_there(connection, job)


def first_at(connection: Connection, moment: float) -> int:
    """The number of the first job that was accepted at ``moment`` (epoch seconds) or later; one
    above the last when there is none. Jobs are numbered in the order of their acceptance, so that
    this needs no index of times: some twenty look-ups."""
    # One query for both would go through the whole index on SQLite.
    least, most = (connection.execute(query).scalar_one() or 0 for query in _ENDS)
    low, high = int(least), int(most) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(jobs.c.seq, jobs.c.created_at).where(jobs.c.seq >= middle)
        row = connection.execute(query.order_by(jobs.c.seq).limit(1)).one_or_none()
        if row is not None and row.created_at < moment:
            low = row.seq + 1
        else:
            high = middle
    return low


def _newest_within(
    wanted: JobFilter, first: int | None, before: int | None
) -> Select[int, int, str, str, str | None]:
    """The jobs among which those wanted are, newest first, by the index that leaves the fewest.
    The columns are those that a list filters by; ``code`` only by that index, as it lies behind
    the result in a row."""
    within: list[ColumnElement[bool]] = []
    if first is not None:
        within.append(jobs.c.seq >= first)
    if before is not None:
        within.append(jobs.c.seq < before)
    if wanted.request_id is not None:
        within.append(jobs.c.request_id == wanted.request_id)
    elif _by_error(wanted):
        within.append(_HAS_ERROR)
    elif wanted.state in WAITING_STATES:
        within.append(jobs.c.seq.in_(_waiting(wanted.state, within)))
    elif wanted.tenant_id is not None:
        within.append(jobs.c.tenant_id == wanted.tenant_id)
    code = jobs.c.error_code if _by_error(wanted) else literal(None)
    return (
        select(jobs.c.seq, jobs.c.tenant_id, jobs.c.operation, jobs.c.state, code.label("code"))
        .where(*within).order_by(_NEWEST)
    )


def _by_error(wanted: JobFilter) -> bool:
    return wanted.error_code is not None or wanted.state in ERROR_STATES


def _waiting(state: JobState, within: Sequence[ColumnElement[bool]]) -> Select[int]:
    """The numbers of the newest jobs in a state, stage by stage, as the index has them."""
    stages = [
        select(
            select(jobs.c.seq)
            .where(jobs.c.state == state.value, jobs.c.stage == stage.value, *within)
            .order_by(_NEWEST).limit(MOST_LOOKED_AT).subquery().c.seq
        )
        for stage in Stage
    ]
    every = union_all(*stages).subquery()
    return select(every.c.seq).order_by(every.c.seq.desc()).limit(MOST_LOOKED_AT)


def _fits(
    row: ReadOnlyColumnCollection[str, Any], wanted: JobFilter
) -> list[ColumnElement[bool]]:
    """What a list filters by."""
    pairs = (
        (row.state, wanted.state), (row.operation, wanted.operation),
        (row.tenant_id, wanted.tenant_id), (row.code, wanted.error_code),
    )
    return [column == value for column, value in pairs if value is not None]
