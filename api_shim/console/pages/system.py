"""What the service is made of and set to."""

from __future__ import annotations

from api_shim.admin.operation import Nothing
from api_shim.admin.system import SETTINGS
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply
from pipeline.config.described import SettingSource

ROOT = "/console/system"


def show(view: View) -> Reply:
    return render(view, "system/overview.html")


def show_settings(view: View) -> Reply:
    """Those that have the words of ``q``, and with ``given`` only those that were set."""
    found = view.perform(SETTINGS, Nothing())
    words, given = view.query.get("q", "").casefold().split(), view.query.get("given", "")
    shown = [
        each for each in found.settings
        if all(word in f"{each.variable} {each.meaning}".casefold() for word in words)
        and (not given or each.source is not SettingSource.DEFAULT)
    ]
    return render(
        view, "system/settings.html", found=found, shown=shown, q=view.query.get("q", ""),
        given=given,
    )


PAGES = (
    Page(ROOT, get=show),
    Page(f"{ROOT}/settings", get=show_settings),
)
