"""The operator's side of webhooks: registering them, rotating their secrets, listing and
repeating their deliveries, removing old ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from sqlalchemy import Engine, Row, Select, delete, func, insert, select, update

from pipeline.database.clock import Clock, database_clock
from pipeline.database.engine import change_rows, read_row, read_rows, writing
from pipeline.database.schema import webhook_deliveries, webhooks
from pipeline.encryption.vault import Vault, webhook_secret_owner
from pipeline.errors import DeliveryNotFound, WebhookNotFound
from pipeline.webhooks.model import (
    TEST_EVENT,
    Delivery,
    DeliveryState,
    Webhook,
    WebhookEvent,
)
from pipeline.webhooks.outbox import delivery_row
from pipeline.webhooks.signing import new_secret

_WEBHOOK = [webhooks.c[field.name] for field in fields(Webhook)]
_DELIVERY = [webhook_deliveries.c[field.name] for field in fields(Delivery)]

# Rows deleted in one transaction.
PURGED = 1000


class WebhookStore:
    """The webhooks of every tenant. ``clock`` gives epoch seconds; None: the database's. All
    methods raise ``DatabaseUnavailable``; those that take a number raise ``WebhookNotFound``,
    also for another tenant's."""

    def __init__(self, engine: Engine, vault: Vault, clock: Clock | None = None) -> None:
        self._engine = engine
        self._vault = vault
        self._clock = database_clock(engine, clock)

    def add(
        self, tenant_id: int, url: str, *, on_jobs: bool = True, on_batches: bool = True
    ) -> tuple[Webhook, str]:
        """(a webhook, its secret) that is told of what ends from now on. The caller has
        checked ``url``."""
        secret = new_secret()
        row = {
            "tenant_id": tenant_id, "url": url, "on_jobs": on_jobs, "on_batches": on_batches,
            "secret": b"", "created_at": self._clock(), "paused_until": 0.0,
        }
        with writing(self._engine, durable=True) as connection:
            made = connection.execute(insert(webhooks).values(row).returning(*_WEBHOOK)).one()
            encrypted = self._vault.encrypt(secret, webhook_secret_owner(made.id))
            connection.execute(
                update(webhooks).where(webhooks.c.id == made.id).values(secret=encrypted)
            )
        return Webhook(*made), secret

    def all(self, tenant_id: int | None = None) -> list[Webhook]:
        """The webhooks of one tenant, or of all, oldest first."""
        query = select(*_WEBHOOK).order_by(webhooks.c.id)
        if tenant_id is not None:
            query = query.where(webhooks.c.tenant_id == tenant_id)
        return [Webhook(*row) for row in read_rows(self._engine, query)]

    def counts(self, tenant_id: int | None = None) -> dict[int, dict[DeliveryState, int]]:
        """How many deliveries of each webhook, of one tenant or of all, are in each state."""
        state = webhook_deliveries.c.state
        query = select(webhook_deliveries.c.webhook_id, state, func.count())
        if tenant_id is not None:
            query = query.where(webhook_deliveries.c.webhook_id.in_(_webhooks_of(tenant_id)))
        found: dict[int, dict[DeliveryState, int]] = {}
        for webhook_id, name, count in read_rows(
            self._engine, query.group_by(webhook_deliveries.c.webhook_id, state)
        ):
            found.setdefault(webhook_id, {})[DeliveryState(name)] = count
        return found

    def rotate(self, tenant_id: int, webhook_id: int, keep_s: float) -> str:
        """A new secret, which signs from now on; the present one signs beside it for
        ``keep_s`` seconds, an older one no more."""
        secret = new_secret()
        with writing(self._engine, durable=True) as connection:
            kept = connection.execute(
                select(webhooks.c.secret).where(*_own(tenant_id, webhook_id)).with_for_update()
            ).scalar_one_or_none()
            if kept is None:
                raise WebhookNotFound
            connection.execute(
                update(webhooks).where(webhooks.c.id == webhook_id).values(
                    secret=self._vault.encrypt(secret, webhook_secret_owner(webhook_id)),
                    former_secret=kept if keep_s > 0 else None,
                    former_until=self._clock() + keep_s if keep_s > 0 else None,
                )
            )
        return secret

    def set_disabled(self, tenant_id: int, webhook_id: int, disabled: bool) -> None:
        """Stop telling a webhook anything, or begin again. What waits when it is disabled
        waits until it is enabled."""
        values: dict[str, float | None] = {"disabled_at": self._clock()}
        if not disabled:
            values = {"disabled_at": None, "failing_since": None, "paused_until": 0.0}
        change = update(webhooks).where(*_own(tenant_id, webhook_id)).values(**values)
        if change_rows(self._engine, change) != 1:
            raise WebhookNotFound

    def remove(self, tenant_id: int, webhook_id: int) -> None:
        """Delete a webhook with its deliveries."""
        change = delete(webhooks).where(*_own(tenant_id, webhook_id))
        if change_rows(self._engine, change, durable=True) != 1:
            raise WebhookNotFound

    def test(self, tenant_id: int, webhook_id: int) -> Delivery:
        """An event that says nothing, to be sent once and at once."""
        now = self._clock()
        event = WebhookEvent(tenant_id, TEST_EVENT, {"webhook_id": webhook_id})
        with writing(self._engine, durable=True) as connection:
            found = connection.execute(
                update(webhooks).where(*_own(tenant_id, webhook_id)).values(paused_until=0.0)
            )
            if found.rowcount != 1:
                raise WebhookNotFound
            row = connection.execute(
                insert(webhook_deliveries)
                .values(delivery_row(webhook_id, event, now)).returning(*_DELIVERY)
            ).one()
        return _delivery(row)

    # -- deliveries -----------------------------------------------------------------

    def delivery(self, tenant_id: int, delivery_id: str) -> Delivery:
        """Raises ``DeliveryNotFound``, also for another tenant's."""
        query = select(*_DELIVERY).where(
            webhook_deliveries.c.tenant_id == tenant_id, webhook_deliveries.c.id == delivery_id
        )
        row = read_row(self._engine, query)
        if row is None:
            raise DeliveryNotFound
        return _delivery(row)

    def deliveries(
        self, tenant_id: int, *, webhook_id: int | None = None,
        state: DeliveryState | None = None, limit: int = 50, before: str | None = None,
    ) -> list[Delivery]:
        """A tenant's newest deliveries, newest first: those older than the delivery ``before``."""
        query = select(*_DELIVERY).where(
            webhook_deliveries.c.webhook_id.in_(_webhooks_of(tenant_id))
        )
        if before is not None:
            last = select(webhook_deliveries.c.seq).where(
                webhook_deliveries.c.tenant_id == tenant_id, webhook_deliveries.c.id == before
            )
            query = query.where(webhook_deliveries.c.seq < last.scalar_subquery())
        if webhook_id is not None:
            query = query.where(webhook_deliveries.c.webhook_id == webhook_id)
        if state is not None:
            query = query.where(webhook_deliveries.c.state == state.value)
        query = query.order_by(webhook_deliveries.c.seq.desc()).limit(limit)
        return [_delivery(row) for row in read_rows(self._engine, query)]

    def resend(
        self, tenant_id: int, *, ids: Collection[str] | None = None, webhook_id: int | None = None
    ) -> int:
        """Have deliveries that have ended sent again, under their ids: those with these
        ``ids``, delivered or dead, or all dead ones (of one webhook); how many."""
        now = self._clock()
        chosen = [
            webhook_deliveries.c.tenant_id == tenant_id,
            webhook_deliveries.c.ended_at.is_not(None),
        ]
        if ids is not None:
            chosen.append(webhook_deliveries.c.id.in_(list(ids)))
        else:
            chosen.append(webhook_deliveries.c.state == DeliveryState.DEAD.value)
        if webhook_id is not None:
            chosen.append(webhook_deliveries.c.webhook_id == webhook_id)
        with writing(self._engine, durable=True) as connection:
            rows = connection.execute(
                update(webhook_deliveries).where(*chosen)
                .values(
                    state=DeliveryState.WAITING.value, ended_at=None, due_at=now, since=now
                )
                .returning(webhook_deliveries.c.webhook_id)
            ).scalars().all()
            connection.execute(
                update(webhooks).where(webhooks.c.id.in_(set(rows))).values(paused_until=0.0)
            )
        return len(rows)


