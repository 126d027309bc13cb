"""The audit log as a page."""

from __future__ import annotations

from api_shim.admin.audit import LIST_ENTRIES
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.operators.model import OperatorRole


def show(view: View) -> Reply:
    given = view.read(LIST_ENTRIES)
    found = view.perform(LIST_ENTRIES, given)
    return render(view, "audit.html", page=found, given=given)


PAGES = (Page("/console/audit", get=show, role=OperatorRole.ADMINISTRATOR),)
