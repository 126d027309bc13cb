"""Rows of batches as values, and the statements that several modules share."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, case, select, update

from pipeline.batches.model import STOPPED, Batch, BatchItem, BatchOptions, BatchState, ItemState
from pipeline.database.among import among
from pipeline.database.schema import batch_items, batches
from pipeline.sources.base import About
from pipeline.webhooks.model import WebhookEvent
from pipeline.webhooks.outbox import announce

BATCH_COLUMNS = [batches.c[field.name] for field in fields(Batch)]
ITEM_COLUMNS = [
    batch_items.c[name]
    for field in fields(BatchItem)
    for name in (
        ("name", "collection", "external_id", "description")
        if field.name == "about"
        else (field.name,)
    )
]

BATCH_ID: BindParameter[str] = bindparam("batch")

IN_BATCH = batch_items.c.batch_id == BATCH_ID
IS_WAITING = batch_items.c.state == ItemState.WAITING.value
IS_LIVE = batches.c.state.not_in([state.value for state in STOPPED])

_FIND_BATCH = select(*BATCH_COLUMNS).where(batches.c.id == BATCH_ID)
# FOR NO KEY UPDATE: rows that reference the batch may be added meanwhile.
_LOCK_BATCH = _FIND_BATCH.with_for_update(key_share=True)

# Executed with the columns to set beside the parameters.
SET_BATCH = update(batches).where(batches.c.id == BATCH_ID).returning(*BATCH_COLUMNS)
SET_ITEM = update(batch_items).where(IN_BATCH, batch_items.c.number == bindparam("which"))

# Items with the bytes of these items that do not know an enrolled image yet.
DUPLICATES_OF = select(
    batch_items.c.original, batch_items.c.number, batch_items.c.collection
).where(
    IN_BATCH, among(batch_items.c.original, "numbers"),
    batch_items.c.image_ref.is_(None), batch_items.c.erased_at.is_(None),
)

_COUNTERS = ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled")
_WAITING_AFTER = batches.c.waiting + bindparam("more_waiting")
_BECOMES_DONE = (
    batches.c.exhausted & (_WAITING_AFTER == 0) & IS_LIVE
    & (batches.c.state != BatchState.DONE.value)
)
_CHANGE_COUNTERS = (
    update(batches)
    .where(batches.c.id == BATCH_ID)
    .values(
        **{name: batches.c[name] + bindparam(f"more_{name}") for name in _COUNTERS},
        state=case((_BECOMES_DONE, BatchState.DONE.value), else_=batches.c.state),
        finished_at=case((_BECOMES_DONE, bindparam("now")), else_=batches.c.finished_at),
        updated_at=bindparam("now"),
    )
    .returning(*BATCH_COLUMNS)
)


def find_batch(connection: Connection, batch_id: str) -> Batch | None:
    row = connection.execute(_FIND_BATCH, {"batch": batch_id}).one_or_none()
    return None if row is None else batch_from_row(row)


def lock_batch(connection: Connection, batch_id: str) -> Batch | None:
    """The batch, its row locked until the transaction ends."""
    row = connection.execute(_LOCK_BATCH, {"batch": batch_id}).one_or_none()
    return None if row is None else batch_from_row(row)


def change_counters(connection: Connection, batch_id: str, now: float, **changes: int) -> Batch:
    """Add to a batch's counters (``more_waiting=-1``). The batch is done once its source is
    exhausted and no item waits; then webhooks are told."""
    steps = {f"more_{name}": changes.pop(f"more_{name}", 0) for name in _COUNTERS}
    assert not changes, changes
    row = connection.execute(_CHANGE_COUNTERS, {"batch": batch_id, "now": now, **steps}).one()
    batch = batch_from_row(row)
    if batch.state is BatchState.DONE and batch.finished_at == now:
        announce_end(connection, batch, now)
    return batch


def announce_end(
    connection: Connection, batch: Batch, now: float, code: str | None = None
) -> None:
    """Write down what webhooks are told of a batch that ends at ``now``; ``code`` is that of
    the error by which it failed."""
    data = {
        "batch_id": batch.id, "status": batch.state.value, "code": code,
        "items": batch.items, "enrolled": batch.enrolled, "duplicate": batch.duplicate,
        "rejected": batch.rejected, "cancelled": batch.cancelled,
        "created_at": batch.created_at, "finished_at": now,
    }
    announce(connection, [WebhookEvent(batch.tenant_id, f"batch.{batch.state}", data)], now)


def batch_from_row(row: Row[*tuple[Any, ...]]) -> Batch:
    """The value of a row of ``BATCH_COLUMNS``."""
    values = row._asdict()
    values["options"] = BatchOptions.from_json(values["options"])
    values["state"] = BatchState(values["state"])
    return Batch(**values)


def item_from_row(row: Row[*tuple[Any, ...]]) -> BatchItem:
    """The value of a row of ``ITEM_COLUMNS``."""
    values = row._asdict()
    about = About(
        *(values.pop(name) or "" for name in ("name", "collection", "external_id", "description"))
    )
    for name in ("source_name", "sha256", "media_key", "reason", "detail"):
        values[name] = values[name] or ""
    values["state"] = ItemState(values["state"])
    values["original"] = values["original"] or 0
    return BatchItem(about=about, **values)
