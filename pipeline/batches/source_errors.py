"""Why a batch's source cannot be read, as the batch's record keeps it: who reads it in the
background has nobody to tell."""

from __future__ import annotations

from sqlalchemy import Connection

from pipeline.batches import lifecycle
from pipeline.batches.model import Batch, BatchState
from pipeline.batches.statements import SET_BATCH, lock_batch
from pipeline.errors import FaceError
from pipeline.operations import Params
from pipeline.types import JsonObject

# Seconds until the next try after one that failed; doubled with each failure in a row.
RETRY_PAUSE_S = 10.0
MAX_RETRY_PAUSE_S = 960.0

MAX_MESSAGE = 500  # characters of a message


class SourceError(Params, frozen=True, kw_only=True):
    """What ``Batch.waiting_text`` holds. ``code`` and ``message`` are those of the last error;
    ``since`` (epoch seconds) nothing of the source could be recorded, in ``tries`` in a
    row; ``retry_at`` is when the service tries again, None: it does not."""

    code: str
    message: str
    since: float
    tries: int
    retry_at: float | None = None


def source_error_of(batch: Batch) -> SourceError | None:
    """What keeps the batch's source from being read; None: nothing."""
    return None if batch.trouble is None else SourceError.from_json(batch.trouble)


def failure_of(batch: Batch) -> JsonObject | None:
    """Why a batch has failed; None for one that has not."""
    trouble = source_error_of(batch)
    if batch.state is not BatchState.FAILED or trouble is None:
        return None
    return {"code": trouble.code, "message": trouble.message}


def record(
    connection: Connection, batch_id: str, error: FaceError, now: float,
    give_up_after_s: float | None = None,
) -> list[tuple[int, str]]:
    """Record that a batch's source could not be read. A batch that nobody attends is tried
    again after a rest, and ends as failed after ``patience_s`` of it; its jobs that are to
    be cancelled then, each with the tenant."""
    batch = lock_batch(connection, batch_id)
    if batch is None or batch.ended:
        return []
    before = source_error_of(batch)
    since, tries = (now, 0) if before is None else (before.since, before.tries)
    attended = give_up_after_s is None
    given_up = give_up_after_s is not None and now - since >= give_up_after_s
    rest_s = min(RETRY_PAUSE_S * 2 ** min(tries, 10), MAX_RETRY_PAUSE_S)
    trouble = SourceError(
        code=error.code, message=error.message[:MAX_MESSAGE], since=since, tries=tries + 1,
        retry_at=None if attended or given_up else now + rest_s,
    )
    connection.execute(SET_BATCH, {"batch": batch_id, "trouble": trouble.to_json()})
    if not given_up:
        return []
    _, left = lifecycle.cancel(connection, batch_id, now, BatchState.FAILED)
    return [(batch.tenant_id, job_id) for job_id in left]
