"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    audit,
    batches,
    documentation,
    preferences,
    system,
    try_it,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *audit.PAGES,
    *try_it.PAGES,
    *batches.PAGES,
    *system.PAGES,
    *documentation.PAGES,
)
