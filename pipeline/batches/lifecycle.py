"""How batches are cancelled, retried and forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, delete, func, select, update

from pipeline.batches.model import NOT_IN_SOURCE, STOPPED, Batch, BatchState, ItemState
from pipeline.batches.refused_pictures import discard_pictures
from pipeline.batches.rows import (
    DUPLICATES_OF,
    SET_BATCH,
    announce_end,
    change_counters,
    lock_batch,
)
from pipeline.database.engine import read_values, writing
from pipeline.database.schema import batch_items, batches, refused_pictures
from pipeline.errors import BatchBusy, BatchNotFound
from pipeline.gallery.trash import discard_selected

# SQLite blocks other writers for some ten milliseconds while this many items change.
ITEMS_PER_TRANSACTION = 2000

_OPEN_STATES = (ItemState.WAITING.value, ItemState.AGAIN.value)


def reject_missing(connection: Connection, batch: Batch) -> int:
    """Reject the items that were to be read again and are no longer in the source; how many."""
    return connection.execute(
        update(batch_items)
        .where(batch_items.c.batch_id == batch.id, batch_items.c.state == ItemState.AGAIN.value)
        .values(state=ItemState.REJECTED.value, reason=NOT_IN_SOURCE)
    ).rowcount


def cancel(
    connection: Connection, batch_id: str, now: float,
    state: BatchState = BatchState.CANCELLED, code: str | None = None,
) -> tuple[Batch, list[str]]:
    """Cancel the items without an outcome; the batch, now in ``state``, because of the error
    ``code`` if it has failed, and the ids of the jobs that are to be cancelled. A batch that has
    ended stays as it is."""
    batch = _locked(connection, batch_id)
    if batch.ended:
        return batch, []
    jobs: set[str] = set()
    cancelled = 0
    for open_state in _OPEN_STATES:
        is_open = (batch_items.c.batch_id == batch_id, batch_items.c.state == open_state)
        job_ids = select(batch_items.c.job_id).where(*is_open, batch_items.c.job_id.is_not(None))
        jobs.update(filter(None, connection.execute(job_ids.distinct()).scalars()))
        stored = select(batch_items.c.media_key).where(
            *is_open, batch_items.c.media_key.is_not(None)
        )
        discard_selected(connection, batch.tenant_id, stored, now)
        cancelled += connection.execute(
            update(batch_items).where(*is_open)
            .values(state=ItemState.CANCELLED.value, media_key=None, job_id=None)
        ).rowcount
    connection.execute(
        SET_BATCH,
        {
            "batch": batch_id, "state": state.value, "finished_at": now,
            "submitter": None, "submitter_until": 0.0,
        },
    )
    after = change_counters(
        connection, batch_id, now, more_waiting=-cancelled, more_cancelled=cancelled
    )
    announce_end(connection, after, now, code)
    return after, sorted(jobs)


def retry(
    connection: Connection, batch_id: str, state: ItemState, reasons: Sequence[str] | None,
    now: float,
) -> int:
    """Mark up to ``ITEMS_PER_TRANSACTION`` items of one state to be read again, and the
    items with the same bytes; how many, without the latter."""
    batch = _locked(connection, batch_id)
    chosen = [
        batch_items.c.batch_id == batch_id,
        batch_items.c.state == state.value,
        batch_items.c.erased_at.is_(None),  # erased people are not enrolled again
    ]
    if reasons is not None:
        chosen.append(batch_items.c.reason.in_(list(reasons)))
    numbers = connection.execute(
        select(batch_items.c.number).where(*chosen).limit(ITEMS_PER_TRANSACTION)
    ).scalars().all()
    if numbers or batch.state in STOPPED:
        connection.execute(
            SET_BATCH,
            {
                "batch": batch_id, "state": BatchState.READING.value, "exhausted": False,
                "finished_at": None, "findings": None, "source_error": None,
            },
        )
    if not numbers:
        return 0
    # With the duplicates: one of them may be the only one still in the source.
    duplicates = connection.execute(DUPLICATES_OF, {"batch": batch_id, "numbers": numbers}).all()
    retried = [*numbers, *(row.number for row in duplicates)]
    discard_pictures(
        connection,
        (refused_pictures.c.batch_id == batch_id) & refused_pictures.c.number.in_(retried), now,
    )
    connection.execute(
        update(batch_items)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.number.in_(retried))
        .values(
            state=ItemState.AGAIN.value, reason=None, detail=None, criteria=None, job_id=None,
            media_key=None, picture_hash=None, original=None,
        )
    )
    change_counters(
        connection, batch.id, now, more_waiting=len(retried), more_duplicate=-len(duplicates),
        **{f"more_{state}": -len(numbers)},
    )
    return len(numbers)


def close(connection: Connection, batch_id: str, now: float) -> None:
    """Prevent a batch that is to be forgotten from being continued. Raises ``BatchBusy``
    while it is read or items wait."""
    batch = _locked(connection, batch_id)
    waiting = connection.execute(
        select(batch_items.c.number)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.state == ItemState.WAITING.value)
        .limit(1)
    ).first()
    if waiting is not None or (batch.submitter is not None and batch.submitter_until >= now):
        raise BatchBusy("The batch is not done; cancel it first.")
    connection.execute(SET_BATCH, {"batch": batch_id, "state": BatchState.CANCELLED.value})


def remove(engine: Engine, batch_id: str, now: float) -> None:
    """Delete a batch's rows and pictures, some of them in each transaction."""
    in_batch = batch_items.c.batch_id == batch_id
    while True:
        with writing(engine) as connection:
            first = connection.execute(
                select(func.min(batch_items.c.number)).where(in_batch)
            ).scalar()
            if first is None:
                discard_pictures(connection, refused_pictures.c.batch_id == batch_id, now)
                connection.execute(delete(batches).where(batches.c.id == batch_id))
                return
            last = first + ITEMS_PER_TRANSACTION
            connection.execute(delete(batch_items).where(in_batch, batch_items.c.number < last))


def expired(engine: Engine, now: float, older_than_s: float, limit: int) -> list[str]:
    """Batches that have not changed for so long, in whatever state, oldest first."""
    query = (
        select(batches.c.id)
        .where(batches.c.updated_at < now - older_than_s, batches.c.submitter_until < now)
        .order_by(batches.c.updated_at).limit(limit)
    )
    return read_values(engine, query)


def _locked(connection: Connection, batch_id: str) -> Batch:
    batch = lock_batch(connection, batch_id)
    if batch is None:
        raise BatchNotFound
    return batch
