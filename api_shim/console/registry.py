"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    audit,
    batches,
    collections,
    documentation,
    enrolment,
    face_search,
    gallery,
    preferences,
    receipts,
    system,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *gallery.PAGES,
    *collections.PAGES,
    *enrolment.PAGES,
    *face_search.PAGES,
    *receipts.PAGES,
    *audit.PAGES,
    *batches.PAGES,
    *system.PAGES,
    *documentation.PAGES,
)
