"""Files as phones and messengers send them, whole, broken and of other kinds, in every dialect."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.contract_clients import ApidClient, checked
from tests.databases import ONE_DATABASE
from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import base64_of
from tests.photos import read
from tests.stack import Stack
from tests.unit.heif_files import heic, heic_grid, turned_left
from tests.unit.pictures import encoded, face_like, image, samples
from tests.unit.test_picture_headers import FOREIGN, FOREIGN_WORDS, PICTURES

pytestmark = ONE_DATABASE

SAMPLES = samples()

# What each document answers to a picture in another format, to a broken one, and to what is none.
OTHER = {
    "a": 4, "b": 104901, "c": "INVALID_IMAGE_FORMAT_OR_SIZE", "d": "IMAGE_INVALID_FORMAT", "e": 9902
}
BROKEN = {**OTHER, "c": "CORRUPT_IMAGE"}

# The member of an answer that has words; documents a and d have none of the service's own.
WORDS = {"b": "msg", "c": "reason", "e": "data"}


@pytest.fixture(scope="module", params=LETTERS)
def caller(request: pytest.FixtureRequest, stack: Stack) -> Caller:
    return Caller(request.param, stack.url, stack.credentials)


def files_with_a_face(path: Path) -> dict[str, bytes]:
    """A photo as phones save and messengers pass it on."""
    stored = read(path)
    picture = stored[: stored.shape[0] // 2 * 2, : stored.shape[1] // 2 * 2]
    turned = np.ascontiguousarray(np.rot90(picture, -1))
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    clip = b"\0\0\0\x18ftypmp42" + np.random.default_rng(1).bytes(1_000_000)
    return {
        "heic": heic(picture).to_bytes(),
        "heic in tiles, turned": heic_grid(turned, 512, turned_left(1)).to_bytes(),
        "avif": cv2.imencode(".avif", picture)[1].tobytes(),
        "live photo": jpeg + clip,
        "jpeg without its end": jpeg[:-2],
        "jpeg whose tail is lost": jpeg[:-12],
    }


def test_photos_as_phones_send_them(stack: Stack, photos: Path) -> None:
    a, e = ApidClient(stack), stack.client()
    for name, data in files_with_a_face(photos / "obama.jpg").items():
        found = e.call("locate", {"image": base64_of(data)}).json()
        assert found["code"] == 0, (name, found)
        assert found["data"]["face_num"] == 1, name
        located = checked(a.call("POST", "detection", Fimg=base64_of(data)))
        assert located["msg_code"] == 1, name
        assert [located["location"][0]] == found["data"]["locations"], name


def broken_files() -> dict[str, bytes]:
    """Files cut at places where a reader of their structure stumbles."""
    found = {}
    for name in ("png", "jpeg", "bmp"):
        data = encoded(image().resize((400, 300)), name)
        for length in (20, 24, 30, len(data) // 2, len(data) - 12):
            if name != "jpeg" or length < len(data) - 12:
                found[f"{name} cut at {length}"] = data[:length]
    return found


def test_broken_files_are_told_in_our_words(caller: Caller) -> None:
    for name, data in broken_files().items():
        response = caller.job(data)
        assert response.status_code in (200, 202, 400), name
        if response.status_code == 202:  # pixels tell
            continue
        assert not FOREIGN_WORDS.search(response.text), response.text
        assert caller.answered(response)[1] == BROKEN[caller.letter], (name, response.text)


def test_a_png_without_its_end(caller: Caller) -> None:
    answer = caller.job(encoded(image().resize((400, 300)), "png")[:-12]).json()
    if caller.letter in WORDS:
        assert "The PNG is cut off: its end is missing." in str(answer[WORDS[caller.letter]])


@pytest.mark.parametrize("kind", [*FOREIGN, *PICTURES, "a HEIC picture", "an AVIF picture"])
def test_other_kinds_are_named(caller: Caller, kind: str) -> None:
    named = {"a HEIC picture": heic(face_like()).to_bytes(), "an AVIF picture": SAMPLES["avif"]}
    data = {**FOREIGN, **PICTURES, **named}[kind]
    if not data or (kind in named and caller.letter in "ae"):
        return  # taken, or a missing parameter
    response = caller.job(data)
    picture = kind in PICTURES or kind in named
    wanted = OTHER if picture else BROKEN
    assert caller.answered(response)[1] == wanted[caller.letter], response.text
    if caller.letter in WORDS:
        said = str(response.json()[WORDS[caller.letter]])
        assert f"This is {kind}" in said
        assert " Send " in said
