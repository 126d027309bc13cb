"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    audit,
    batches,
    calibration,
    documentation,
    jobs,
    overview,
    preferences,
    system,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *overview.PAGES,
    *jobs.PAGES,
    *audit.PAGES,
    *batches.PAGES,
    *system.PAGES,
    *calibration.PAGES,
    *documentation.PAGES,
)
