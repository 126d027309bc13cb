"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    audit,
    batches,
    documentation,
    preferences,
    system,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *audit.PAGES,
    *batches.PAGES,
    *system.PAGES,
    *documentation.PAGES,
)
