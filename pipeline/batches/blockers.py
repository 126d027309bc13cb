"""What a batch waits for, in one place for all who ask: found in the database alone, so
that it is the same wherever it is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select

from pipeline.batches.duplicate_search import is_searched, search_of
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.source_errors import source_error_of
from pipeline.batches.statements import IN_BATCH, IS_WAITING, batches_being_read
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, jobs
from pipeline.jobs.model import JobState
from pipeline.jobs.statements import RUNNING, UNFINISHED
from pipeline.plans import Stage
from pipeline.types import JsonObject

# Sources that upkeep reads at a time, each with a page of pictures in memory (some 32 MB);
# and those of one tenant among them, so that there is a place for others.
MAX_SOURCES = 8
MAX_SOURCES_PER_TENANT = 4

# Seconds after which it is asked why nobody has begun: a worker that is free takes a job
# at once, and upkeep looks every two seconds for a source.
START_GRACE_S = 20.0

INTERRUPTED = "interrupted"
WAITING_TURN = "turn"
NO_UPKEEP = "no_upkeep"
NO_WORKER = "no_worker"

HOW_TO_RESUME = "The same command goes on, or `faceline batches retry`."

_JOB_COLUMNS = (jobs.c.state, jobs.c.error, jobs.c.created_at, jobs.c.not_before)
_CHUNK_JOBS = select(*_JOB_COLUMNS).where(
    UNFINISHED, jobs.c.id.in_(select(batch_items.c.job_id).where(IN_BATCH, IS_WAITING))
)
_IS_BULK = jobs.c.stage == Stage.BULK.value


@dataclass(frozen=True, slots=True)
class WaitingReason:
    """What a batch waits for. ``code``: one of this module's, or of the error that put its
    work aside; ``message``: a sentence that says what to do; ``retry_at``: when it is tried
    again, in epoch seconds, as far as that is known."""

    code: str
    message: str
    retry_at: float | None = None

    def as_json(self) -> JsonObject:
        """It as programs are shown it."""
        return {"code": self.code, "message": self.message, "retry_at": self.retry_at}


def waiting_reason(
    engine: Engine, batch: Batch, now: float, *, is_reader: bool = False
) -> WaitingReason | None:
    """What keeps a batch from getting on at ``now`` (epoch seconds); None: nothing. Who is
    its ``reader`` knows himself what he waits for. Raises ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        found = None
        if batch.state is BatchState.READING and not is_reader:
            found = _source_blocker(connection, batch, now)
        if batch.state is BatchState.DONE:
            found = _search_blocker(batch, now)
        return found or _job_blocker(connection, batch, now)


def _source_blocker(connection: Connection, batch: Batch, now: float) -> WaitingReason | None:
    """Why its source is not read."""
    is_read = batch.submitter is not None and batch.submitter_until >= now
    trouble = source_error_of(batch)
    goes_on = "" if is_read or batch.options.unattended else HOW_TO_RESUME
    if trouble is not None:
        retry_at = None if is_read else trouble.retry_at
        return WaitingReason(trouble.code, f"{trouble.message} {goes_on}".rstrip(), retry_at)
    if is_read:
        return None
    if goes_on:
        return WaitingReason(INTERRUPTED, f"Its source is not read to its end. {goes_on}")
    if now - batch.updated_at < START_GRACE_S:
        return None
    if batch.submitter is not None:
        return WaitingReason(
            NO_UPKEEP, "Who reads its source gives no sign: the store of the bucket does not "
            "answer, or upkeep died. It goes on as soon as the one answers or the other runs.",
        )
    others = [each for each in batches_being_read(connection, now) if each.options.unattended]
    own = sum(each.tenant_id == batch.tenant_id for each in others)
    if len(others) >= MAX_SOURCES or own >= MAX_SOURCES_PER_TENANT:
        return WaitingReason(
            WAITING_TURN,
            f"Its turn: {len(others)} other batches are read at this moment, {own} of "
            "them of the same application.",
        )
    return WaitingReason(
        NO_UPKEEP, "Nobody reads its source: `faceline upkeep` does not run, or runs without "
        "FACELINE_IMPORT_URL.",
    )


def _search_blocker(batch: Batch, now: float) -> WaitingReason | None:
    """Why the search for doubles is not begun."""
    search = search_of(batch)
    waits = search is None or (search.state != "searching" and not is_searched(batch))
    if not waits or now - batch.updated_at < START_GRACE_S:
        return None
    return WaitingReason(
        NO_UPKEEP, "Nobody begins to search it for doubles: `faceline upkeep` does not run.",
    )


def _job_blocker(connection: Connection, batch: Batch, now: float) -> WaitingReason | None:
    """Why nobody works at what was read of it, or searches it."""
    its = _unfinished_jobs(connection, batch)
    aside = [job for job in its if job.error is not None and job.state == JobState.QUEUED]
    if aside:
        return _deferral(aside)
    if not its or any(job.state == JobState.RUNNING for job in its):
        return None
    if now - min(max(job.created_at, job.not_before) for job in its) < START_GRACE_S:
        return None
    served = _active_batches(connection, now)
    if batch.id in served:
        return None
    if served:
        return WaitingReason(
            WAITING_TURN, "Its turn: the workers of the stage `bulk` are at other batches."
        )
    return WaitingReason(
        NO_WORKER, "No worker takes its jobs: start one with `faceline worker --stages bulk`, "
        "or look at `faceline doctor`.",
    )


def _unfinished_jobs(connection: Connection, batch: Batch) -> Sequence[Row[*tuple[Any, ...]]]:
    if batch.waiting:
        return connection.execute(_CHUNK_JOBS, {"batch": batch.id}).all()
    search = search_of(batch) if batch.state is BatchState.DONE else None
    if search is None or search.state != "searching":
        return []
    return connection.execute(
        select(*_JOB_COLUMNS).where(UNFINISHED, jobs.c.id == search.job)
    ).all()


def _deferral(aside: Sequence[Row[*tuple[Any, ...]]]) -> WaitingReason:
    """What most of them were put aside for."""
    said = Counter((str(job.error["code"]), str(job.error["message"])) for job in aside)
    ((code, message), _), = said.most_common(1)
    return WaitingReason(code, message, min(job.not_before for job in aside))


def _active_batches(connection: Connection, now: float) -> set[str]:
    """Batches at which a worker works, or has worked a moment ago."""
    running = select(jobs.c.params).where(RUNNING, _IS_BULK)
    ended = select(jobs.c.params).where(_IS_BULK, jobs.c.finished_at > now - START_GRACE_S)
    found = (connection.execute(query).scalars() for query in (running, ended))
    return {params["batch"] for some in found for params in some}
