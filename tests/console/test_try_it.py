"""Trying pictures and clips: what is found, what each document answers, what goes wrong."""

from __future__ import annotations

import base64
import html
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page
from sqlalchemy import func, select

from api_shim.console.texts import texts_of
from api_shim.console.try_verdict import ACTIONS
from api_shim.console.try_verdict import REASONS as VERDICTS
from api_shim.console.try_words import FACTS, WHICH
from infra.local.demo import demo_photo
from pipeline.database.engine import reading
from pipeline.database.schema import images
from pipeline.living.verdict import LivenessAction, LivenessReason
from pipeline.metering.usage import UsageStore
from pipeline.operators.model import OperatorRole
from tests import clips
from tests.conftest import missing
from tests.console.conftest import WALKED, ConsoleClient, Shape, Visit, check_page, sign_in
from tests.contract_clients import ApidClient
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.presentations.people import Material
from tests.stack import Stack
from tests.unit.heif_files import heic
from tests.unit.pictures import encoded, image, png_bomb
from tests.waiting import TIMEOUT_S, eventually

pytestmark = ONE_DATABASE


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return min((test_data / "photos" / "George_W_Bush").iterdir()).read_bytes()


@pytest.fixture(scope="module")
def other(test_data: Path) -> bytes:
    return max((test_data / "photos" / "George_W_Bush").iterdir()).read_bytes()


@pytest.fixture(scope="module")
def material(test_data: Path) -> Material:
    videos = test_data.parent / "videos"
    if not (videos / "mouth_open.mp4").is_file():
        missing(f"no test video in {videos}, beside FACELINE_TEST_DATA")
    return Material(test_data, videos)


@pytest.fixture(scope="module")
def blink(material: Material) -> bytes:
    """The man of the video blinks."""
    return clips.encoded(material.live(28, 62))


@pytest.fixture(scope="module")
def group() -> bytes:
    """Six people."""
    return demo_photo().read_bytes()


@pytest.fixture(scope="module")
def operator(stack: Stack) -> ConsoleClient:
    return sign_in(stack)


def tried(operator: ConsoleClient, kind: str, **given: Any) -> Json:
    """What came of a try by ``/admin``."""
    sent = {
        name: base64.b64encode(each).decode() if isinstance(each, bytes) else each
        for name, each in given.items()
    }
    started = operator.post(f"/admin/try/{kind}", json={"application": "stack", **sent})
    assert started.status_code == 200, started.text
    job = started.json()["job"]

    def ended() -> bool:
        state = operator.get(f"/admin/try/{job}/state").json()
        return bool(state["jobs_ended"] == state["jobs"])

    eventually(ended)
    found: Json = operator.get(f"/admin/try/{job}", params={"url": operator.url}).json()
    return found


def answers(found: Json) -> Mapping[str, Json]:
    return {each["document"]: each for each in found["documents"]}


def test_a_photo(operator: ConsoleClient, stack: Stack, photo: bytes) -> None:
    found = tried(operator, "picture", picture=photo)
    (picture,) = found["result"]["pictures"]
    face = picture["faces"][0]
    left, top, right, bottom = face["box"]
    assert len(face["points"]) == 5
    assert all(left < x < right and top < y < bottom for x, y in face["points"])
    assert 0 < face["quality"]["score"] <= 1
    answered = answers(found)
    assert answered["a"]["envelope"]["msg_code"] == 1
    assert answered["b"]["envelope"]["code"] == 0
    assert answered["c"]["envelope"]["max_confidence"] == pytest.approx(1.0)
    assert answered["d"]["envelope"]["status"] == "NO_SIMILAR_FACE"
    assert answered["e"]["envelope"]["appId"] == stack.credentials.app_id
    located = answered["e"]["envelope"]["data"]
    assert located["face_num"] == len(picture["faces"])
    own, *others = found["jobs"]
    assert [each["stage"] for each in own["timeline"]] == ["decode", "decode", "detect"]
    (started, *stages) = own["timeline"]
    assert (started["event"], started["by"]) == ("accepted", found["operator"])
    assert all(each["event"] == "stage" and each["took_ms"] > 0 for each in stages)
    assert {each["document"] for each in others} == set("abcde")


