"""How the deliveries of all webhooks stand, for operators."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import reading
from pipeline.database.schema import webhook_deliveries
from pipeline.webhooks.model import DeliveryState


@dataclass(frozen=True, slots=True)
class DeliveryBacklog:
    """Deliveries that wait, those that were given up, and the seconds since the oldest waiting
    one was written (0: none waits)."""

    waiting: int
    dead: int
    oldest_s: float


def delivery_backlog(engine: Engine, clock: Clock | None = None) -> DeliveryBacklog:
    """``clock`` gives epoch seconds; None: the database's. Raises ``DatabaseUnavailable``."""
    rows = webhook_deliveries.c
    waiting = select(func.count(), func.min(rows.created_at)).where(rows.ended_at.is_(None))
    dead = select(func.count()).where(
        rows.ended_at.is_not(None), rows.state == DeliveryState.DEAD.value
    )
    with reading(engine) as connection:
        count, oldest = connection.execute(waiting).one()
        given_up = connection.execute(dead).scalar_one()
    now = database_clock(engine, clock)()
    return DeliveryBacklog(int(count), int(given_up), max(now - (oldest or now), 0.0))
