"""Why a batch's source cannot be read, as the batch's row keeps it: the background reader
has no terminal to report to."""

from __future__ import annotations

from sqlalchemy import Connection

from pipeline.batches import lifecycle
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.rows import SET_BATCH, lock_batch
from pipeline.errors import FaceError
from pipeline.operations import Params
from pipeline.types import JsonObject

# Seconds from a failure to the next try; doubled with each failure in a row.
RETRY_PAUSE_S = 10.0
MAX_RETRY_PAUSE_S = 960.0

MAX_MESSAGE = 500  # characters


class SourceError(Params, frozen=True, kw_only=True):
    """The value of ``Batch.source_error``. ``code`` and ``message`` are those of the last
    error. ``since`` (epoch seconds) nothing could be recorded, in ``tries`` tries in a row.
    ``retry_at`` is when the service tries again; None: it does not."""

    code: str
    message: str
    since: float
    tries: int
    retry_at: float | None = None


def source_error_of(batch: Batch) -> SourceError | None:
    """Why the batch's source cannot be read; None when it can."""
    return None if batch.source_error is None else SourceError.from_json(batch.source_error)


def is_due(batch: Batch, now: float) -> bool:
    """Whether the pause after the last failure is over. A pause that is too long
    means that the clock was set back."""
    error = source_error_of(batch)
    return error is None or not now < (error.retry_at or 0.0) <= now + MAX_RETRY_PAUSE_S


def failure_of(batch: Batch) -> JsonObject | None:
    """Why a batch has failed; None for one that has not."""
    error = source_error_of(batch)
    if batch.state is not BatchState.FAILED or error is None:
        return None
    return {"code": error.code, "message": error.message}


def record(
    connection: Connection, batch_id: str, error: FaceError, now: float,
    give_up_after_s: float | None = None,
) -> list[tuple[int, str]]:
    """Record that a batch's source could not be read. With ``give_up_after_s`` it is tried
    again after a pause, and the batch fails once the errors have lasted so long; the
    (tenant, job) pairs that are to be cancelled then."""
    batch = lock_batch(connection, batch_id)
    if batch is None or batch.ended:
        return []
    before = source_error_of(batch)
    since, tries = (now, 0) if before is None else (before.since, before.tries)
    given_up = give_up_after_s is not None and now - since >= give_up_after_s
    pause_s = min(RETRY_PAUSE_S * 2 ** min(tries, 10), MAX_RETRY_PAUSE_S)
    recorded = SourceError(
        code=error.code, message=error.message[:MAX_MESSAGE], since=since, tries=tries + 1,
        retry_at=None if give_up_after_s is None or given_up else now + pause_s,
    )
    connection.execute(SET_BATCH, {"batch": batch_id, "source_error": recorded.to_json()})
    if not given_up:
        return []
    _, left = lifecycle.cancel(connection, batch_id, now, BatchState.FAILED, error.code)
    return [(batch.tenant_id, job_id) for job_id in left]
