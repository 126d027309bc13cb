"""The findings of a batch as a review queue: one at a time, each settled by one key."""

from __future__ import annotations

from api_shim.admin.findings import (
    LIST_FINDINGS,
    SETTLE_FINDING,
    UNDO_CHANGE,
    ChangeToUndo,
    FindingOutcome,
    FindingSettlement,
    FindingsQuery,
)
from api_shim.admin.gallery import SHOW_CUTOUT
from api_shim.console.page import Page, View
from api_shim.console.pages.batches import ROOT, SHORT_KINDS, read_fields
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.batches.duplicate_search import FindingKind
from pipeline.batches.person_names import is_person_name
from pipeline.duplicates.review import Settlement

UPCOMING = 8  # findings that are named below the one that is shown

KINDS = {
    FindingKind.TWO_NAMES: "One person under two names?",
    FindingKind.UNNAMED: "The same person, without a name?",
    FindingKind.TWO_PEOPLE: "Two people under one name?",
    FindingKind.ODD_FACE: "A face that does not match its name?",
    FindingKind.SAME_PICTURE: "The same picture under another name",
}


class _QueuePage(FindingsQuery, frozen=True, kw_only=True):
    """The query of the queue. ``came_from``: the position before, to go back to; ``undo``: the
    change that can be taken back."""

    limit: int = UPCOMING
    came_from: str = ""
    undo: str = ""


def show(view: View) -> Reply:
    given = {name: each for name, each in view.query.items() if each}
    query = read_fields(_QueuePage, view.call.path_values["batch_id"], **given)
    page = view.perform(LIST_FINDINGS, query)
    return render(
        view, "batches/findings.html", page=page, query=query,
        finding=page.findings[0] if page.findings else None, upcoming=page.findings[1:],
        kinds=KINDS, short_kinds=SHORT_KINDS, is_named=is_person_name,
        sees=view.permits(SHOW_CUTOUT), may_settle=view.permits(SETTLE_FINDING),
    )


def settle(view: View) -> Reply:
    """Settle the finding of the form, or take a change back; the queue goes on where it was."""
    batch_id, fields = view.call.path_values["batch_id"], view.fields
    path = f"{ROOT}/{batch_id}/findings"
    place = {name: fields.get(name, "") for name in ("kind", "after", "came_from")}
    if "undo" in fields:
        given = read_fields(ChangeToUndo, batch_id, change_id=fields["undo"])
        view.perform(UNDO_CHANGE, given)
        return view.redirect(path, view.texts.gettext("It is as it was."), **place)
    wanted = {name: each for name in ("finding", "action", "side", "name")
              if (each := fields.get(name))}
    done = view.perform(SETTLE_FINDING, read_fields(FindingSettlement, batch_id, **wanted))
    return view.redirect(path, _notice(view, done), undo=done.change_id, **place)


def _notice(view: View, done: FindingOutcome) -> str:
    texts = view.texts
    if done.action is Settlement.DELETE:
        return texts.gettext("The face is deleted.")
    if done.action is Settlement.DISMISS:
        return texts.gettext("It is no finding, and is not found again.")
    if done.renamed == 1:
        return texts.gettext("One face has another name now.")
    return texts.gettext("%d faces have another name now.") % done.renamed


PAGES = (Page(f"{ROOT}/{{batch_id}}/findings", get=show, post=settle),)
