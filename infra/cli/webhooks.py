"""``faceline webhooks``: whom the service tells when jobs and batches end."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from infra.cli.arguments import AppName, Json, Limit, OptionalAppName, Yes
from infra.cli.console import local_time, print_json, print_line, print_notice, print_table
from infra.cli.database import Stores
from infra.cli.processes import send_webhooks
from pipeline.errors import FaceError, InvalidParameter
from pipeline.webhooks.addresses import check_address
from pipeline.webhooks.model import Delivery, DeliveryState, ToldOf, Webhook
from pipeline.webhooks.store import WebhookStore

app = typer.Typer(
    help="Whom the service tells when jobs and batches end.", no_args_is_help=True
)

KEEP_H = 168.0  # a week, as for the secrets of applications

# Seconds that `test` waits beyond the deadline of an attempt: a sender looks every second.
TAKEN_S = 10.0

WebhookNumber = Annotated[int, typer.Argument(metavar="WEBHOOK", help="The webhook's number.")]


class WebhookNotTold(FaceError):
    """The receiver did not take the test event."""


@app.command()
def add(
    name: AppName,
    url: Annotated[str, typer.Argument(help="Where events are sent by POST.")],
    told_of: Annotated[
        ToldOf, typer.Option("--of", help="The ends that it is told of.")
    ] = ToldOf.BOTH,
    json: Json = False,
) -> None:
    """Tell a URL when jobs and batches of an application end; prints its secret, once."""
    stores = Stores()
    secure = check_address(url, stores.settings)
    tenant = stores.tenants.by_name(name)
    webhook, secret = _webhooks(stores).add(
        tenant.id, url, on_jobs=told_of is not ToldOf.BATCHES,
        on_batches=told_of is not ToldOf.JOBS,
    )
    _show_secret(webhook.id, secret, json)
    if not secure:
        print_notice("The URL is not https: others on the way can read the events.")
    print_notice(f"Try it with: faceline webhooks test {name} {webhook.id}")


@app.command("list")
def list_webhooks(name: OptionalAppName = None, json: Json = False) -> None:
    """Every webhook, and how many of its deliveries wait or are dead."""
    stores = Stores()
    store = _webhooks(stores)
    tenants = {tenant.id: tenant.name for tenant in stores.chosen_tenants(name)}
    found = [each for each in store.all() if each.tenant_id in tenants]
    counts = store.counts()
    if json:
        print_json([
            {"app": tenants[each.tenant_id], **asdict(each),
             **{state.value: counts.get(each.id, {}).get(state, 0) for state in DeliveryState}}
            for each in found
        ])
        return
    print_table(
        ("webhook", "app", "url", "of", "state", *(state.value for state in DeliveryState)),
        (
            (
                each.id, tenants[each.tenant_id], each.url, each.told_of.value, _state(each),
                *(counts.get(each.id, {}).get(state, 0) for state in DeliveryState),
            )
            for each in found
        ),
    )


@app.command()
def rotate(
    name: AppName, number: WebhookNumber,
    keep: Annotated[
        float, typer.Option("--keep", min=0, help="Hours for which the old secret signs, too.")
    ] = KEEP_H,
    now: Annotated[bool, typer.Option("--now", help="End the old one at once.")] = False,
    json: Json = False,
) -> None:
    """Make a new secret, which signs from now on; the old one signs beside it for a while."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    hours = 0.0 if now else keep
    _show_secret(number, _webhooks(stores).rotate(tenant.id, number, hours * 3600), json)
    if hours:
        print_notice(f"The old secret signs for {hours:g} hours more.")
    else:
        print_notice("The old secret is ended.")


@app.command()
def disable(name: AppName, number: WebhookNumber) -> None:
    """Tell a webhook nothing more; what waits stays."""
    stores = Stores()
    _webhooks(stores).set_disabled(stores.tenants.by_name(name).id, number, True)
    print_notice(f"Webhook {number} is disabled.")


@app.command()
def enable(name: AppName, number: WebhookNumber) -> None:
    """Tell a webhook again, after `disable` or an answer of 410."""
    stores = Stores()
    _webhooks(stores).set_disabled(stores.tenants.by_name(name).id, number, False)
    print_notice(f"Webhook {number} is told of what ends from now on.")