def live_webhooks(engine: Engine) -> list[Webhook]:
    """The webhooks that are not disabled. Raises ``DatabaseUnavailable``."""
    query = select(*_WEBHOOK).where(webhooks.c.disabled_at.is_(None)).order_by(webhooks.c.id)
    return [Webhook(*row) for row in read_rows(engine, query)]


def purge_deliveries(
    engine: Engine, now: float, delivered_for_s: float, dead_for_s: float
) -> int:
    """Delete a part of the deliveries that ended so long ago; how many. Fewer than ``PURGED``:
    there are no more. Raises ``DatabaseUnavailable``."""
    removed = 0
    for state, kept_s in (
        (DeliveryState.DELIVERED, delivered_for_s), (DeliveryState.DEAD, dead_for_s)
    ):
        old = (
            select(webhook_deliveries.c.seq)
            .where(
                webhook_deliveries.c.ended_at.is_not(None),
                webhook_deliveries.c.state == state.value,
                webhook_deliveries.c.ended_at < now - kept_s,
            )
            .limit(PURGED - removed).with_for_update(skip_locked=True)
        )
        with writing(engine) as connection:
            seqs = connection.execute(old).scalars().all()
            removed += connection.execute(
                delete(webhook_deliveries).where(webhook_deliveries.c.seq.in_(seqs))
            ).rowcount
    return removed


def _webhooks_of(tenant_id: int) -> Select[tuple[int]]:
    return select(webhooks.c.id).where(webhooks.c.tenant_id == tenant_id)


def _own(tenant_id: int, webhook_id: int) -> tuple[Any, ...]:
    return webhooks.c.tenant_id == tenant_id, webhooks.c.id == webhook_id


def _delivery(row: Row[*tuple[Any, ...]]) -> Delivery:
    values = row._asdict()
    return Delivery(**{**values, "state": DeliveryState(values["state"])})
