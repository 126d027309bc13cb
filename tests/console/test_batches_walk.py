"""The pages about batches in a browser: a source is uploaded, watched and looked at, and findings
are settled by the keyboard, in every language, theme and width."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, FilePayload, Page

from pipeline.batches.findings import open_findings
from pipeline.batches.model import BatchState
from pipeline.stages.thumbnail import thumbnail
from tests.batch_harness import picture
from tests.console.conftest import SHAPES, WALKED, Shape, Visit, check_page, visiting
from tests.console.test_batches import MIXED, keep_picture, make_batch
from tests.console.test_findings import HOSTILE, make_findings, names_of
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.waiting import eventually

APPLICATION = "batches, walked"

FLAT = "<script>alert('ה')<x>"
"""A folder, and so the name of its person."""

BATCH = "/console/batches/{batch_id}"
FINDINGS = f"{BATCH}/findings"

OUTCOMES = {
    "Ada/1.jpg": ("enrolled", ""), "Ada/again.jpg": ("duplicate", "same_picture"),
    "Bob/1.jpg": ("enrolled", ""), "crowd/1.jpg": ("rejected", "many_faces"),
    f"{FLAT}/1.png": ("rejected", "no_face"), "text/1.jpg": ("rejected", "not_a_picture"),
}

pytestmark = ONE_DATABASE


def packed(test_data: Path) -> bytes:
    """A zip of photos, a few of which are refused."""
    photos = test_data / "photos"
    files = {
        "Ada/1.jpg": photos / "obama.jpg", "Ada/again.jpg": photos / "obama.jpg",
        "Bob/1.jpg": photos / "biden.jpg", "crowd/1.jpg": photos / "two_people.jpg",
        f"{FLAT}/1.png": test_data / "bad" / "no_face.png", "text/1.jpg": test_data / "README.md",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, path in files.items():
            archive.write(path, name)
    return out.getvalue()


@pytest.fixture(scope="module")
def batch(stack: Stack, browser: Browser, test_data: Path) -> Iterator[str]:
    """The path of the page of a batch that was started in a browser and has ended there."""
    stack.add_tenant(APPLICATION)
    file: FilePayload = {
        "name": "people.zip", "mimeType": "application/zip", "buffer": packed(test_data)
    }
    with visiting(browser, stack) as visit:
        page = visit("/console/batches")
        page.locator('[name="application"]').select_option(APPLICATION)
        page.locator("form.row button").click()
        check_page(page)
        page.get_by_role("link", name="Start a batch").click()
        page.locator("summary", has_text="Options").click()
        page.locator('[name="faces"]').select_option("one")
        check_page(page)
        page.locator('[name="files"]').set_input_files([file])
        page.get_by_role("button", name="Start", exact=True).click()
        page.locator(".notice").wait_for()
        check_page(page)
        with stack.cluster.worker(stages="bulk", concurrency=1):
            # The page is fetched anew by itself.
            page.locator("#progress > .row .badge.good").wait_for()
            page.get_by_role("heading", name="Why items were refused").wait_for()
            page.get_by_text("The search found nothing to review.").wait_for()
        yield page.url.split("?")[0].removeprefix(stack.url)


def go(page: Page, state: str) -> None:
    """To the items of this outcome."""
    page.locator(f'.outcomes a[href*="state={state}"]').click()
    page.wait_for_url(f"**state={state}**")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_became_of_a_batch(visit: Visit, batch: str, shape: Shape) -> None:
    page = visit(batch, shape)
    figures = [each.inner_text() for each in page.locator(".outcomes .figure").all()]
    assert figures == ["2", "1", "3", "0", "0"]
    rows = page.locator("#items ~ .scroll tbody tr")
    assert rows.count() == 3
    pictures = page.locator("img.thumbnail")
    assert pictures.count() == 2
    eventually(lambda: page.evaluate(
        "[...document.querySelectorAll('img.thumbnail')]"
        ".every((each) => { each.scrollIntoView(); return each.complete; })"
    ), "the pictures are loaded")
    sizes = [each.evaluate("each => [each.naturalWidth, each.naturalHeight]")
             for each in pictures.all()]
    assert all(0 < max(size) <= 160 for size in sizes), sizes
    assert page.locator("tr", has_text=FLAT).locator("img").count() == 1
    assert page.locator("tr", has_text="text/1.jpg").locator("img").count() == 0
    check_page(page)

    page.locator('a[href*="reason=many_faces"]').click()
    page.wait_for_url("**reason=many_faces**")
    assert rows.count() == 1
    assert "crowd/1.jpg" in rows.first.inner_text()
    for state, count in (("duplicate", 1), ("enrolled", 2), ("cancelled", 1)):
        go(page, state)
        assert rows.count() == count  # one says that there is none
        assert pictures.count() == 0
    check_page(page)
    with page.expect_download() as download:
        page.locator('a[href*="format=csv"]').click()
    report = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert {row["source_name"]: (row["outcome"], row["reason"]) for row in report} == OUTCOMES
    with page.expect_download() as download:
        page.locator('a[href*="format=jsonl"]').click()
    assert len(download.value.path().read_text().splitlines()) == len(OUTCOMES)


def press(page: Page, key: str) -> None:
    """Press a key and wait for the page that follows."""
    with page.expect_navigation():
        page.keyboard.press(key)


@pytest.mark.sends(
    FINDINGS,
    *(f"{FINDINGS} action={each}" for each in ("merge", "split", "rename", "delete", "dismiss")),
)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_findings_are_settled_by_keys(
    browser: Browser, idle_stack: Stack, shape: Shape
) -> None:
    found = make_findings(idle_stack, f"findings, walked {shape}")
    engine = idle_stack.cluster.engine
    with visiting(browser, idle_stack) as visit:
        page = visit(f"/console/batches/{found.id}", shape)
        page.locator('a.button[href$="/findings"]').click()
        page.on("dialog", lambda asked: asked.accept())
        page.locator(".pair").wait_for()
        check_page(page)
        first = page.locator("h1").inner_text()
        press(page, "j")
        assert page.locator("h1").inner_text() != first
        press(page, "k")
        assert page.locator("h1").inner_text() == first

        # The odd face is another person, and is renamed; neither is kept.
        page.locator('form:has(button[data-key="s"]) [name="name"]').fill("Zoe")
        page.locator("h1").click()
        press(page, "s")
        assert "Zoe" in names_of(idle_stack, found)
        press(page, "u")
        assert "Zoe" not in names_of(idle_stack, found)
        page.keyboard.press("r")
        page.keyboard.type(HOSTILE)
        press(page, "Enter")
        assert names_of(idle_stack, found).count(HOSTILE) == 2
        check_page(page)
        press(page, "u")
        press(page, "n")
        assert len(open_findings(engine, found.id)) == 2
        press(page, "u")
        assert len(open_findings(engine, found.id)) == 3
        press(page, "n")

        # One person under two names.
        assert {"Bob", HOSTILE} <= {*names_of(idle_stack, found)}
        press(page, "m")
        assert len({"Bob", HOSTILE} & {*names_of(idle_stack, found)}) == 1
        check_page(page)

        # A face without a name is deleted for good.
        faces = len(names_of(idle_stack, found))
        press(page, "d")
        assert len(names_of(idle_stack, found)) == faces - 1
        page.locator(".empty").wait_for()
        check_page(page)
    assert open_findings(engine, found.id) == []


@pytest.mark.sends(
    "/console/batches/new", f"{BATCH} action=cancel", f"{BATCH} action=retry"
)
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_batches_are_cancelled_and_tried_again(
    browser: Browser, idle_stack: Stack, shape: Shape
) -> None:
    with visiting(browser, idle_stack) as visit:
        page = visit("/console/batches/new?application=stack", shape)
        page.on("dialog", lambda dialog: dialog.accept())
        page.set_input_files(
            "[name=files]", {"name": "ada.png", "mimeType": "image/png", "buffer": picture("ada")}
        )
        page.click("main form button")
        page.wait_for_url("**/console/batches/*")
        settle(page, "cancel")
        from_bucket = make_batch(
            idle_stack, MIXED, state=BatchState.READING, source="prefix:p", unattended=True
        )
        page.goto(f"/console/batches/{from_bucket.id}")
        settle(page, "cancel")
        settle(page, "retry")


def settle(page: Page, action: str) -> None:
    page.click(f"button[value={action}]")
    page.wait_for_selector("[role=status]")
    check_page(page)
    page.wait_for_selector(f"button[value={action}]", state="detached")


@pytest.mark.sends(f"{BATCH} action=drop")
def test_pictures_of_refused_items_are_deleted_by_their_button(
    browser: Browser, idle_stack: Stack
) -> None:
    made = make_batch(idle_stack, MIXED)
    keep_picture(idle_stack, made, 4, thumbnail(np.zeros((9, 9, 3), np.uint8)))
    with visiting(browser, idle_stack) as visit:
        page = visit(f"/console/batches/{made.id}")
        assert page.locator("img.thumbnail").count() == 1
        page.once("dialog", lambda asked: asked.accept())
        page.locator('button[value="drop"]').click()
        page.locator(".notice").wait_for()
        assert page.locator("img.thumbnail").count() == 0
        assert page.locator("#items ~ .scroll tbody tr").count() == 3
        check_page(page)
