"""What waits, runs and ends in the whole deployment, for operators."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import read_values, reading
from pipeline.database.schema import jobs
from pipeline.jobs.model import JobState
from pipeline.jobs.statements import PAUSED, UNFINISHED

# Jobs in a pause whose errors are read at most: the kinds of errors are few.
MOST_PAUSED = 10_000


@dataclass(frozen=True, slots=True)
class StageQueue:
    """The jobs at one stage: those that wait (of these in a pause after an error), those that
    run, and the seconds since the oldest waiting one was accepted (0: none waits)."""

    stage: str
    waiting: int = 0
    paused: int = 0
    running: int = 0
    oldest_s: float = 0.0


@dataclass(frozen=True, slots=True)
class EndedJobs:
    """Jobs of one operation that ended in one way lately: their number, and the mean seconds
    from their acceptance to their end."""

    operation: str
    state: str
    error_code: str | None
    count: int
    mean_s: float


class JobOverview:
    """Counts over all jobs. ``clock`` gives epoch seconds; None: by the database's. Methods raise
    ``DatabaseUnavailable``."""

    def __init__(self, engine: Engine, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = database_clock(engine, clock)

    def queues(self) -> list[StageQueue]:
        """The stages at which jobs wait or run. With 200,000 waiting jobs this takes some ten
        milliseconds."""
        now = self._clock()
        by_state = (
            select(jobs.c.stage, jobs.c.state, func.count(), func.min(jobs.c.seq))
            .where(UNFINISHED).group_by(jobs.c.state, jobs.c.stage)
        )
        pauses = (
            select(jobs.c.stage, func.count())
            .where(PAUSED, jobs.c.not_before > now).group_by(jobs.c.stage)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(by_state).all()
            paused = {str(stage): int(count) for stage, count in connection.execute(pauses)}
            waiting = {
                str(stage): (int(count), int(first)) for stage, state, count, first in rows
                if state == JobState.QUEUED
            }
            oldest = select(jobs.c.seq, jobs.c.created_at).where(
                jobs.c.seq.in_([first for _, first in waiting.values()])
            )
            accepted = {row.seq: row.created_at for row in connection.execute(oldest)}
        running = {str(row.stage): int(row[2]) for row in rows if row.state == JobState.RUNNING}
        found = []
        for stage in sorted({*waiting, *running}):
            count, first = waiting.get(stage, (0, 0))
            oldest_s = max(now - accepted.get(first, now), 0.0)
            found.append(StageQueue(
                stage, count, paused.get(stage, 0), running.get(stage, 0), oldest_s
            ))
        return found

    def paused_for(self) -> dict[str, int]:
        """How many jobs wait out a pause after each error, by its code; the most frequent first."""
        query = select(jobs.c.error).where(PAUSED, jobs.c.not_before > self._clock())
        errors = read_values(self._engine, query.limit(MOST_PAUSED))
        codes = Counter(str(error["code"]) for error in errors if error is not None)
        return dict(codes.most_common())

    def ended(self, within_s: float) -> list[EndedJobs]:
        """The jobs that ended in the last ``within_s`` seconds, the most frequent first."""
        taken = func.avg(jobs.c.finished_at - jobs.c.created_at)
        query = (
            select(jobs.c.operation, jobs.c.state, jobs.c.error_code, func.count(), taken)
            .where(jobs.c.finished_at > self._clock() - within_s)
            .group_by(jobs.c.operation, jobs.c.state, jobs.c.error_code)
            .order_by(func.count().desc(), jobs.c.operation)
        )
        with reading(self._engine) as connection:
            rows = connection.execute(query).all()
        return [EndedJobs(row[0], row[1], row[2], int(row[3]), float(row[4])) for row in rows]
