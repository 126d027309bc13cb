"""The audit log as a page."""

from __future__ import annotations

from api_shim.admin.audit import LIST_ENTRIES
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.operators.model import OperatorRole


def show(view: View) -> Reply:
    found = view.perform(LIST_ENTRIES, view.read(LIST_ENTRIES))
    return render(view, "audit.html", page=found)


PAGES = (Page("/console/audit", get=show, role=OperatorRole.ADMINISTRATOR),)
