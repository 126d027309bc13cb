"""Trying pictures and clips: what is found, what each document answers, what goes wrong."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.console.conftest import ConsoleClient, sign_in
from tests.databases import ONE_DATABASE
from tests.face2_client import Json
from tests.stack import Stack
from tests.unit.pictures import encoded, image
from tests.waiting import eventually

pytestmark = ONE_DATABASE


@pytest.fixture(scope="module")
def photo(test_data: Path) -> bytes:
    return min((test_data / "photos" / "George_W_Bush").iterdir()).read_bytes()


@pytest.fixture(scope="module")
def other(test_data: Path) -> bytes:
    return max((test_data / "photos" / "George_W_Bush").iterdir()).read_bytes()


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
    assert [each["stage"] for each in own["stages"]] == ["decode", "detect"]
    assert all(each["ms"] > 0 for each in own["stages"])
    assert {each["document"] for each in others} == set("abcde")
