"""All pages of the console."""

from __future__ import annotations

from api_shim.console.page import Page
from api_shim.console.pages import (
    account,
    application_limits,
    application_settings,
    application_webhooks,
    applications,
    audit,
    batches,
    calibration,
    collections,
    documentation,
    enrolment,
    face_search,
    findings,
    gallery,
    jobs,
    operators,
    overview,
    preferences,
    receipts,
    sign_in,
    system,
    try_it,
)

PAGES: tuple[Page, ...] = (
    *preferences.PAGES,
    *overview.PAGES,
    *jobs.PAGES,
    *gallery.PAGES,
    *collections.PAGES,
    *enrolment.PAGES,
    *face_search.PAGES,
    *receipts.PAGES,
    *sign_in.PAGES,
    *account.PAGES,
    *operators.PAGES,
    *audit.PAGES,
    *try_it.PAGES,
    *findings.PAGES,
    *applications.PAGES,
    *application_limits.PAGES,
    *application_webhooks.PAGES,
    *application_settings.PAGES,
    *batches.PAGES,
    *system.PAGES,
    *calibration.PAGES,
    *documentation.PAGES,
)
