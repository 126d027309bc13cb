"""How batches end before their time, begin again and are forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine, delete, func, select, update

from pipeline.batches.model import NOT_IN_SOURCE, STOPPED, Batch, BatchState, ItemState
from pipeline.batches.statements import (
    CHANGE_COUNTERS,
    DUPLICATES_OF,
    SET_BATCH,
    batch_of,
    lock_batch,
)
from pipeline.database.engine import reading, writing
from pipeline.database.schema import batch_items, batches
from pipeline.errors import BatchBusy, BatchNotFound
from pipeline.gallery.trash import discard_selected

# Items changed in one transaction: SQLite lets nobody else write for some ten
# milliseconds.
ITEMS_PER_TRANSACTION = 2000

COUNTERS = ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled")

_OPEN_STATES = (ItemState.WAITING.value, ItemState.AGAIN.value)


def change_counters(connection: Connection, batch_id: str, now: float, **changes: int) -> Batch:
    """Change a batch's counters (``more_waiting=-1``); it is done when that was the last
    that waited of a source that is read."""
    steps = {f"more_{name}": changes.pop(f"more_{name}", 0) for name in COUNTERS}
    assert not changes, changes
    row = connection.execute(CHANGE_COUNTERS, {"batch": batch_id, "now": now, **steps}).one()
    return batch_of(row)


def reject_missing(connection: Connection, batch: Batch) -> int:
    """Reject the items that were to be read again and are not in the source any more."""
    return connection.execute(
        update(batch_items)
        .where(
            batch_items.c.batch_id == batch.id, batch_items.c.state == ItemState.AGAIN.value
        )
        .values(state=ItemState.REJECTED.value, reason=NOT_IN_SOURCE)
    ).rowcount


def cancel(
    connection: Connection, batch_id: str, now: float,
    state: BatchState = BatchState.CANCELLED,
) -> tuple[Batch, list[str]]:
    """End what has not ended; the batch, which has this ``state`` then, and the jobs that
    it leaves behind."""
    batch = _locked(connection, batch_id)
    if batch.ended:
        return batch, []
    jobs: set[str] = set()
    ended = 0
    for open_state in _OPEN_STATES:
        mine = (batch_items.c.batch_id == batch_id, batch_items.c.state == open_state)
        held = select(batch_items.c.job_id).where(*mine, batch_items.c.job_id.is_not(None))
        jobs.update(filter(None, connection.execute(held.distinct()).scalars()))
        stored = select(batch_items.c.media_key).where(
            *mine, batch_items.c.media_key.is_not(None)
        )
        discard_selected(connection, batch.tenant_id, stored, now)
        ended += connection.execute(
            update(batch_items).where(*mine)
            .values(state=ItemState.CANCELLED.value, media_key=None, job_id=None)
        ).rowcount
    connection.execute(
        SET_BATCH,
        {
            "batch": batch_id, "state": state.value, "finished_at": now,
            "submitter": None, "submitter_until": 0.0,
        },
    )
    after = change_counters(connection, batch_id, now, more_waiting=-ended, more_cancelled=ended)
    return after, sorted(jobs)


def retry(
    connection: Connection, batch_id: str, state: ItemState, reasons: Sequence[str] | None,
    now: float,
) -> int:
    """Let up to ``PORTION`` items of one state be read again; how many it were."""
    batch = _locked(connection, batch_id)
    chosen = [
        batch_items.c.batch_id == batch_id,
        batch_items.c.state == state.value,
        # who was erased does not come back
        batch_items.c.erased_at.is_(None),
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
                "finished_at": None, "findings": None, "trouble": None,
            },
        )
    if not numbers:
        return 0
    # With those that have the same bytes: one of them may be all that is left of these.
    doubles = connection.execute(DUPLICATES_OF, {"batch": batch_id, "numbers": numbers}).all()
    again = [*numbers, *(row.number for row in doubles)]
    connection.execute(
        update(batch_items)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.number.in_(again))
        .values(
            state=ItemState.AGAIN.value, reason=None, detail=None, judged=None, job_id=None,
            media_key=None, picture_mark=None, original=None,
        )
    )
    change_counters(
        connection, batch.id, now, more_waiting=len(again), more_duplicate=-len(doubles),
        **{f"more_{state}": -len(numbers)},
    )
    return len(numbers)


def close(connection: Connection, batch_id: str, now: float) -> None:
    """Keep anybody from going on with a batch that is to be forgotten. Raises
    ``BatchBusy`` while somebody does."""
    batch = _locked(connection, batch_id)
    waits = connection.execute(
        select(batch_items.c.number)
        .where(
            batch_items.c.batch_id == batch_id,
            batch_items.c.state == ItemState.WAITING.value,
        )
        .limit(1)
    ).first()
    if waits is not None or (batch.submitter is not None and batch.submitter_until >= now):
        raise BatchBusy("The batch is not done; cancel it first.")
    connection.execute(SET_BATCH, {"batch": batch_id, "state": BatchState.CANCELLED.value})


def remove(engine: Engine, batch_id: str) -> None:
    """Remove a batch's rows, a portion at a time."""
    mine = batch_items.c.batch_id == batch_id
    while True:
        with writing(engine) as connection:
            first = connection.execute(select(func.min(batch_items.c.number)).where(mine)).scalar()
            if first is None:
                connection.execute(delete(batches).where(batches.c.id == batch_id))
                return
            connection.execute(
                delete(batch_items).where(
                    mine, batch_items.c.number < first + ITEMS_PER_TRANSACTION
                )
            )


def expired(engine: Engine, now: float, older_than_s: float, limit: int) -> list[str]:
    """Batches of which nothing was heard for so long, whatever state they are in."""
    query = (
        select(batches.c.id)
        .where(batches.c.updated_at < now - older_than_s, batches.c.submitter_until < now)
        .order_by(batches.c.updated_at).limit(limit)
    )
    with reading(engine) as connection:
        return list(connection.execute(query).scalars())


def _locked(connection: Connection, batch_id: str) -> Batch:
    batch = lock_batch(connection, batch_id)
    if batch is None:
        raise BatchNotFound
    return batch
