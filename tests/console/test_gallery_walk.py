"""The pages about galleries in a browser: three people are enrolled, found, changed, moved and
deleted, and nothing of it goes wrong in any language, theme or width."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from tests.console.conftest import WALKED, Shape, Visit, check_page
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.waiting import TIMEOUT_S, eventually

WAIT_MS = 1000 * TIMEOUT_S

HOSTILE = "O'Neil <b>\"x\"</b> \U0001f600 \u05d0"


GALLERY = "/console/gallery"
COLLECTIONS = f"{GALLERY}/collections/change"


@pytest.mark.sends(
    f"{GALLERY}/delete", f"{GALLERY}/faces/{{face_id}}", f"{GALLERY}/enrol", f"{GALLERY}/search",
    *(f"{GALLERY}/change do={each}" for each in ("into", "out_of", "delete")),
    *(f"{COLLECTIONS} do={each}" for each in ("create", "change", "only", "empty", "with_faces")),
)
@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_people_come_are_found_and_go(
    stack: Stack, visit: Visit, shape: Shape, test_data: Path
) -> None:
    application = f"people {shape}"
    stack.add_tenant(application)
    photos = test_data / "photos"
    page = visit("/console/gallery", shape)
    page.set_default_timeout(WAIT_MS)
    check_page(page)
    page.locator("main a", has_text=application).click()
    _make_a_collection(page)
    _enrol(page, [
        photos / "obama.jpg", photos / "biden.jpg", test_data / "bad" / "no_face.png",
        test_data / "README.md",
    ])
    _find(page, photos / "obama.jpg")
    _change(page)
    _move_and_delete(page)


def _go(page: Page, part: str) -> None:
    """To another page of the gallery, by its links."""
    page.locator(f'.tabs a[href*="/console/gallery{part}?"]').last.click()


def _create(page: Page, key: str, name: str) -> None:
    new = page.locator("form", has=page.locator('[name="do"][value="create"]'))
    new.locator('[name="key"]').fill(key)
    new.locator('[name="name"]').fill(name)
    new.locator("button").click()
    page.locator(".notice").wait_for()


def _card(page: Page, key: str) -> Locator:
    return page.locator(".card", has=page.locator(f'[name="key"][value="{key}"]'))


def _delete(page: Page, key: str, how: str) -> None:
    """Delete a collection, or what is in it."""
    _go(page, "/collections")
    _card(page, key).locator("summary").click()
    page.once("dialog", lambda asked: asked.accept())
    _card(page, key).locator(f'[name="do"][value="{how}"]').click()
    page.locator(".notice").wait_for()


def _make_a_collection(page: Page) -> None:
    _go(page, "/collections")
    _create(page, "vip", HOSTILE)
    assert page.locator(".card h2", has_text=HOSTILE).count() == 1
    card = _card(page, "vip")
    card.locator('[name="score"]').fill("55.5")
    card.locator('[name="do"][value="change"]').click()
    page.locator(".notice").wait_for()
    assert card.locator('[name="score"]').input_value() == "55.5"


def _enrol(page: Page, files: list[Path]) -> None:
    """Two are enrolled, two are refused and say why; the list grows without leaving the page."""
    _go(page, "/enrol")
    page.locator('[name="photos"]').set_input_files(files)
    page.locator('[name="in-vip"]').check()
    page.locator("form[data-enrol] button").click()
    rows = page.locator("#enrolled tbody tr")
    rows.nth(len(files) - 1).wait_for()
    # Not by ``wait_for_function``: the pages' policy lets nothing be evaluated in them.
    ended = page.locator(", ".join(
        f'#enrolled tbody tr[data-state="{state}"]' for state in ("done", "failed", "refused")
    ))
    eventually(lambda: ended.count() == len(files), "every photo has its outcome")
    codes = [each.inner_text() for each in page.locator("#enrolled tbody code").all()]
    assert codes == ["no_face", "not_a_picture"]
    assert [each.get_attribute("data-state") for each in rows.all()] == [
        "done", "done", "failed", "refused"
    ]
    assert rows.nth(0).locator("img").count() == 1
    assert rows.nth(2).locator("img").count() == 1
    check_page(page)


def _find(page: Page, photo: Path) -> None:
    _go(page, "/search")
    page.locator('[name="photo"]').set_input_files(photo)
    page.locator('form[enctype] button').last.click()
    page.locator(".hits li").first.wait_for()
    first = page.locator(".hits li").first
    assert "obama" in first.inner_text()
    assert "vip" in first.locator(".badge.good").inner_text()
    check_page(page)
    first.locator("a").click()


def _change(page: Page) -> None:
    page.locator(".boxed svg rect").wait_for()
    loaded = "[...document.images].every(each => each.complete)"
    eventually(lambda: page.evaluate(loaded), "the pictures are loaded")
    shown = page.evaluate("document.querySelector('.boxed img').naturalWidth")
    assert shown > 0
    check_page(page)
    assert page.locator("tbody tr").count() == 2  # its enrolment and the search
    form = page.locator("form", has=page.locator('[name="gender"]'))
    form.locator('[name="name"]').fill(HOSTILE)
    form.locator('[name="in-vip"]').uncheck()
    form.locator('[name="in-default"]').check()
    form.locator("button").click()
    page.locator(".notice").wait_for()
    assert page.locator("h1").inner_text() == HOSTILE


def _move_and_delete(page: Page) -> None:
    _go(page, "")
    page.locator('[name="name"]').fill("o'neil")
    page.locator('form[role="search"] button').click()
    assert page.locator(".faces li").count() == 1
    check_page(page)
    page.locator(".faces li [type=checkbox]").check()
    page.locator('form[action$="/change"] [name="collection"]').select_option("vip")
    page.locator('[name="do"][value="into"]').click()
    page.locator(".notice").wait_for()
    page.locator('[role="search"] [name="collection"]').select_option("vip")
    page.locator('form[role="search"] button').click()
    assert page.locator(".faces li").count() == 2
    for box in page.locator(".faces li [type=checkbox]").all():
        box.check()
    page.locator('form[action$="/change"] [name="collection"]').select_option("default")
    page.locator('[name="do"][value="out_of"]').click()
    page.locator(".notice").wait_for()
    page.locator(".faces li [type=checkbox]").first.check()
    page.locator('[name="do"][value="delete"]').click()
    check_page(page)
    page.locator('form[action$="/delete"] button.danger').click()
    page.locator("#receipt").wait_for()
    check_page(page)
    with page.expect_download() as download:
        page.locator("#receipt a[download]").click()
    assert '"deleted":' in download.value.path().read_text()
    _go(page, "")
    page.locator(".faces li a").first.click()
    page.once("dialog", lambda asked: asked.accept())
    page.locator('form[action$="/delete"] button.danger').click()
    page.locator("#receipt").wait_for()
    _go(page, "/receipts")
    assert page.locator("tbody tr").count() == 2
    check_page(page)
    _go(page, "/collections")
    _create(page, "guests", "Guests")
    _delete(page, "guests", "empty")
    _delete(page, "guests", "only")
    assert _card(page, "guests").count() == 0
    _delete(page, "vip", "with_faces")
    _go(page, "/collections")
    assert _card(page, "vip").count() == 0