@app.command()
def remove(name: AppName, number: WebhookNumber, yes: Yes = False) -> None:
    """Delete a webhook with its deliveries."""
    stores = Stores()
    tenant = stores.tenants.by_name(name)
    if not yes:
        typer.confirm(f"Delete webhook {number} of {name} and its deliveries?", abort=True)
    _webhooks(stores).remove(tenant.id, number)
    print_notice(f"Webhook {number} is deleted.")


@app.command("test")
def try_out(name: AppName, number: WebhookNumber, json: Json = False) -> None:
    """Send an event that says nothing, the way of every other, and wait for the answer."""
    stores = Stores()
    store, tenant = _webhooks(stores), stores.tenants.by_name(name)
    delivery = store.test(tenant.id, number)
    until = time.monotonic() + stores.settings.webhook_deadline_s + TAKEN_S
    while delivery.state is DeliveryState.WAITING and time.monotonic() < until:
        time.sleep(0.2)
        delivery = store.delivery(tenant.id, delivery.id)
    if json:
        print_json(asdict(delivery))
    if delivery.state is DeliveryState.DELIVERED:
        print_notice(f"The receiver has answered {delivery.status}.")
    elif delivery.state is DeliveryState.DEAD:
        raise WebhookNotTold(f"The receiver did not take the event: {delivery.error}")
    else:
        raise WebhookNotTold(
            "No process has sent the event: run `faceline webhooks send` (or `faceline up`), and "
            "`faceline webhooks enable` if the webhook is disabled"
        )


@app.command()
def deliveries(
    name: AppName,
    number: Annotated[int | None, typer.Option("--webhook", help="Of this webhook only.")] = None,
    state: Annotated[DeliveryState | None, typer.Option(help="Only those in this state.")] = None,
    limit: Limit = 20,
    json: Json = False,
) -> None:
    """List the newest deliveries, newest first."""
    stores = Stores()
    found = _webhooks(stores).deliveries(
        stores.tenants.by_name(name).id, webhook_id=number, state=state, limit=limit
    )
    if json:
        print_json([asdict(each) for each in found])
        return
    print_table(
        ("delivery", "webhook", "event", "at", "state", "attempts", "answer", "next attempt"),
        (
            (
                each.id, each.webhook_id, each.type, local_time(each.created_at),
                each.state.value, each.attempts, _answer(each),
                local_time(each.due_at) if each.state is DeliveryState.WAITING else None,
            )
            for each in found
        ),
    )


@app.command()
def resend(
    name: AppName,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[DELIVERY]...", help="Ids of deliveries.")
    ] = None,
    dead: Annotated[bool, typer.Option("--dead", help="All dead ones.")] = False,
    number: Annotated[int | None, typer.Option("--webhook", help="Of this webhook only.")] = None,
) -> None:
    """Send deliveries again, delivered or dead, under their ids."""
    if dead is bool(ids):
        raise InvalidParameter("name deliveries, or choose --dead")
    stores = Stores()
    count = _webhooks(stores).resend(
        stores.tenants.by_name(name).id, ids=ids or None, webhook_id=number
    )
    print_notice(f"{count} deliveries are sent again.")
    if ids and count < len(set(ids)):
        print_notice("Those that still wait are not sent again, and unknown ones are left out.")


def _webhooks(stores: Stores) -> WebhookStore:
    return WebhookStore(stores.engine, stores.vault)


def _show_secret(number: int, secret: str, json: bool) -> None:
    if json:
        print_json({"webhook": number, "secret": secret})
        return
    print_line(f"webhook  {number}\nsecret   {secret}")
    print_notice("Keep the secret now: it is not shown again.")


def _state(webhook: Webhook) -> str:
    if webhook.disabled_at is not None:
        return f"disabled {local_time(webhook.disabled_at)}"
    if webhook.failing_since is not None:
        return f"failing since {local_time(webhook.failing_since)}"
    return "active"


def _answer(delivery: Delivery) -> str:
    return delivery.error or str(delivery.status or "")


app.command("send")(send_webhooks)
