"""The reasons for which a batch waits. They follow from the database alone, so that every
process and every command gives the same answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, select

from pipeline.batches.duplicate_search import is_searched, search_of
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.rows import BATCH_COLUMNS, IN_BATCH, IS_WAITING, batch_from_row
from pipeline.batches.source_errors import source_error_of
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, batches, jobs
from pipeline.jobs.model import JobState
from pipeline.jobs.statements import RUNNING, UNFINISHED
from pipeline.operations import Params, Stage

# Sources that upkeep reads at a time; each holds a page of pictures in memory (some 32 MB).
MAX_SOURCES = 8
MAX_SOURCES_PER_TENANT = 4

# Seconds of waiting that need no explanation: a free worker takes a job at once, and upkeep
# looks for sources every two seconds.
START_GRACE_S = 20.0

INTERRUPTED = "interrupted"
WAITING_TURN = "turn"
NO_UPKEEP = "no_upkeep"
NO_WORKER = "no_worker"

HOW_TO_RESUME = "Run the same command again to continue, or `faceline batches retry`."

_JOB_COLUMNS = (jobs.c.state, jobs.c.error, jobs.c.created_at, jobs.c.not_before)
_CHUNK_JOBS = select(*_JOB_COLUMNS).where(
    UNFINISHED, jobs.c.id.in_(select(batch_items.c.job_id).where(IN_BATCH, IS_WAITING))
)
_IS_BULK = jobs.c.stage == Stage.BULK.value
_BEING_READ = select(*BATCH_COLUMNS).where(
    batches.c.state == BatchState.READING.value, batches.c.submitter_until >= bindparam("now")
)


class WaitingReason(Params, frozen=True):
    """The reason for which a batch waits. ``code``: one of this module's, or that of the error that
    deferred its work; ``message``: a sentence that says what to do; ``retry_at``: when it is
    tried again, in epoch seconds, if that is known."""

    code: str
    message: str
    retry_at: float | None = None


def waiting_reason(
    engine: Engine, batch: Batch, now: float, *, is_reader: bool = False
) -> WaitingReason | None:
    """The reason for which the batch waits at ``now`` (epoch seconds); None when it does not
    wait. With ``is_reader`` the caller reads the source itself and reports its own reasons.
    Raises ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        found = None
        if batch.state is BatchState.READING and not is_reader:
            found = _source_blocker(connection, batch, now)
        if batch.state is BatchState.DONE:
            found = _search_blocker(batch, now)
        return found or _job_blocker(connection, batch, now)


def _source_blocker(connection: Connection, batch: Batch, now: float) -> WaitingReason | None:
    """Why the source of the batch is not read."""
    is_read = batch.submitter is not None and batch.submitter_until >= now
    error = source_error_of(batch)
    how_to_resume = "" if is_read or batch.options.unattended else HOW_TO_RESUME
    if error is not None:
        retry_at = None if is_read else error.retry_at
        return WaitingReason(error.code, f"{error.message} {how_to_resume}".rstrip(), retry_at)
    if is_read:
        return None
    if how_to_resume:
        return WaitingReason(INTERRUPTED, f"Its source was not read to its end. {how_to_resume}")
    if now - batch.updated_at < START_GRACE_S:
        return None
    if batch.submitter is not None:
        return WaitingReason(
            NO_UPKEEP, "The process that reads its source has stopped responding: either the "
            "store of the bucket does not answer, or `faceline upkeep` has died. It continues "
            "once the store answers or upkeep runs.",
        )
    being_read = map(batch_from_row, connection.execute(_BEING_READ, {"now": now}))
    others = [each for each in being_read if each.options.unattended]
    own = sum(each.tenant_id == batch.tenant_id for each in others)
    if len(others) >= MAX_SOURCES or own >= MAX_SOURCES_PER_TENANT:
        return WaitingReason(
            WAITING_TURN, f"It waits for its turn: {len(others)} other batches are being read, "
            f"{own} of them of the same application.",
        )
    return WaitingReason(
        NO_UPKEEP, "Its source is not being read: `faceline upkeep` does not run.",
    )


def _search_blocker(batch: Batch, now: float) -> WaitingReason | None:
    """Why the search for duplicate people has not started."""
    search = search_of(batch)
    waits = search is None or (search.state != "searching" and not is_searched(batch))
    if not waits or now - batch.updated_at < START_GRACE_S:
        return None
    return WaitingReason(
        NO_UPKEEP, "The search for duplicate people does not start: `faceline upkeep` does not "
        "run.",
    )


def _job_blocker(connection: Connection, batch: Batch, now: float) -> WaitingReason | None:
    """Why no worker runs the jobs of the batch."""
    unfinished = _unfinished_jobs(connection, batch)
    deferred = [job for job in unfinished if job.error is not None and job.state == JobState.QUEUED]
    if deferred:
        return _deferral(deferred)
    if not unfinished or any(job.state == JobState.RUNNING for job in unfinished):
        return None
    if now - min(max(job.created_at, job.not_before) for job in unfinished) < START_GRACE_S:
        return None
    active = _active_batches(connection, now)
    if batch.id in active:
        return None
    if active:
        return WaitingReason(
            WAITING_TURN, "It waits for its turn: the workers of the stage `bulk` work on "
            "other batches.",
        )
    return WaitingReason(
        NO_WORKER, "No worker takes its jobs: start one with `faceline worker --stages bulk`, "
        "or run `faceline doctor`.",
    )


def _unfinished_jobs(connection: Connection, batch: Batch) -> Sequence[Row[*tuple[Any, ...]]]:
    """The jobs of its chunks while items wait, else the job that searches it."""
    if batch.waiting:
        return connection.execute(_CHUNK_JOBS, {"batch": batch.id}).all()
    search = search_of(batch) if batch.state is BatchState.DONE else None
    if search is None or search.state != "searching":
        return []
    return connection.execute(
        select(*_JOB_COLUMNS).where(UNFINISHED, jobs.c.id == search.job)
    ).all()


def _deferral(deferred: Sequence[Row[*tuple[Any, ...]]]) -> WaitingReason:
    """The most frequent error among deferred jobs."""
    errors = Counter((str(job.error["code"]), str(job.error["message"])) for job in deferred)
    ((code, message), _), = errors.most_common(1)
    return WaitingReason(code, message, min(job.not_before for job in deferred))


def _active_batches(connection: Connection, now: float) -> set[str]:
    """Batches that have a running job or one that ended within ``START_GRACE_S``."""
    running = select(jobs.c.params).where(RUNNING, _IS_BULK)
    ended = select(jobs.c.params).where(_IS_BULK, jobs.c.finished_at > now - START_GRACE_S)
    found = (connection.execute(query).scalars() for query in (running, ended))
    return {params["batch"] for some in found for params in some}
