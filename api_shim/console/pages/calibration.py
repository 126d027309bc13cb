"""The calibration of the pack and of an application, with the score to ask for."""

from __future__ import annotations

from api_shim.admin.calibration import SHOW
from api_shim.console.calibration_plot import draw
from api_shim.console.page import Page, View
from api_shim.console.rendering import render
from api_shim.requests import Reply

RATES = (0.1, 0.01, 0.001, 0.0001)
"""The shares of strangers that the form offers."""


def show(view: View) -> Reply:
    asked = view.read(SHOW)
    state = view.perform(SHOW, asked)
    names = {"own": state.own_table, "pack": state.table}
    tables = {name: table for name, table in names.items() if table is not None}
    return render(
        view, "system/calibration.html", asked=asked, state=state,
        applications=[each.name for each in view.services.service.tenants.all()],
        rates=sorted({*RATES, asked.strangers}, reverse=True),
        plot=draw(tables, next(iter(state.advice), None)) if tables else None,
    )


PAGES = (Page("/console/system/calibration", get=show),)
