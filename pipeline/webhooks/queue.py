"""The sender's side of the outbox: which deliveries are due, and what became of them.

A claim postpones a delivery by the time that an attempt may take, and raises its number of
attempts, which is the claim's fence. A sender that dies leaves a delivery that is due again.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, bindparam, func, select, update

from pipeline.database.clock import Clock
from pipeline.database.engine import change_rows, read_rows, read_values, writing
from pipeline.database.schema import webhook_deliveries, webhooks
from pipeline.webhooks.model import TEST_EVENT, Attempt, DeliveryState

# Seconds until the next attempt: as long as there have been attempts, within these bounds
# and changed by up to a fifth, so that many do not come at once.
SHORTEST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 6 * 3600.0
JITTER = 0.2

# Seconds without any attempt after a failure: a receiver that is away gets one request at a
# time, and its return is noticed soon.
LONGEST_ENDPOINT_PAUSE_S = 300.0

# Seconds at most for which a receiver can postpone the next attempt (``Retry-After``).
MOST_RETRY_AFTER_S = 24 * 3600.0

# Attempts of one webhook at a time, so that a slow receiver leaves room for others.
SHARE = 4

GONE = 410

MAX_ERROR_CHARS = 200  # the column of the schema

_WAITS = webhook_deliveries.c.ended_at.is_(None)
_MINE = webhook_deliveries.c.webhook_id == bindparam("webhook")

_first_due = (
    select(func.min(webhook_deliveries.c.due_at))
    .where(webhook_deliveries.c.webhook_id == webhooks.c.id, _WAITS)
    .correlate(webhooks).scalar_subquery()
)
_DUE_WEBHOOKS = (
    select(webhooks.c.id, webhooks.c.failing_since)
    .where(
        webhooks.c.disabled_at.is_(None), webhooks.c.paused_until <= bindparam("now"),
        _first_due <= bindparam("now"),
    )
    .order_by(_first_due)
)
_DUE = (
    select(webhook_deliveries.c.seq)
    .where(_MINE, _WAITS, webhook_deliveries.c.due_at <= bindparam("now"))
    .order_by(webhook_deliveries.c.due_at, webhook_deliveries.c.seq)
    .limit(bindparam("most")).with_for_update(skip_locked=True)
)
_CLAIM = (
    update(webhook_deliveries)
    .where(webhook_deliveries.c.seq.in_(bindparam("seqs", expanding=True)), _WAITS)
    .values(attempts=webhook_deliveries.c.attempts + 1, due_at=bindparam("until"))
    .returning(
        *(webhook_deliveries.c[name] for name in
          ("seq", "attempts", "id", "type", "payload", "since"))
    )
)
_TARGET = select(
    webhooks.c.url, webhooks.c.secret, webhooks.c.former_secret, webhooks.c.former_until,
    webhooks.c.failing_since,
).where(webhooks.c.id == bindparam("webhook"))

# Executed with the columns to set beside the parameters.
_HELD = update(webhook_deliveries).where(
    webhook_deliveries.c.seq == bindparam("held"), _WAITS,
    webhook_deliveries.c.attempts == bindparam("fence"),
)
_SET_WAITING = update(webhook_deliveries).where(_MINE, _WAITS)


@dataclass(frozen=True, slots=True)
class DeliveryQueue:
    """``retry_for_s`` after its event, a delivery is given up. ``clock`` gives epoch seconds;
    ``jitter`` a number from 0 to 1. All methods raise ``DatabaseUnavailable``."""

    engine: Engine
    retry_for_s: float
    clock: Clock
    jitter: Callable[[], float] = random.random

    def claim(
        self, most: int, lease_s: float, in_flight: Mapping[int, int]
    ) -> list[Attempt]:
        """At most ``most`` due deliveries, which nobody else gets for ``lease_s`` seconds;
        ``in_flight`` counts the caller's attempts by webhook."""
        now = self.clock()
        due = read_rows(self.engine, _DUE_WEBHOOKS, {"now": now})
        attempts: list[Attempt] = []
        if not any(_room(row, in_flight) for row in due):
            return attempts
        # Durable: by this commit the event itself is on disk, too, so that nothing is told that
        # a crash of the database takes back.
        with writing(self.engine, durable=True) as connection:
            for row in due:
                room = min(_room(row, in_flight), most - len(attempts))
                if room > 0:
                    attempts += _claim(connection, row.id, room, now, now + lease_s)
        return attempts

    def delivered(self, attempt: Attempt, status: int) -> bool:
        """Record a success; False when the claim was lost."""
        now = self.clock()
        values = {"state": DeliveryState.DELIVERED.value, "ended_at": now, "error": None}
        with writing(self.engine) as connection:
            if not _set(connection, attempt, status=status, **values):
                return False
            if attempt.failing_since is not None:
                _set_webhook(connection, attempt, failing_since=None, paused_until=0.0)
        return True

    def failed(
        self, attempt: Attempt, error: str, status: int | None = None, retry_after_s: float = 0.0
    ) -> DeliveryState | None:
        """Record a failure: the delivery waits for its next attempt, or is dead. None when
        the claim was lost."""
        now = self.clock()
        asked_s = min(retry_after_s, MOST_RETRY_AFTER_S)
        pause_s = max(self._pause_s(now - attempt.since), asked_s)
        once = attempt.type == TEST_EVENT
        dead = status == GONE or once or now + pause_s > attempt.since + self.retry_for_s
        values = _dead(now, error) if dead else {"due_at": now + pause_s, "error": _short(error)}
        with writing(self.engine) as connection:
            if not _set(connection, attempt, status=status, **values):
                return None
            if status == GONE:
                _set_webhook(connection, attempt, disabled_at=now)
                connection.execute(
                    _SET_WAITING, {"webhook": attempt.webhook_id, **_dead(now, _DISABLED)}
                )
            elif not once:
                since = now if attempt.failing_since is None else attempt.failing_since
                rest_s = min(self._pause_s(now - since), LONGEST_ENDPOINT_PAUSE_S)
                _set_webhook(
                    connection, attempt, paused_until=now + max(rest_s, asked_s),
                    failing_since=func.coalesce(webhooks.c.failing_since, since),
                )
        return DeliveryState.DEAD if dead else DeliveryState.WAITING

    def give_up_overdue(self) -> int:
        """Give up what could not be delivered in time because the receiver fails: one that
        is away for days gets too few attempts to end each by itself. How many."""
        now = self.clock()
        failing = select(webhooks.c.id).where(webhooks.c.failing_since.is_not(None))
        overdue = (
            _WAITS, webhook_deliveries.c.webhook_id.in_(failing),
            webhook_deliveries.c.since < now - self.retry_for_s,
            # None that is being sent now, whose end is counted in minutes.
            webhook_deliveries.c.due_at <= now,
        )
        first = select(webhook_deliveries.c.seq).where(*overdue).limit(1)
        if not read_values(self.engine, first):
            return 0
        given_up = update(webhook_deliveries).where(*overdue).values(_dead(now, _TOO_LATE))
        return change_rows(self.engine, given_up)

    def _pause_s(self, passed_s: float) -> float:
        pause_s = min(max(passed_s, SHORTEST_PAUSE_S), LONGEST_PAUSE_S)
        return pause_s * (1 + JITTER * (2 * self.jitter() - 1))


