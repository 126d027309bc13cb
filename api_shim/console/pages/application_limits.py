"""An application's limits and permissions, and what it has used."""

from __future__ import annotations

from datetime import date, timedelta

from api_shim.admin.application_credentials import LIST_CREDENTIALS
from api_shim.admin.application_limits import (
    CHANGE_PERMISSIONS,
    SET_LIMITS,
    SHOW_LIMITS,
    SHOW_USAGE,
    PermissionChange,
)
from api_shim.admin.applications import NamedApplication
from api_shim.console.page import Page, View
from api_shim.console.pages.application import (
    PATH,
    chosen,
    name_of,
    path_of,
    read_given,
    show_page,
)
from api_shim.console.usage_chart import HEIGHT, WIDTH, draw_usage
from api_shim.requests import Reply
from pipeline.errors import CredentialNotFound, InvalidParameter
from pipeline.metering.limits import ALL_OPERATIONS

MODES = {
    "all": "Every operation", "never": "All but the ticked ones", "only": "Only the ticked ones",
}


def show_limits(view: View) -> Reply:
    named, public_id = NamedApplication(name_of(view)), view.query.get("credential", "")
    limits = view.perform(SHOW_LIMITS, named)
    entries = view.perform(LIST_CREDENTIALS, named).credentials
    permissions = limits.operations
    if public_id:
        found = [each.operations for each in entries if each.id == public_id]
        if not found:
            raise CredentialNotFound
        permissions = found[0]
    return show_page(
        view, "limits.html", limits=limits, entries=entries, credential=public_id, modes=MODES,
        mode="only" if permissions.only is not None else "never" if permissions.never else "all",
        ticked=permissions.never if permissions.only is None else permissions.only,
        every=ALL_OPERATIONS, may_change=view.permits(SET_LIMITS),
    )


def change_limits(view: View) -> Reply:
    name, fields, texts = name_of(view), view.fields, view.texts
    if fields.get("action") == "limit":
        view.perform(SET_LIMITS, read_given(SET_LIMITS, application=name, **{
            each: fields.get(each)
            for each in ("operation", "per_second", "burst", "daily", "monthly")
        }))
        return view.redirect(path_of(name, "limits"), texts.gettext("The limits are changed."))
    if fields.get("action") == "permit" and fields.get("mode") in MODES:
        ticked, public_id = tuple(chosen(view, "operation-")), fields.get("credential", "")
        view.perform(CHANGE_PERMISSIONS, PermissionChange(
            application=name, credential=public_id,
            only=ticked if fields["mode"] == "only" else None,
            never=ticked if fields["mode"] == "never" else (),
        ))
        notice = texts.gettext("The permitted operations are changed.")
        return view.redirect(path_of(name, "limits"), notice, credential=public_id)
    raise InvalidParameter("there is no such action")


def show_usage(view: View) -> Reply:
    usage = view.perform(SHOW_USAGE, view.read(SHOW_USAGE))
    sums: dict[str, list[int]] = {}
    for each in usage.items:
        row = sums.setdefault(each.operation, [0, 0, 0, 0])
        counts = (each.charged, each.free, each.refunded, each.refused)
        sums[each.operation] = [old + new for old, new in zip(row, counts, strict=True)]
    first = date.fromisoformat(f"{usage.month}-01")
    this_month = view.services.service.usage.today()[:7]
    return show_page(
        view, "usage.html", chart=draw_usage(usage.month, usage.items), month=usage.month,
        width=WIDTH, height=HEIGHT, sums=sorted(sums.items()),
        before=f"{first - timedelta(days=1):%Y-%m}" if first.year > 1 else "",
        after=f"{first + timedelta(days=31):%Y-%m}" if usage.month < this_month else "",
    )


PAGES = (
    Page(f"{PATH}/limits", get=show_limits, post=change_limits),
    Page(f"{PATH}/usage", get=show_usage),
)