def test_a_photo_without_a_script(operator: ConsoleClient, photo: bytes) -> None:
    form = operator.get("/console/try").text
    assert '<option>stack</option>' in form or "<option selected>stack</option>" in form
    sent = operator.submit("/console/try", files={"picture": ("a.jpg", photo)}, application="stack")
    assert sent.status_code == 303
    where = sent.headers["location"]
    eventually(lambda: "At work" not in operator.get(where).text)
    page = operator.get(where).text
    assert "&#34;msg_code&#34;: 1" in page
    assert "<image data-file" in page
    assert page.count("<circle") >= 5


def test_the_lines_ask_for_the_answers_that_are_shown(
    operator: ConsoleClient, stack: Stack, photo: bytes, other: bytes, tmp_path: Path
) -> None:
    """Each line, run by a shell, gets what the page shows but for ids and times."""
    if shutil.which("curl") is None:
        missing("no curl")
    known = stack.credentials
    variables = {
        "APID": str(known.apid), "KVALUE": known.kvalue, "API_KEY": known.api_key,
        "API_ID": known.api_id, "API_SECRET": known.api_secret, "APP_ID": known.app_id,
        "APP_SECRET": known.app_secret, "NO_PROXY": "*",
    }
    for name, data in {"photo": photo, "photo1": photo, "photo2": other}.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    asked = [
        each for found in (
            tried(operator, "picture", picture=photo),
            tried(operator, "pair", first=photo, second=other),
        )
        for each in found["documents"] if each["operation"]
    ]
    assert [each["document"] for each in asked] == [*"abcde", *"abce"]
    for each in asked:
        answer = subprocess.run(
            ["sh", "-c", each["line"]], cwd=tmp_path, env={**os.environ, **variables},
            capture_output=True, timeout=TIMEOUT_S, check=True,
        ).stdout
        assert comparable(json.loads(answer)) == comparable(each["envelope"]), each["document"]


def comparable(envelope: Any) -> Any:
    """An envelope without what differs from call to call."""
    if isinstance(envelope, dict):
        own = ("request_id", "requestId", "timestamp")
        return {name: comparable(value) for name, value in envelope.items() if name not in own}
    return envelope


def test_two_photos(operator: ConsoleClient, group: bytes, photo: bytes) -> None:
    found = tried(operator, "pair", first=group, second=photo)
    first, second = found["result"]["pictures"]
    assert len(first["faces"]) == len(found["result"]["confidences"]) == 6
    for confidences, fmrs in zip(
        found["result"]["confidences"], found["result"]["fmrs"], strict=True
    ):
        for confidence, fmr in zip(confidences, fmrs, strict=True):
            assert confidence < 0.7
            assert fmr > 1e-4
    same = tried(operator, "pair", first=photo, second=photo)["result"]
    assert same["confidences"][0][0] == pytest.approx(1.0)
    assert len(second["faces"]) == 1
    assert answers(found)["c"]["envelope"]["status"] == "TOO_MANY_FACES"
    assert answers(found)["d"]["operation"] == ""


def test_a_clip(
    operator: ConsoleClient, stack: Stack, material: Material, blink: bytes
) -> None:
    picture = cv2.imencode(".jpg", material.live(50, 51)[0])[1].tobytes()
    client = ApidClient(stack)
    face = client.enrol(base64_of(picture))
    name = stack.tenants.get(client.credentials.tenant_id).name
    found = tried(operator, "clip", clip=blink, action=1, face=face, application=name)
    assert found["result"]["real"] is found["result"]["match"] is True
    assert answers(found)["a"]["envelope"] == {"msg_code": 1, "match": True, "real": True}
    page = operator.get(f"/console/try/result/{found['job']}").text
    assert "One living person does what was asked" in page
    assert page.count("<polyline") >= 8
    wrong = tried(operator, "clip", clip=blink, action=2)
    assert wrong["result"]["reasons"]
    assert wrong["result"]["match"] is None
    assert {each["operation"] for each in wrong["documents"]} == {""}
    page = operator.get(f"/console/try/result/{wrong['job']}").text
    assert html.escape(VERDICTS[LivenessReason(wrong["result"]["reasons"][0])]) in page
    # The client's own call comes after the try, and is no repetition.
    answer = client.call("POST", "living", Fid=face, Action=1, Fvideo=base64_of(blink))
    assert answer.json() == {"msg_code": 1, "match": True, "real": True}


