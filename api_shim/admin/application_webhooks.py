"""Whom the service tells when an application's jobs and batches end, and what was delivered."""

from __future__ import annotations

from typing import Annotated

import msgspec

from api_shim.admin.applications import NamedApplication
from api_shim.admin.operation import Actor, AdminOperation, AdminServices
from api_shim.auth.issuing import KEEP_H
from pipeline.errors import InvalidParameter
from pipeline.operators.model import OperatorRole
from pipeline.webhooks.addresses import check_address
from pipeline.webhooks.model import Delivery, DeliveryState, ToldOf, Webhook

HOUR_S = 3600.0
Number = Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
DeliveryId = Annotated[str, msgspec.Meta(max_length=40, pattern="^[A-Za-z0-9_-]*$")]


class WebhookItem(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook, and how many of its deliveries wait, were taken, were given up. Times are epoch
    seconds: nothing was taken since ``failing_since``, nothing is sent since ``disabled_at``, a
    former secret signs, too, until ``former_until``."""

    number: int
    url: str
    told_of: ToldOf
    created_at: float
    failing_since: float | None
    disabled_at: float | None
    former_until: float | None
    waiting: int
    delivered: int
    dead: int


class WebhookList(msgspec.Struct, frozen=True):
    """The webhooks of an application, oldest first."""

    webhooks: list[WebhookItem]


class NewWebhook(msgspec.Struct, frozen=True, kw_only=True):
    """Tell ``url`` when jobs, batches or both end."""

    application: str
    url: Annotated[str, msgspec.Meta(max_length=2048)]
    told_of: ToldOf = ToldOf.BOTH


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's fresh secret, which is never given again; ``secure``: its URL is https."""

    application: str
    number: int
    secret: str
    secure: bool = True


class NamedWebhook(msgspec.Struct, frozen=True):
    """A webhook by its number."""

    application: str
    webhook: Number


class WebhookRotation(msgspec.Struct, frozen=True, kw_only=True):
    """A new secret; the old one signs beside it for ``keep_h`` hours."""

    application: str
    webhook: Number
    keep_h: Annotated[float, msgspec.Meta(ge=0, le=24 * 366)] = KEEP_H


class WebhookSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a webhook is told nothing; what waits stays."""

    application: str
    webhook: Number
    disabled: bool = True


class DeliveriesQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to list: the newest ones, or those older than the delivery ``before``."""

    application: str
    webhook: Number | None = None
    state: DeliveryState | None = None
    before: DeliveryId = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, newest first. ``next`` is the ``before`` of the next page."""

    deliveries: list[Delivery]
    next: str | None


class Resend(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to send again: those with ``ids``, or all ``dead`` ones, of one webhook or
    of all."""

    application: str
    ids: tuple[DeliveryId, ...] = ()
    dead: bool = False
    webhook: Number | None = None


class Resent(msgspec.Struct, frozen=True):
    """How many deliveries are sent again: those that still wait are not."""

    deliveries: int


def list_webhooks(services: AdminServices, _actor: Actor, given: NamedApplication) -> WebhookList:
    tenant, store = services.tenant(given.application), services.service.webhooks
    counts = store.counts(tenant.id)
    return WebhookList([_item(each, counts.get(each.id, {})) for each in store.all(tenant.id)])


def add_webhook(services: AdminServices, _actor: Actor, given: NewWebhook) -> WebhookSecret:
    tenant, service = services.tenant(given.application), services.service
    secure = check_address(given.url, service.settings)
    webhook, secret = service.webhooks.add(
        tenant.id, given.url, on_jobs=given.told_of is not ToldOf.BATCHES,
        on_batches=given.told_of is not ToldOf.JOBS,
    )
    return WebhookSecret(
        application=tenant.name, number=webhook.id, secret=secret, secure=secure
    )


def rotate_webhook(
    services: AdminServices, _actor: Actor, given: WebhookRotation
) -> WebhookSecret:
    tenant = services.tenant(given.application)
    secret = services.service.webhooks.rotate(tenant.id, given.webhook, given.keep_h * HOUR_S)
    return WebhookSecret(application=tenant.name, number=given.webhook, secret=secret)


def switch_webhook(services: AdminServices, actor: Actor, given: WebhookSwitch) -> WebhookList:
    tenant = services.tenant(given.application)
    services.service.webhooks.set_disabled(tenant.id, given.webhook, given.disabled)
    return list_webhooks(services, actor, NamedApplication(tenant.name))


def remove_webhook(services: AdminServices, actor: Actor, given: NamedWebhook) -> WebhookList:
    tenant = services.tenant(given.application)
    services.service.webhooks.remove(tenant.id, given.webhook)
    return list_webhooks(services, actor, NamedApplication(tenant.name))


def try_webhook(services: AdminServices, _actor: Actor, given: NamedWebhook) -> DeliveryPage:
    tenant = services.tenant(given.application)
    return DeliveryPage([services.service.webhooks.test(tenant.id, given.webhook)], None)


def list_deliveries(
    services: AdminServices, _actor: Actor, given: DeliveriesQuery
) -> DeliveryPage:
    tenant = services.tenant(given.application)
    found = services.service.webhooks.deliveries(
        tenant.id, webhook_id=given.webhook, state=given.state, limit=given.limit,
        before=given.before or None,
    )
    return DeliveryPage(found, found[-1].id if len(found) == given.limit else None)


def resend_deliveries(services: AdminServices, _actor: Actor, given: Resend) -> Resent:
    tenant = services.tenant(given.application)
    if given.dead is bool(given.ids):
        raise InvalidParameter("name deliveries, or choose all dead ones")
    return Resent(services.service.webhooks.resend(
        tenant.id, ids=given.ids or None, webhook_id=given.webhook
    ))


def _item(webhook: Webhook, counts: dict[DeliveryState, int]) -> WebhookItem:
    return WebhookItem(
        number=webhook.id, url=webhook.url, told_of=webhook.told_of,
        created_at=webhook.created_at, failing_since=webhook.failing_since,
        disabled_at=webhook.disabled_at, former_until=webhook.former_until,
        waiting=counts.get(DeliveryState.WAITING, 0),
        delivered=counts.get(DeliveryState.DELIVERED, 0),
        dead=counts.get(DeliveryState.DEAD, 0),
    )


_APPLICATION = "/applications/{application}"
_WEBHOOK = f"{_APPLICATION}/webhooks/{{webhook}}"

LIST_WEBHOOKS = AdminOperation(
    "webhooks.list", "GET", f"{_APPLICATION}/webhooks", "The webhooks of an application.",
    OperatorRole.VIEWER, NamedApplication, WebhookList, list_webhooks,
)
ADD_WEBHOOK = AdminOperation(
    "webhooks.add", "POST", f"{_APPLICATION}/webhooks",
    "Tell a URL when jobs and batches end, and give its secret, once.",
    OperatorRole.ADMINISTRATOR, NewWebhook, WebhookSecret, add_webhook,
)
ROTATE_WEBHOOK = AdminOperation(
    "webhooks.rotate", "POST", f"{_WEBHOOK}/rotate", "Make a new secret, and give it, once.",
    OperatorRole.ADMINISTRATOR, WebhookRotation, WebhookSecret, rotate_webhook,
    subject_of=lambda given: str(given.webhook),
)
TEST_WEBHOOK = AdminOperation(
    "webhooks.test", "POST", f"{_WEBHOOK}/test", "Send an event that says nothing, once.",
    OperatorRole.ADMINISTRATOR, NamedWebhook, DeliveryPage, try_webhook,
    subject_of=lambda given: str(given.webhook),
)
SWITCH_WEBHOOK = AdminOperation(
    "webhooks.disable", "POST", f"{_WEBHOOK}/disable", "Tell a webhook nothing, or tell it again.",
    OperatorRole.ADMINISTRATOR, WebhookSwitch, WebhookList, switch_webhook,
    subject_of=lambda given: f"{given.webhook}{'' if given.disabled else ' enabled'}",
)
REMOVE_WEBHOOK = AdminOperation(
    "webhooks.remove", "DELETE", _WEBHOOK, "Delete a webhook with its deliveries.",
    OperatorRole.ADMINISTRATOR, NamedWebhook, WebhookList, remove_webhook,
    subject_of=lambda given: str(given.webhook),
)
LIST_DELIVERIES = AdminOperation(
    "webhooks.deliveries", "GET", f"{_APPLICATION}/deliveries", "What webhooks were told.",
    OperatorRole.VIEWER, DeliveriesQuery, DeliveryPage, list_deliveries,
)
RESEND_DELIVERIES = AdminOperation(
    "webhooks.resend", "POST", f"{_APPLICATION}/deliveries/resend",
    "Send deliveries again, under their ids.",
    OperatorRole.ADMINISTRATOR, Resend, Resent, resend_deliveries,
    subject_of=lambda given: "dead" if given.dead else ", ".join(given.ids),
)

OPERATIONS = (
    LIST_WEBHOOKS, ADD_WEBHOOK, ROTATE_WEBHOOK, TEST_WEBHOOK, SWITCH_WEBHOOK, REMOVE_WEBHOOK,
    LIST_DELIVERIES, RESEND_DELIVERIES,
)
