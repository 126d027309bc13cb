"""Batches: a list, and one with its progress, its refused items and what can be done."""

from __future__ import annotations

from functools import partial

import msgspec

from api_shim.admin.batches import (
    CANCEL_BATCH,
    DROP_REFUSED_PICTURES,
    LIST_BATCHES,
    LIST_ITEMS,
    RETRY_ITEMS,
    SHOW_BATCH,
    SHOW_REFUSED_PICTURE,
    START_BATCH,
    BatchDetails,
    BatchFile,
    BatchItemsQuery,
    BatchQuery,
    OperatorBatch,
    OperatorItems,
    RetryItems,
    StartBatch,
)
from api_shim.admin.failure_words import words_about
from api_shim.admin.operation import Given
from api_shim.body import BodyKind
from api_shim.console.failures import own_advice, why_text
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.intake import max_body_bytes
from api_shim.multipart import MAX_PARTS
from api_shim.requests import Reply
from pipeline.accounts.model import Tenant
from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.model import BatchState, ItemState
from pipeline.errors import InvalidParameter
from pipeline.operators.model import OperatorRole

ROOT = "/console/batches"

ITEMS_SHOWN = 24

# Fields of the form beside them: what a form has in all is limited.
MAX_FILES = MAX_PARTS - 12

OPTIONS = ("create_collection", "gate", "reject_duplicates", "take_litter")

STATES = {
    BatchState.READING: "Reading the source", BatchState.WORKING: "Enrolling",
    BatchState.DONE: "Done", BatchState.CANCELLED: "Cancelled", BatchState.FAILED: "Failed",
}
OUTCOMES = {
    ItemState.ENROLLED: "Enrolled", ItemState.DUPLICATE: "Duplicate",
    ItemState.REJECTED: "Refused", ItemState.CANCELLED: "Cancelled",
    ItemState.WAITING: "In work", ItemState.AGAIN: "To be read again",
}

SHORT_KINDS = {
    FindingKind.TWO_NAMES: "Two names", FindingKind.UNNAMED: "No name",
    FindingKind.TWO_PEOPLE: "Several people", FindingKind.ODD_FACE: "Odd face",
    FindingKind.SAME_PICTURE: "Same picture",
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
        may_start=view.permits(START_BATCH),
    )


def show_form(view: View) -> Reply:
    settings = view.services.service.settings
    return render(
        view, "batches/new.html", applications=applications(view),
        has_bucket=bool(settings.import_url), most_files=MAX_FILES,
        most_bytes=max_body_bytes(settings), application=view.query.get("application", ""),
    )


def start_batch(view: View) -> Reply:
    """Start a batch of the form's files, else of its prefix."""
    fields = view.fields
    files = [BatchFile(each.filename[-255:] or "photo", each.data) for each in view.uploads]
    if not files and fields.get("source") == "upload":
        raise InvalidParameter(view.texts.gettext("Choose a file first."))
    given: dict[str, object] = {
        name: fields[name] for name in ("application", "collection", "faces", "layout")
        if fields.get(name)
    }
    options = {name: name in fields for name in OPTIONS}
    source = {"files": files} if files else {"prefix": fields.get("prefix", "")}
    try:
        request = msgspec.convert({**given, **options, **source}, StartBatch, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidParameter(str(error)) from error
    batch = view.perform(START_BATCH, request)
    notice = view.texts.gettext("The batch has begun.")
    return view.redirect(f"{ROOT}/{batch.batch_id}", notice)


def show_batch(view: View) -> Reply:
    given = {name: each for name, each in view.query.items() if each}
    query = read_fields(_BatchPage, view.call.path_values["batch_id"], **given)
    batch = view.perform(SHOW_BATCH, BatchQuery(batch_id=query.batch_id))
    items = view.perform(LIST_ITEMS, query) if batch.items else OperatorItems([], None)
    return render(
        view, "batches/batch.html", batch=batch, items=items, query=query,
        state_of=lambda batch: state_text(view, batch), outcomes=OUTCOMES,
        short_kinds=SHORT_KINDS,
        says_more=lambda item: item.detail not in ("", words_about(item.reason).why),
        reason_of=partial(why_text, view.texts), advice_of=partial(own_advice, view.texts),
        may_cancel=batch.can_cancel and view.permits(CANCEL_BATCH),
        may_retry=batch.can_retry and view.permits(RETRY_ITEMS),
        sees_pictures=view.permits(SHOW_REFUSED_PICTURE),
        may_drop=view.permits(DROP_REFUSED_PICTURES),
        kept_d=view.services.service.settings.refused_picture_retention_d,
    )


def change_batch(view: View) -> Reply:
    """Cancel the batch, have items read again, or delete the pictures of refused ones."""
    batch_id, action = view.call.path_values["batch_id"], view.fields.get("action")
    texts = view.texts
    if action == "cancel":
        after = view.perform(CANCEL_BATCH, read_fields(BatchQuery, batch_id))
        notice = texts.gettext("The batch is cancelled; %d items are enrolled and stay.")
        return view.redirect(f"{ROOT}/{batch_id}", notice % after.enrolled)
    if action == "retry":
        reason = view.fields.get("reason")
        given = read_fields(RetryItems, batch_id, reasons=[reason] if reason else None)
        retried = view.perform(RETRY_ITEMS, given).retried
        notice = texts.gettext("%d items will be read again.")
        return view.redirect(f"{ROOT}/{batch_id}", notice % retried)
    if action == "drop":
        dropped = view.perform(DROP_REFUSED_PICTURES, read_fields(BatchQuery, batch_id)).deleted
        return view.redirect(f"{ROOT}/{batch_id}", texts.gettext("%d pictures are gone.") % dropped)
    raise InvalidParameter("there is no such action")


def applications(view: View) -> list[Tenant]:
    """All applications, for a field that chooses one."""
    return sorted(view.services.service.tenants.all(), key=lambda each: each.name)


def state_text(view: View, batch: OperatorBatch | BatchDetails) -> str:
    """The state of a batch in words."""
    return view.texts.gettext(STATES[batch.state])


def read_fields(kind: type[Given], batch_id: str, **values: object) -> Given:
    """What a form or a query gives an operation. Raises ``InvalidParameter``."""
    try:
        return msgspec.convert({**values, "batch_id": batch_id}, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidParameter(str(error)) from error


PAGES = (
    Page(ROOT, get=show_list),
    Page(
        f"{ROOT}/new", get=show_form, post=start_batch, role=OperatorRole.OPERATOR,
        carries=BodyKind.CLIP,
    ),
    Page(f"{ROOT}/{{batch_id}}", get=show_batch, post=change_batch),
)