def test_a_try_leaves_nothing(
    operator: ConsoleClient, stack: Stack, photo: bytes, other: bytes
) -> None:
    """No usage, no picture, no job that the application's credentials read; but an audit entry."""
    credentials = stack.add_tenant("tried \"<script>alert(1)\" \u05d0\u05d1 \U0001f600")
    name = stack.tenants.get(credentials.tenant_id).name
    usage = UsageStore(stack.cluster.engine)
    found = tried(operator, "pair", first=photo, second=other, application=name)
    assert not usage.report([usage.today()], credentials.tenant_id)
    with reading(stack.cluster.engine) as connection:
        kept = select(func.count()).where(images.c.tenant_id == credentials.tenant_id)
        assert connection.execute(kept).scalar_one() == 0
    for job in found["jobs"]:
        row = stack.jobs.read.get(credentials.tenant_id, job["job"])
        assert row.params["try"]["operator"] == found["operator"]
        assert stack.client(credentials).poll(job["job"]).status_code == 404
    entries = operator.get("/admin/audit").json()["entries"]
    assert ("try.pair", name) in [(each["action"], each["application"]) for each in entries]
    page = operator.get(f"/console/try/result/{found['job']}").text
    assert "<script>alert" not in page


@pytest.mark.parametrize(
    ("path", "name", "data", "status", "said"),
    [
        ("", "picture", b"", 400, "Choose a picture first."),
        ("", "picture", b"hello", 400, "Send a picture, such as a JPEG or PNG."),
        ("", "picture", b"\0\0\0\x18ftypisom\0\0\0\0", 400, "Try it as a clip"),
        ("", "picture", b"GIF89a", 400, "The file was probably not copied whole"),
        ("", "picture", png_bomb(20_000), 400, "Save it with fewer pixels"),
        ("", "picture", bytes(40_000_000), 413, "larger than"),
        ("/pair", "second", b"", 400, "The first picture: Choose a picture first."),
        ("/clip", "clip", b"", 400, "Choose a clip first."),
        ("/clip", "clip", encoded(image(), "png"), 400, "Try it as a photo"),
    ],
)
def test_what_to_do_is_said(
    console: ConsoleClient, path: str, name: str, data: bytes, status: int, said: str
) -> None:
    sent = console.submit(
        f"/console/try{path}", files={name: ("a.bin", data)}, application="stack"
    )
    assert sent.status_code == status
    assert "<!doctype html>" in sent.text
    assert said in sent.text


def test_an_unknown_application(console: ConsoleClient) -> None:
    files = {"picture": ("a.png", encoded(image().resize((200, 200)), "png"))}
    sent = console.submit("/console/try", files=files, application="nobody")
    assert sent.status_code == 404
    assert "Choose an application from the list." in sent.text


def test_a_picture_without_a_face(operator: ConsoleClient) -> None:
    files = {"picture": ("a.png", encoded(image().resize((200, 200)), "png"))}
    where = operator.submit("/console/try", files=files, application="stack").headers["location"]
    eventually(lambda: "At work" not in operator.get(where).text)
    page = operator.get(where).text
    assert "No face was found." in page
    assert "FACE_DETECT_FAILED" in page


