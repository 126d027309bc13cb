"""Why a batch does not get on."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Engine, select

from pipeline.batches.statements import OF_BATCH, WAITS
from pipeline.database.engine import reading
from pipeline.database.schema import batch_items, jobs
from pipeline.jobs.statements import QUEUED

_HINDERED = select(jobs.c.error).where(
    QUEUED, jobs.c.error.is_not(None),
    jobs.c.id.in_(select(batch_items.c.job_id).where(OF_BATCH, WAITS)),
)


def hindrance_of(engine: Engine, batch_id: str) -> str:
    """What the jobs of a batch were last put aside for and wait to pass, as a sentence;
    empty: nothing. Raises ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        errors = list(connection.execute(_HINDERED, {"batch": batch_id}).scalars())
    said = Counter(str(error["message"]) for error in errors)
    return said.most_common(1)[0][0] if said else ""
