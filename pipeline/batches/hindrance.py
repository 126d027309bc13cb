"""What a batch waits for, in one place for all who ask: found in the database alone, so
that it is the same wherever it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from pipeline.batches.findings import is_searched, search_of
from pipeline.batches.model import Batch, BatchState, JsonObject
from pipeline.batches.statements import OF_BATCH, WAITS, being_read
from pipeline.batches.trouble import trouble_of
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, jobs
from pipeline.jobs.model import JobState
from pipeline.jobs.statements import RUNNING, UNFINISHED
from pipeline.plans import Stage

# Sources that upkeep reads at a time, each with a page of pictures in memory (some 32 MB);
# and those of one tenant among them, so that there is a place for others.
MOST = 8
MOST_OF_ONE = 4

# Seconds after which it is asked why nobody has begun: a worker that is free takes a job
# at once, and upkeep looks every two seconds for a source.
QUIET_S = 20.0

INTERRUPTED = "interrupted"
TURN = "turn"
NO_UPKEEP = "no_upkeep"
NO_WORKER = "no_worker"

GOES_ON = "The same command goes on, or `faceline batches retry`."

_JOBS = (jobs.c.state, jobs.c.error, jobs.c.created_at, jobs.c.not_before)
_ITS_JOBS = select(*_JOBS).where(
    UNFINISHED, jobs.c.id.in_(select(batch_items.c.job_id).where(OF_BATCH, WAITS))
)
_IS_BULK = jobs.c.stage == Stage.BULK.value


@dataclass(frozen=True, slots=True)
class Hindrance:
    """What a batch waits for. ``code``: one of this module's, or of the error that put its
    work aside; ``message``: a sentence that says what to do; ``retry_at``: when it is tried
    again, in epoch seconds, as far as that is known."""

    code: str
    message: str
    retry_at: float | None = None

    def shown(self) -> JsonObject:
        """It as programs are shown it."""
        return {"code": self.code, "message": self.message, "retry_at": self.retry_at}


def hindrance_of(
    engine: Engine, batch: Batch, now: float, *, reader: bool = False
) -> Hindrance | None:
    """What keeps a batch from getting on at ``now`` (epoch seconds); None: nothing. Who is
    its ``reader`` knows himself what he waits for. Raises ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        found = None
        if batch.state is BatchState.READING and not reader:
            found = _of_source(connection, batch, now)
        if batch.state is BatchState.DONE:
            found = _of_search(batch, now)
        return found or _of_jobs(connection, batch, now)


def _of_source(connection: Connection, batch: Batch, now: float) -> Hindrance | None:
    """Why its source is not read."""
    is_read = batch.submitter is not None and batch.submitter_until >= now
    trouble = trouble_of(batch)
    goes_on = "" if is_read or batch.options.unattended else GOES_ON
    if trouble is not None:
        retry_at = None if is_read else trouble.retry_at
        return Hindrance(trouble.code, f"{trouble.message} {goes_on}".rstrip(), retry_at)
    if is_read:
        return None
    if goes_on:
        return Hindrance(INTERRUPTED, f"Its source is not read to its end. {goes_on}")
    if now - batch.updated_at < QUIET_S:
        return None
    if batch.submitter is not None:
        return Hindrance(
            NO_UPKEEP, "Who reads its source gives no sign: the store of the bucket does not "
            "answer, or upkeep died. It goes on as soon as the one answers or the other runs.",
        )
    others = [each for each in being_read(connection, now) if each.options.unattended]
    own = sum(each.tenant_id == batch.tenant_id for each in others)
    if len(others) >= MOST or own >= MOST_OF_ONE:
        return Hindrance(
            TURN, f"Its turn: {len(others)} other batches are read at this moment, {own} of "
            "them of the same application.",
        )
    return Hindrance(
        NO_UPKEEP, "Nobody reads its source: `faceline upkeep` does not run, or runs without "
        "FACELINE_IMPORT_URL.",
    )


def _of_search(batch: Batch, now: float) -> Hindrance | None:
    """Why the search for doubles is not begun."""
    search = search_of(batch)
    waits = search is None or (search.state != "searching" and not is_searched(batch))
    if not waits or now - batch.updated_at < QUIET_S:
        return None
    return Hindrance(
        NO_UPKEEP, "Nobody begins to search it for doubles: `faceline upkeep` does not run.",
    )


def _of_jobs(connection: Connection, batch: Batch, now: float) -> Hindrance | None:
    """Why nobody works at what was read of it, or searches it."""
    its = _its_jobs(connection, batch)
    aside = [job for job in its if job.error is not None and job.state == JobState.QUEUED]
    if aside:
        return _put_aside(aside)
    if not its or any(job.state == JobState.RUNNING for job in its):
        return None
    if now - min(max(job.created_at, job.not_before) for job in its) < QUIET_S:
        return None
    served = _served(connection, now)
    if batch.id in served:
        return None
    if served:
        return Hindrance(TURN, "Its turn: the workers of the stage `bulk` are at other batches.")
    return Hindrance(
        NO_WORKER, "No worker takes its jobs: start one with `faceline worker --stages bulk`, "
        "or look at `faceline doctor`.",
    )


def _its_jobs(connection: Connection, batch: Batch) -> Sequence[Row[*tuple[Any, ...]]]:
    if batch.waiting:
        return connection.execute(_ITS_JOBS, {"batch": batch.id}).all()
    search = search_of(batch) if batch.state is BatchState.DONE else None
    if search is None or search.state != "searching":
        return []
    return connection.execute(
        select(*_JOBS).where(UNFINISHED, jobs.c.id == search.job)
    ).all()


def _put_aside(aside: Sequence[Row[*tuple[Any, ...]]]) -> Hindrance:
    """What most of them were put aside for."""
    said = Counter((str(job.error["code"]), str(job.error["message"])) for job in aside)
    ((code, message), _), = said.most_common(1)
    return Hindrance(code, message, min(job.not_before for job in aside))


def _served(connection: Connection, now: float) -> set[str]:
    """Batches at which a worker works, or has worked a moment ago."""
    running = select(jobs.c.params).where(RUNNING, _IS_BULK)
    ended = select(jobs.c.params).where(_IS_BULK, jobs.c.finished_at > now - QUIET_S)
    found = (connection.execute(query).scalars() for query in (running, ended))
    return {params["batch"] for some in found for params in some}
