"""An operator's first day, in a browser: nobody has shown the command line to this person."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.conftest import DESKTOP, watch
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

PEOPLE = ("Ariel_Sharon", "Colin_Powell", "Donald_Rumsfeld")

pytestmark = pytest.mark.heavy


@pytest.fixture
def service(tmp_path: Path, edge_models: Path) -> Iterator[Stack]:
    """A whole service, with a worker for batches."""
    with Stack(tmp_path, edge_models, row_picture_kb=0) as stack:
        stack.start_index()
        stack.start_worker(stages="bulk")
        yield stack.start()


@pytest.fixture
def page(browser: Browser, service: Stack) -> Iterator[Page]:
    """A browser that has never been here."""
    complaints: list[str] = []
    context = browser.new_context(viewport=DESKTOP, locale="en", base_url=service.url)
    context.set_default_timeout(TIMEOUT_S * 1000)
    expect.set_options(timeout=TIMEOUT_S * 1000)
    page = context.new_page()
    page.on("dialog", lambda dialog: dialog.accept())
    watch(page, service.url, complaints)
    yield page
    context.close()
    assert not complaints


def test_the_first_day(page: Page, service: Stack, test_data: Path, tmp_path: Path) -> None:
    photos = test_data / "photos"

    # The link that `faceline up` prints opens the console.
    page.goto(service.cluster.command("console-link", "--url", service.url).strip())
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")

    # An application, with credentials that are shown once.
    page.get_by_role("link", name="Applications").click()
    page.get_by_label("Name").fill("front desk")
    page.get_by_role("button", name="Make the application").click()
    line = page.locator("#curl-b").inner_text()
    page.get_by_role("link", name="I have kept them").click()

    # Three people are enrolled; a photo of several is refused, and the page says why.
    page.goto("/console/gallery")
    page.get_by_role("link", name="front desk").click()
    page.get_by_role("link", name="Enrol photos").first.click()
    chosen = [photos / person / f"{person}_0001.jpg" for person in PEOPLE]
    page.locator("#photos").set_input_files([*chosen, photos / "group_t1.jpg"])
    page.get_by_role("button", name="Enrol").click()
    expect(page.locator('[data-state="done"]')).to_have_count(3)
    refused = page.locator('[data-state="failed"]')
    expect(refused).to_have_count(1)
    expect(refused).to_contain_text("many_faces")
    assert re.search(r"More faces .+ Cut out the person", refused.inner_text())

    # One of them is found by another photo.
    page.get_by_role("link", name="Find a face").first.click()
    page.locator("#photo").set_input_files(
        photos / PEOPLE[1] / f"{PEOPLE[1]}_0003.jpg"
    )
    page.get_by_role("button", name="Find").click()
    expect(page.locator(".hits > li").first).to_contain_text(PEOPLE[1])

    # A batch that knows two people under two names each; both findings are settled.
    archive = tmp_path / "staff.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for person in PEOPLE[:2]:
            for number, name in ((4, f"{person} again"), (5, f"{person} again")):
                packed.write(photos / person / f"{person}_000{number}.jpg", f"{name}/{number}.jpg")
    page.goto("/console/batches/new?application=front desk")
    page.get_by_label("One zip or tar, or several photos").set_input_files(archive)
    page.get_by_role("button", name="Start", exact=True).click()
    review = page.get_by_role("link", name="Review the findings")
    expect(review).to_be_visible()
    review.click()
    for _ in range(2):
        heading = page.locator("section[aria-label^='Finding']")
        before = heading.get_attribute("aria-label")
        page.keyboard.press("m")
        expect(page.locator(f"section[aria-label='{before}']")).to_have_count(0)
    expect(page.get_by_text("Nothing to review")).to_be_visible()

    # The line for document b that was shown works as it stands.
    (tmp_path / "photo.jpg").write_bytes(chosen[0].read_bytes())
    answered = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=True,
    )
    assert json.loads(answered.stdout)["code"] in (0, 1), answered.stdout
    page.get_by_role("link", name="Jobs").click()
    expect(page.locator("tbody tr").first).to_contain_text("front desk")

    # All of it is in the audit log.
    page.get_by_role("link", name="Audit log").click()
    for action in ("applications.create", "findings.settle"):
        expect(page.get_by_text(action).first).to_be_visible()
