"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    audit,
    collections,
    enrolment,
    face_search,
    gallery,
    preferences,
    receipts,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *gallery.PAGES,
    *collections.PAGES,
    *enrolment.PAGES,
    *face_search.PAGES,
    *receipts.PAGES,
    *audit.PAGES,
)
