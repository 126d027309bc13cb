"""The overview as a page."""

from __future__ import annotations

from api_shim.admin.operation import Nothing
from api_shim.admin.overview import SHOW_OVERVIEW
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply


def show(view: View) -> Reply:
    found = view.perform(SHOW_OVERVIEW, Nothing())
    return render(view, "overview/page.html", look=found, problem="")


PAGES = (Page("/console", get=show),)
