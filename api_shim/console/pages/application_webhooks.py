"""An application's webhooks and what they were told."""

from __future__ import annotations

from api_shim.admin.application_webhooks import (
    ADD_WEBHOOK,
    LIST_DELIVERIES,
    LIST_WEBHOOKS,
    REMOVE_WEBHOOK,
    RESEND_DELIVERIES,
    ROTATE_WEBHOOK,
    SWITCH_WEBHOOK,
    TEST_WEBHOOK,
    WebhookSecret,
)
from api_shim.admin.applications import NamedApplication
from api_shim.auth.issuing import KEEP_H
from api_shim.console.page import Page, View
from api_shim.console.pages.application import PATH, name_of, path_of, read_given, show_page
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.errors import InvalidParameter
from pipeline.webhooks.model import DeliveryState, ToldOf

TOLD_OF = {
    ToldOf.BOTH: "Jobs and batches", ToldOf.JOBS: "Jobs", ToldOf.BATCHES: "Batches",
}
STATES = {
    DeliveryState.WAITING: "waiting", DeliveryState.DELIVERED: "delivered",
    DeliveryState.DEAD: "given up",
}


def show(view: View) -> Reply:
    given = read_given(
        LIST_DELIVERIES, **{**view.query, "application": name_of(view)}
    )
    return show_page(
        view, "webhooks.html", page=view.perform(LIST_DELIVERIES, given), given=given,
        webhooks=view.perform(LIST_WEBHOOKS, NamedApplication(name_of(view))).webhooks,
        keep_h=KEEP_H, told_of=TOLD_OF, states=STATES,
        may_change=view.permits(ADD_WEBHOOK), may_resend=view.permits(RESEND_DELIVERIES),
    )


def change(view: View) -> Reply:
    """Carry out one of the page's forms."""
    name, fields, texts = name_of(view), view.fields, view.texts
    webhook = fields.get("webhook")
    match fields.get("action"):
        case "add":
            given = read_given(
                ADD_WEBHOOK, application=name, url=fields.get("url", "").strip(),
                told_of=fields.get("told_of"),
            )
            return _show_secret(view, view.perform(ADD_WEBHOOK, given))
        case "rotate":
            rotation = read_given(
                ROTATE_WEBHOOK, application=name, webhook=webhook, keep_h=fields.get("keep_h")
            )
            return _show_secret(view, view.perform(ROTATE_WEBHOOK, rotation))
        case "test":
            view.perform(TEST_WEBHOOK, read_given(TEST_WEBHOOK, application=name, webhook=webhook))
            notice = texts.gettext("A test event is on its way: see the deliveries.")
        case "disable" | "enable" as action:
            view.perform(SWITCH_WEBHOOK, read_given(
                SWITCH_WEBHOOK, application=name, webhook=webhook, disabled=action == "disable"
            ))
            notice = texts.gettext("The webhook is changed.")
        case "remove":
            view.perform(
                REMOVE_WEBHOOK, read_given(REMOVE_WEBHOOK, application=name, webhook=webhook)
            )
            notice = texts.gettext("The webhook is deleted.")
        case "resend":
            delivery = fields.get("delivery")
            count = view.perform(RESEND_DELIVERIES, read_given(
                RESEND_DELIVERIES, application=name, ids=[delivery] if delivery else None,
                dead=not delivery,
            )).deliveries
            notice = texts.gettext("%d deliveries are sent again.") % count
        case _:
            raise InvalidParameter("there is no such action")
    return view.redirect(path_of(name, "webhooks"), notice)


def _show_secret(view: View, made: WebhookSecret) -> Reply:
    """The only page with the secret: the answer to a form, which no cache and no address holds."""
    return render(
        view, "applications/webhook_secret.html", made=made,
        back=view.link(path_of(made.application, "webhooks")),
    )


PAGES = (Page(f"{PATH}/webhooks", get=show, post=change),)
