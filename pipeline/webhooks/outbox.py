"""Writes down what webhooks are to be told, in the transaction in which it happens: what is
rolled back is told to nobody, and what is committed is not forgotten."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, insert, select

from pipeline.database.schema import webhook_deliveries, webhooks
from pipeline.types import JsonObject
from pipeline.webhooks.model import DeliveryState, WebhookEvent

_SUBSCRIBED = (
    select(webhooks.c.id, webhooks.c.tenant_id, webhooks.c.on_jobs, webhooks.c.on_batches)
    .where(
        webhooks.c.tenant_id.in_(bindparam("tenants", expanding=True)),
        webhooks.c.disabled_at.is_(None),
    )
    # FOR KEY SHARE: a webhook that is being removed waits for this transaction.
    .order_by(webhooks.c.id).with_for_update(read=True, key_share=True)
)
_INSERT = insert(webhook_deliveries)


def announce(connection: Connection, events: Sequence[WebhookEvent], now: float) -> None:
    """Add a delivery of each event for each webhook of its tenant that is told of its kind.
    Call it last in a transaction: it locks webhooks after everything else."""
    if not events:
        return
    tenants = sorted({event.tenant_id for event in events})
    subscribed = connection.execute(_SUBSCRIBED, {"tenants": tenants}).all()
    rows = [
        delivery_row(webhook.id, event, now)
        for event in events for webhook in subscribed
        if webhook.tenant_id == event.tenant_id
        and (webhook.on_batches if event.about_batch else webhook.on_jobs)
    ]
    if rows:
        connection.execute(_INSERT, rows)


def delivery_row(webhook_id: int, event: WebhookEvent, now: float) -> dict[str, Any]:
    """The columns of a delivery that is due now."""
    return {
        "id": f"msg_{uuid.uuid4().hex}", "webhook_id": webhook_id, "tenant_id": event.tenant_id,
        "type": event.type, "payload": _payload(event, now), "attempts": 0,
        "state": DeliveryState.WAITING.value, "due_at": now, "since": now, "created_at": now,
    }


def _payload(event: WebhookEvent, now: float) -> str:
    moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
    body: JsonObject = {
        "type": event.type, "timestamp": moment.replace("+00:00", "Z"), "data": event.data,
    }
    return msgspec.json.encode(body).decode()
