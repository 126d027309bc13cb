"""The batches that have not ended, of all tenants, for operators."""

from __future__ import annotations

from sqlalchemy import Engine, select

from pipeline.batches.model import Batch, BatchState
from pipeline.batches.rows import BATCH_COLUMNS, batch_from_row
from pipeline.database.engine import read_rows
from pipeline.database.schema import batches

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