_DISABLED = "the webhook is disabled"
_TOO_LATE = "the receiver fails, and the time for attempts is over"


def _room(row: Row[*tuple[Any, ...]], in_flight: Mapping[int, int]) -> int:
    """How many more attempts a webhook may have: one at a time while it fails."""
    return (SHARE if row.failing_since is None else 1) - in_flight.get(row.id, 0)


def _claim(
    connection: Connection, webhook_id: int, most: int, now: float, until: float
) -> list[Attempt]:
    due = {"webhook": webhook_id, "now": now, "most": most}
    seqs = list(connection.execute(_DUE, due).scalars())
    target = connection.execute(_TARGET, {"webhook": webhook_id}).one_or_none()
    if not seqs or target is None:
        return []
    secrets = [target.secret]
    if target.former_secret is not None and (target.former_until or 0.0) > now:
        secrets.append(target.former_secret)
    rows = connection.execute(_CLAIM, {"seqs": seqs, "until": until})
    return sorted(
        (
            Attempt(
                row.seq, row.attempts, row.id, row.type, row.payload, row.since, webhook_id,
                target.url, tuple(secrets), target.failing_since,
            )
            for row in rows
        ),
        key=lambda attempt: attempt.seq,
    )


def _set(connection: Connection, attempt: Attempt, **values: Any) -> bool:
    held = {"held": attempt.seq, "fence": attempt.number}
    return connection.execute(_HELD, {**held, **values}).rowcount == 1


def _set_webhook(connection: Connection, attempt: Attempt, **values: Any) -> None:
    chosen = update(webhooks).where(webhooks.c.id == attempt.webhook_id)
    connection.execute(chosen.values(**values))


def _dead(now: float, error: str) -> dict[str, Any]:
    return {"state": DeliveryState.DEAD.value, "ended_at": now, "error": _short(error)}


def _short(error: str) -> str:
    return error[:MAX_ERROR_CHARS]