def test_heic_is_seen_and_refused_by_documents_that_do_not_take_it(
    operator: ConsoleClient,
) -> None:
    file = heic(np.full((200, 200, 3), 90, np.uint8)).to_bytes()
    found = tried(operator, "picture", picture=file)
    assert found["failure"] is None
    assert answers(found)["d"]["envelope"]["status"] == "IMAGE_INVALID_FORMAT"
    assert answers(found)["b"]["status"] == 400


def test_who_may(idle_stack: Stack) -> None:
    blind = sign_in(idle_stack, OperatorRole.OPERATOR, sees_faces=False)
    viewer = sign_in(idle_stack, OperatorRole.VIEWER)
    files = {"picture": ("a.png", encoded(image().resize((200, 200)), "png"))}
    refused = blind.submit("/console/try", files=files, application="stack")
    assert refused.status_code == 403
    assert "Ask an administrator" in refused.text
    assert viewer.get("/console/try").status_code == 403
    assert viewer.get("/admin/try/0/state").status_code == 403
    assert sign_in(idle_stack).get("/console/try/result/" + "0" * 32).status_code == 404


def test_while_it_waits(console: ConsoleClient) -> None:
    files = {"picture": ("a.png", encoded(image().resize((200, 200)), "png"))}
    where = console.submit("/console/try", files=files, application="stack").headers["location"]
    page = console.get(where).text
    assert "0 of 6 jobs have ended." in page
    assert 'http-equiv="refresh"' in page


def test_texts_are_translated(backend: str) -> None:
    catalog = texts_of("zh").catalog
    said = {
        *WHICH, *(name for name, _ in FACTS),
        *VERDICTS.values(), *ACTIONS.values(),
    }
    assert set(VERDICTS) == set(LivenessReason)
    assert set(ACTIONS) == set(LivenessAction)
    assert said <= set(catalog)


@pytest.mark.sends(
    "/console/try", "/console/try/pair", "/console/try/clip",
)
@pytest.mark.parametrize("shape", WALKED, ids=str)
def test_in_a_browser(
    visit: Visit, shape: Shape, photo: bytes, group: bytes, blink: bytes
) -> None:
    page = visit("/console/try", shape)
    check_page(page)
    page.select_option("[name=application]", "stack")
    page.click("[data-camera]")
    page.click("[data-shoot]")
    page.wait_for_selector("[data-preview][src^='blob:']")
    choose(page, "picture", group)
    page.click("[data-go]")
    page.wait_for_selector(".shot image[href^='blob:']", timeout=1000 * TIMEOUT_S)
    assert page.locator(".shot .face").count() == 6
    page.click("summary:has-text('/face2/locate')")
    assert '"face_num": 6' in page.inner_text("details:has-text('/face2/locate') .envelope")
    check_page(page)
    page.click(".kinds li:nth-child(2) a")
    check_page(page)
    choose(page, "first", group)
    choose(page, "second", photo)
    page.click("[data-go]")
    page.wait_for_selector(".matrix image[href^='blob:']", timeout=1000 * TIMEOUT_S)
    check_page(page)
    page.fill("[name=threshold]", "0")
    assert page.locator("[data-verdict].good").count() == 6
    page.fill("[name=threshold]", "100")
    assert page.locator("[data-verdict].good").count() == 0
    page.click(".kinds li:nth-child(3) a")
    for action, verdict in (("1", "good"), ("2", "bad")):
        page.select_option("[name=action]", action)
        choose(page, "clip", blink, "video/mp4")
        page.click("[data-go]")
        # The frames that decided, cut out of the clip that the browser has.
        page.wait_for_selector(".frames img[src]", timeout=1000 * TIMEOUT_S)
        assert page.locator(f"h2 .badge.{verdict}").count() == 1
        assert page.locator(".timeline polyline").count() >= 8
        assert (page.locator("main .columns > .card ul:not(.frames) > li").count() > 0) == (
            verdict == "bad"
        )
        check_page(page)
        page.click(".kinds li:nth-child(3) a")


def choose(page: Page, name: str, data: bytes, kind: str = "image/jpeg") -> None:
    page.set_input_files(f"#file-{name}", {"name": "file", "mimeType": kind, "buffer": data})
