"""Batches: a list, and one with its progress, its refused items and what can be done."""

from __future__ import annotations

import msgspec

from api_shim.admin.batches import (
    CANCEL_BATCH,
    LIST_BATCHES,
    LIST_ITEMS,
    RETRY_ITEMS,
    SHOW_BATCH,
    BatchDetails,
    BatchItemsQuery,
    BatchQuery,
    OperatorBatch,
    OperatorItems,
    RetryItems,
)
from api_shim.admin.operation import Given
from api_shim.console.page import Page, View
from api_shim.console.refusal_reasons import REASONS
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.accounts.model import Tenant
from pipeline.batches.model import BatchState, ItemState
from pipeline.errors import InvalidParameter

ROOT = "/console/batches"

ITEMS_SHOWN = 24

STATES = {
    BatchState.READING: "Reading the source", BatchState.WORKING: "Enrolling",
    BatchState.DONE: "Done", BatchState.CANCELLED: "Cancelled", BatchState.FAILED: "Failed",
}
OUTCOMES = {
    ItemState.ENROLLED: "Enrolled", ItemState.DUPLICATE: "Duplicate",
    ItemState.REJECTED: "Refused", ItemState.CANCELLED: "Cancelled",
    ItemState.WAITING: "In work", ItemState.AGAIN: "To be read again",
}


class _BatchPage(BatchItemsQuery, frozen=True, kw_only=True):
    """The query of a batch's page: which items it lists."""

    state: ItemState | None = ItemState.REJECTED
    limit: int = ITEMS_SHOWN


def show_list(view: View) -> Reply:
    given = view.read(LIST_BATCHES)
    return render(
        view, "batches/list.html", page=view.perform(LIST_BATCHES, given), given=given,
        applications=applications(view), state_of=lambda batch: state_text(view, batch),
    )


def show_batch(view: View) -> Reply:
    given = {name: each for name, each in view.query.items() if each}
    query = _given(_BatchPage, view.call.path_values["batch_id"], **given)
    batch = view.perform(SHOW_BATCH, BatchQuery(batch_id=query.batch_id))
    items = view.perform(LIST_ITEMS, query) if batch.items else OperatorItems([], None)
    return render(
        view, "batches/batch.html", batch=batch, items=items, query=query,
        state_of=lambda batch: state_text(view, batch), outcomes=OUTCOMES,
        reason_of=lambda reason: reason_text(view, reason),
        may_cancel=batch.can_cancel and view.permits(CANCEL_BATCH),
        may_retry=batch.can_retry and view.permits(RETRY_ITEMS),
    )


def change_batch(view: View) -> Reply:
    """Cancel the batch, or have items read again."""
    batch_id, action = view.call.path_values["batch_id"], view.fields.get("action")
    texts = view.texts
    if action == "cancel":
        after = view.perform(CANCEL_BATCH, _given(BatchQuery, batch_id))
        notice = texts.gettext("The batch is cancelled; %d items are enrolled and stay.")
        return view.redirect(f"{ROOT}/{batch_id}", notice % after.enrolled)
    if action == "retry":
        reason = view.fields.get("reason")
        given = _given(RetryItems, batch_id, reasons=[reason] if reason else None)
        retried = view.perform(RETRY_ITEMS, given).retried
        notice = texts.gettext("%d items will be read again.")
        return view.redirect(f"{ROOT}/{batch_id}", notice % retried)
    raise InvalidParameter("there is no such action")


def applications(view: View) -> list[Tenant]:
    """All applications, for a field that chooses one."""
    return sorted(view.services.service.tenants.all(), key=lambda each: each.name)


def state_text(view: View, batch: OperatorBatch | BatchDetails) -> str:
    """The state of a batch in words."""
    return view.texts.gettext(STATES[batch.state])


def reason_text(view: View, reason: str) -> str:
    """Why an item was refused, in words; an unknown code as it is."""
    return view.texts.gettext(REASONS.get(reason, reason))


def _given(kind: type[Given], batch_id: str, **values: object) -> Given:
    """What a form or a query gives an operation. Raises ``InvalidParameter``."""
    try:
        return msgspec.convert({**values, "batch_id": batch_id}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidParameter(str(error)) from error


PAGES = (
    Page(ROOT, get=show_list),
    Page(f"{ROOT}/{{batch_id}}", get=show_batch, post=change_batch),
)
