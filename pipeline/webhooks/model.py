"""The values of webhooks. Times are epoch seconds (UTC)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.types import JsonObject

TEST_EVENT = "webhook.test"
"""The type of the event by which an operator tries a webhook; it is sent once."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """Something that happened to a tenant. ``type`` is `job.STATE` or `batch.STATE`; ``data``
    (JSON) names it and how it ended, and holds nothing that pictures or galleries hold."""

    tenant_id: int
    type: str
    data: JsonObject

    @property
    def about_batch(self) -> bool:
        return self.type.startswith("batch.")


class ToldOf(StrEnum):
    """What a webhook is told of."""

    JOBS = "jobs"
    BATCHES = "batches"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Webhook:
    """A registered address. ``failing_since``: no delivery has succeeded since;
    ``disabled_at``: nothing is sent any more."""

    id: int
    tenant_id: int
    url: str
    on_jobs: bool
    on_batches: bool
    created_at: float
    failing_since: float | None
    disabled_at: float | None
    former_until: float | None

    @property
    def told_of(self) -> ToldOf:
        if self.on_jobs and self.on_batches:
            return ToldOf.BOTH
        return ToldOf.JOBS if self.on_jobs else ToldOf.BATCHES


class DeliveryState(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"
    """Given up; ``resend`` sends it again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event for one webhook. ``id`` is the header `webhook-id`, the same in every
    attempt. ``status`` (HTTP) and ``error`` are those of the last attempt."""

    id: str
    webhook_id: int
    type: str
    state: DeliveryState
    attempts: int
    due_at: float
    created_at: float
    ended_at: float | None
    status: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed delivery: what to send, where to, and the encrypted secrets that sign it,
    the present one first. ``number`` counts from 1 and is the fence of the claim."""

    seq: int
    number: int
    id: str
    type: str
    payload: str = field(repr=False)
    since: float
    webhook_id: int
    url: str = field(repr=False)
    secrets: tuple[bytes, ...] = field(repr=False)
    failing_since: float | None
