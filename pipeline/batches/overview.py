"""Batches of all tenants, for operators: those that have not ended, and lists of them."""

from __future__ import annotations

from sqlalchemy import Engine, func, select

from pipeline.batches.model import Batch, BatchState, ItemState
from pipeline.batches.rows import BATCH_COLUMNS, batch_from_row
from pipeline.database.engine import read_row, read_rows
from pipeline.database.schema import batch_items, batches

# More are not looked at: those that have rested longest come first.
MOST = 1000

_OPEN = (BatchState.READING.value, BatchState.WORKING.value)


def open_batches(engine: Engine) -> list[Batch]:
    """The batches that have not ended, at most ``MOST``; the one that has rested longest first.
    Raises ``DatabaseUnavailable``."""
    query = (
        select(*BATCH_COLUMNS).where(batches.c.state.in_(_OPEN))
        .order_by(batches.c.updated_at).limit(MOST)
    )
    return [batch_from_row(row) for row in read_rows(engine, query)]


def newest_batches(
    engine: Engine, tenant_id: int | None = None, *, before: str | None = None, limit: int = 50
) -> list[Batch]:
    """Batches of one tenant or of all, newest first: those that are older than the batch
    ``before``; none if that is gone. Raises ``DatabaseUnavailable``."""
    query = (
        select(*BATCH_COLUMNS).order_by(batches.c.created_at.desc(), batches.c.id.desc())
        .limit(limit)
    )
    if tenant_id is not None:
        query = query.where(batches.c.tenant_id == tenant_id)
    if before is not None:
        last = read_row(engine, select(batches.c.created_at).where(batches.c.id == before))
        if last is None:
            return []
        at = last.created_at
        query = query.where(
            (batches.c.created_at < at) | ((batches.c.created_at == at) & (batches.c.id < before))
        )
    return [batch_from_row(row) for row in read_rows(engine, query)]


def count_refusals(engine: Engine, batch_id: str) -> dict[str, int]:
    """How many items of a batch were rejected for each reason, the most frequent first. Raises
    ``DatabaseUnavailable``."""
    counted = func.count()
    query = (
        select(batch_items.c.reason, counted)
        .where(
            batch_items.c.batch_id == batch_id, batch_items.c.state == ItemState.REJECTED.value,
            batch_items.c.reason.is_not(None),
        )
        .group_by(batch_items.c.reason).order_by(counted.desc(), batch_items.c.reason)
    )
    return {row[0]: row[1] for row in read_rows(engine, query)}
