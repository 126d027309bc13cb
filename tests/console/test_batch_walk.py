"""Batches and the queue of their findings in a browser: everything that can be done about them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.batches.model import BatchState
from tests.batch_harness import picture
from tests.console.conftest import WALKED, Shape, check_page, visiting
from tests.console.test_batches import MIXED, make_batch
from tests.console.test_findings import make_findings
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

PATIENCE_MS = 1000 * TIMEOUT_S

BATCH = "/console/batches/{batch_id}"
FINDINGS = f"{BATCH}/findings"


@pytest.mark.sends(
    "/console/batches/new", f"{BATCH} action=cancel", f"{BATCH} action=retry", FINDINGS,
    *(f"{FINDINGS} action={each}" for each in ("merge", "split", "rename", "delete", "dismiss")),
)
@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(browser: Browser, idle_stack: Stack, shape: Shape) -> None:
    with visiting(browser, idle_stack) as visit:
        page = visit("/console/batches/new?application=stack", shape)
        page.on("dialog", lambda dialog: dialog.accept())
        page.set_input_files(
            "[name=files]", {"name": "ada.png", "mimeType": "image/png", "buffer": picture("ada")}
        )
        page.click("main form button")
        page.wait_for_url("**/console/batches/*")
        _settle_batch(page, "cancel")
        from_bucket = make_batch(
            idle_stack, MIXED, state=BatchState.READING, source="prefix:p", unattended=True
        )
        page.goto(f"/console/batches/{from_bucket.id}")
        _settle_batch(page, "cancel")
        _settle_batch(page, "retry")
        findings = make_findings(idle_stack, f"findings {shape}")
        page.goto(f"/console/batches/{findings.id}/findings")
        _review(page)


def _settle_batch(page: Page, action: str) -> None:
    page.click(f"button[value={action}]")
    page.wait_for_selector("[role=status]")
    check_page(page)
    expect(page.locator(f"button[value={action}]")).to_have_count(0)


def _review(page: Page) -> None:
    """An odd face, two names and a face without one; by keys and by buttons."""

    def settle(key: str = "", form: str = "", name: str = "") -> None:
        """The finding is settled: the next one is shown, or none."""
        shown = page.locator("section[aria-label]")
        before = shown.get_attribute("aria-label")
        if key:
            page.keyboard.press(key)
        else:
            page.locator(f"form:has([value={form}]) [name=name]").first.fill(name)
            page.locator(f"button[value={form}]").first.click()
        expect(page.locator(f"section[aria-label='{before}']")).to_have_count(
            0, timeout=PATIENCE_MS
        )
        check_page(page)

    def take_back() -> None:
        page.keyboard.press("u")
        expect(page.locator("[name=undo]")).to_have_count(0, timeout=PATIENCE_MS)

    settle(form="split", name="Zoe")
    take_back()
    settle(form="rename", name="Yan")
    settle("n")
    take_back()
    settle("m")
    settle("d")
    expect(page.locator("main .empty")).to_have_count(1)
