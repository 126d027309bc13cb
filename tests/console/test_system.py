"""Settings and documentation: what is shown, found, hidden."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Browser

from api_shim.documentation.library import all_pages, pictures
from api_shim.documentation.rendering import render_page
from pipeline.calibration.advice import advise
from pipeline.calibration.table import load_table, save_table
from pipeline.config.settings import Settings
from pipeline.deployment.pack import agree_on_pack
from pipeline.deployment.pack_upgrade import begin_upgrade, end_upgrade
from pipeline.operators.audit import AuditLog
from pipeline.operators.model import OperatorRole
from pipeline.sessions import registry
from pipeline.types import VectorModel
from tests.console.conftest import (
    WALKED,
    ConsoleClient,
    Shape,
    Visit,
    check_page,
    sign_in,
    visiting,
)
from tests.databases import ONE_DATABASE
from tests.stack import Stack
from tests.synthetic_gallery import fill_gallery
from tests.unit.sessions_release import Behaviour, serve
from tests.waiting import eventually


def test_settings_say_where_they_come_from(console: ConsoleClient, idle_stack: Stack) -> None:
    listed = console.get("/admin/system/settings").json()["settings"]
    by_name = {each["variable"]: each for each in listed}
    assert by_name["FACELINE_HOLD_S"]["source"] == "environment"
    assert by_name["FACELINE_HOLD_S"]["value"] == "1.0"
    assert by_name["FACELINE_MAX_ATTEMPTS"]["source"] == "default"
    assert by_name["FACELINE_MASTER_KEY"]["source"] in ("file", "environment")
    assert by_name["FACELINE_MASTER_KEY"]["value"] == "(set)"
    page = console.get("/console/system/settings").text
    assert by_name["FACELINE_LEASE_S"]["meaning"] in page
    given = console.get("/console/system/settings?given=1&q=hold_s").text
    assert "FACELINE_HOLD_S" in given
    assert "FACELINE_LIVING_HOLD_S" not in given
    hostile = console.get("/console/system/settings", params={"q": '"><script>alert(1)'})
    assert "<script>alert" not in hostile.text
    assert "FACELINE_HOLD_S" not in hostile.text


def test_every_page_of_the_documentation_is_served(console: ConsoleClient) -> None:
    for name in all_pages():
        answer = console.get(f"/console/docs/{name}")
        assert answer.status_code == 200
        assert answer.text.count("<h1") == 1
    kinds = {".svg": "image/svg+xml", ".png": "image/png"}
    for name in pictures():
        answer = console.get(f"/console/docs/{name}")
        assert answer.headers["content-type"] == kinds[PurePosixPath(name).suffix]
    assert console.get("/console/docs/nothing").status_code == 404
    assert console.get("/console/docs/..%2f..%2fpyproject.toml").status_code == 404
    assert console.get("/console/docs/api.md").headers["location"] == "/console/docs/api"


def test_links_between_pages_lead_to_places() -> None:
    places = {
        f"/console/docs/{name}": set(re.findall(r' id="([^"]+)"', render_page(name)))
        for name in all_pages()
    }
    checked = 0
    for base in places:
        html = render_page(base.removeprefix("/console/docs/"))
        for target in re.findall(r'<a href="([^":]+)"', html):
            path, _, anchor = urljoin(base, target).partition("#")
            if path.removeprefix("/console/docs/") not in pictures():
                assert path in places, f"{base} links to {target}"
                assert not anchor or anchor in places[path], f"{base} links to {target}"
                checked += 1
        for source in re.findall(r'<img src="([^"]+)"', html):
            assert urljoin(base, source).removeprefix("/console/docs/") in pictures()
    assert checked > 100


def test_the_documentation_is_searched(console: ConsoleClient) -> None:
    found = console.get("/admin/docs", params={"q": "Receipt restored", "limit": 3}).json()
    assert found["total"] >= len(found["sections"]) > 0
    for section in found["sections"]:
        words = {part["text"].casefold() for part in section["excerpt"] if part["found"]}
        assert words <= {"receipt", "restored"}
    page = console.get("/console/docs", params={"q": "threshold"}).text
    assert re.search(r"<mark>threshold</mark>", page, re.IGNORECASE)
    target = re.search(r'<h2><a href="(/console/docs/[^"#]+)#([^"]*)"', page)
    assert target
    assert f'id="{target[2]}"' in console.get(target[1]).text
    hostile = console.get("/console/docs", params={"q": "<script>alert(1)</script> 'x\" 🙂"})
    assert "<script>alert" not in hostile.text
    assert console.get("/console/docs", params={"q": "zzzqqq"}).text.count("<mark>") == 0


def test_viewers_may_read(idle_stack: Stack) -> None:
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    for path in ("/console/system", "/console/system/settings", "/console/docs"):
        assert viewer.get(path).status_code == 200


@ONE_DATABASE
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(visit: Visit, shape: Shape) -> None:
    page = visit("/console/system", shape)
    page.locator('main a[href$="/system/settings"]').first.click()
    page.locator('main input[name="q"]').fill("hold_s")
    page.locator('main form[role="search"] button').click()
    assert page.locator("tr#FACELINE_HOLD_S").count() == 1
    check_page(page)
    page.goto("/console/docs?q=receipt")
    page.locator("ol.found a").first.click()
    check_page(page)
    page.goto("/console/docs/bulk")
    check_page(page)
    assert page.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
    page.goto("/console/system/calibration")
    page.locator('main input[name="faces"]').fill("100000")
    page.locator("main form button").first.click()
    assert page.locator("p.notice strong").inner_text() == "95"
    check_page(page)


# Calibration ---------------------------------------------------------------------------


def test_calibration_advises_a_score(idle_stack: Stack, edge_models: Path) -> None:
    console = sign_in(idle_stack)
    settings = idle_stack.settings
    info = agree_on_pack(settings, idle_stack.cluster.engine)
    deployed = load_table(info.name, settings.data_dir, info.recognition_model)
    assert deployed is not None
    state = console.get(
        "/admin/calibration", params={"faces": 48211, "strangers": 0.01}
    ).json()
    expected = advise(48211, 0.01, deployed, None)
    assert state["pack"] == info.name
    assert [each["score"] for each in state["advice"]] == [expected.score] == [94]
    assert state["table"]["knots"] == [list(knot) for knot in deployed.knots]
    page = console.get("/console/system/calibration?faces=48211&strangers=0.01").text
    assert re.search(r'class="figure">94<', page)
    assert page.count('class="curve ') == 2
    assert console.get("/console/system/calibration?faces=x").status_code == 400
    assert console.get("/admin/calibration?application=nobody").status_code == 404


def test_an_application_has_its_own_curve(idle_stack: Stack, edge_models: Path) -> None:
    console = sign_in(idle_stack)
    settings = idle_stack.settings
    info = agree_on_pack(settings, idle_stack.cluster.engine)
    deployed = load_table(info.name, settings.data_dir, info.recognition_model)
    assert deployed is not None
    hostile = '"><img src=x onerror=alert(1)> 🙂'
    tenant = idle_stack.tenants.create(hostile)
    alike = replace(deployed, knots=tuple((x + 0.05, y) for x, y in deployed.knots), origin=hostile)
    path = save_table(alike, settings.data_dir, tenant.id)
    try:
        asked = {"application": hostile, "faces": 1000}
        state = console.get("/admin/calibration", params=asked).json()
        page = console.get("/console/system/calibration", params=asked).text
    finally:
        path.unlink()
    assert state["own_table"]["origin"] == hostile
    assert [each["group"] for each in state["advice"]] == ["", "default"]
    assert state["advice"][0]["cosine"] == pytest.approx(
        alike.cosine_of(state["advice"][0]["score"] / 100)
    )
    assert page.count('class="curve ') == 4
    assert "<img src=x" not in page


# Packs and indexes ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def pack_stack(tmp_path_factory: pytest.TempPathFactory, edge_models: Path) -> Iterator[Stack]:
    """A service with three faces and an index process, a models directory of its own, and an
    address without archives."""
    models = tmp_path_factory.mktemp("models")
    (models / "edge").symlink_to(edge_models / "edge")
    folder = tmp_path_factory.mktemp("packs")
    with (
        serve(Behaviour(b"", statuses=[404] * 100)) as url,
        Stack(folder, models, models_url=url) as stack,
    ):
        info = agree_on_pack(stack.settings, stack.cluster.engine)
        model = VectorModel(info.name, info.recognition_model, info.dimension)
        fill_gallery(stack.cluster.engine, stack.cluster.tenant, 3, model)
        stack.start_index()
        yield stack.start_shim()


def task_of(client: ConsoleClient, pack: str) -> dict[str, Any]:
    return next(
        (each for each in client.get("/admin/packs").json()["tasks"] if each["pack"] == pack), {}
    )


def test_packs_are_verified_and_pulled_in_the_background(pack_stack: Stack) -> None:
    console = sign_in(pack_stack)
    listed = console.get("/admin/packs").json()
    edge = next(each for each in listed["installed"] if each["name"] == "edge")
    assert edge["pinned"]
    assert listed["pinned"]["digest"].startswith(edge["digest"])
    assert "buffalo_l" in {each["name"] for each in listed["downloadable"]}
    assert edge["licence"] in unescape(console.get("/console/system/packs").text)
    begun = console.post("/admin/packs/edge/verify", json={})
    assert begun.json()["state"] == "running"
    eventually(lambda: task_of(console, "edge")["state"] == "done")
    assert console.post("/admin/packs/buffalo_sc/pull", json={}).status_code == 200
    eventually(lambda: task_of(console, "buffalo_sc")["state"] == "failed")
    assert "404" in console.get("/console/system/packs").text
    assert console.post("/admin/packs/nothing/verify", json={}).status_code >= 400
    assert console.post("/admin/packs/edge/pull", json={}).status_code == 400
    actions = [each.action for each in AuditLog(pack_stack.cluster.engine).page(limit=9)]
    assert {"packs.verify", "packs.pull"} <= set(actions)


def test_only_who_may_is_offered_and_does(pack_stack: Stack) -> None:
    operator = sign_in(pack_stack, OperatorRole.OPERATOR)
    page = operator.get("/console/system/packs").text
    assert "/edge/verify" in page
    assert "/pull" not in page
    assert operator.submit("/console/system/packs/buffalo_l/pull").status_code == 403
    viewer = sign_in(pack_stack, OperatorRole.VIEWER)
    assert "/verify" not in viewer.get("/console/system/packs").text
    assert viewer.post("/admin/packs/edge/verify", json={}).status_code == 403


@pytest.mark.sends(
    "/console/system/packs/{name}/verify", "/console/system/packs/{name}/pull",
)
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_packs_in_a_browser(browser: Browser, pack_stack: Stack, shape: Shape) -> None:
    with visiting(browser, pack_stack) as visit:
        page = visit("/console/system/packs", shape)
        check_page(page)
        page.on("dialog", lambda dialog: dialog.accept())
        page.locator("#pack-edge button").click()
        page.locator("#pack-edge .badge.good + time, #pack-edge .badge.bad + time").wait_for()
        page.locator("#pack-buffalo_s button").click()
        page.locator("#pack-buffalo_s .badge.bad").wait_for()
        check_page(page)


def test_an_upgrade_in_course_is_shown(pack_stack: Stack, browser: Browser) -> None:
    console, engine = sign_in(pack_stack), pack_stack.cluster.engine
    assert console.get("/admin/packs").json()["upgrade"] is None
    assert 'id="upgrade"' not in console.get("/console/system/packs").text
    begin_upgrade(engine, registry.choose(Settings(pack="dlib")))
    try:
        found = console.get("/admin/packs").json()["upgrade"]
        assert (found["former"], found["next"]) == ("edge", "dlib")
        (mine,) = (each for each in found["galleries"] if each["faces"])
        assert (mine["served_by"], mine["faces"], mine["pending"]) == ("edge", 3, 3)
        with visiting(browser, pack_stack) as visit:
            page = visit("/console/system/packs", WALKED[0])
            page.locator("#upgrade progress").wait_for()
            check_page(page)
    finally:
        end_upgrade(engine)


def test_the_index_of_a_process(pack_stack: Stack) -> None:
    console = sign_in(pack_stack)

    def loaded() -> list[dict[str, Any]]:
        galleries = console.get("/admin/index").json()["galleries"]
        return next(each["loaded"] for each in galleries if each["application"] == "test")

    eventually(loaded)
    (state,) = loaded()
    assert (state["engine"], state["faces"], state["lag"]) == ("flat", 3, 0)
    page = console.get("/console/system/index").text
    assert "No index process runs" not in page
    assert "flat" in page


def test_without_an_index_process_the_page_says_so(console: ConsoleClient) -> None:
    found = console.get("/admin/index", params={"limit": 1}).json()
    assert found["processes"] == []
    assert found["next"] is not None
    page = console.get("/console/system/index").text
    assert "No index process runs" in page
