"""Dialect b's requests that become jobs, read without a server."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from api_shim.dialects.b.dialect import build_request
from api_shim.dialects.b.fields import ENDPOINTS, LIMITS
from api_shim.requests import Call, JobRequest
from pipeline.accounts.model import Tenant
from pipeline.errors import (
    BadEncoding,
    CollectionNotFound,
    InvalidParameter,
    MediaTooLarge,
    MissingParameter,
    PictureOutOfRange,
)
from pipeline.media.pictures import inspect
from pipeline.types import JsonObject
from tests.unit.pictures import png_chunk
from tests.unit.shim.b_caller import UNSAFE_IDS

TENANT = Tenant(1, "tenant", {}, disabled=False)
FILE = b"a picture, for all that is read here"
IMAGE = f"data:image/jpg;base64,{base64.b64encode(FILE).decode()}"

ENROL: JsonObject = {
    "image": IMAGE, "description": "8.png", "imageMd5": "", "name": "", "gender": ""
}
COMPARE: JsonObject = {"image1": IMAGE, "image2": IMAGE, "livenessEnabled": False}
SEARCH: JsonObject = {
    "image": IMAGE, "group": ["group1", "group2"], "topN": 5, "livenessEnabled": False,
    "featureUpload": False,
}


def enrol(body: Any) -> JobRequest:
    return job("1.1", body)


def compare(body: Any) -> JobRequest:
    return job("3.1", body)


def search(body: Any) -> JobRequest:
    return job("3.2", body)


def job(section: str, body: Any) -> JobRequest:
    endpoint = next(each for each in ENDPOINTS if each.operation == section)
    request = build_request(endpoint, TENANT, call(body))
    assert isinstance(request, JobRequest)
    return request


def call(body: Any) -> Call:
    return Call("POST", "/", "", {}, json.dumps(body).encode(), "r-1")


def test_an_enrolment() -> None:
    request = enrol(ENROL)
    assert (request.tenant, request.operation, request.pictures) == (TENANT, "enrol", (FILE,))
    assert request.params == {
        "faces": "largest", "gate": True, "image_id": None, "description": "8.png", "name": "",
        "unnamed": "empty", "gender": "", "collections": (), "exists": "refuse",
    }


def test_an_enrolment_of_the_picture_alone() -> None:
    assert enrol({"image": IMAGE}).params == {**enrol(ENROL).params, "description": ""}


def test_limits_of_texts_are_in_bytes() -> None:
    longest = {
        "description": "图" * 85, "name": "名" * 42 + "xx", "gender": "女" * 5 + "x",
        "imageMd5": "x" * 32,
    }
    params = enrol({**ENROL, **longest}).params
    assert params["image_id"] == longest.pop("imageMd5")
    assert params == {**params, **longest}
    for name, value in longest.items():
        with pytest.raises(InvalidParameter, match=name):
            enrol({**ENROL, name: f"{value}x"})
    with pytest.raises(InvalidParameter, match="imageMd5"):
        enrol({**ENROL, "imageMd5": "x" * 33})


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", 5), ("gender", []), ("description", {}), ("description", True), ("name", "\0"),
     ("imageMd5", "a\tb"), ("imageMd5", 1.5), ("gender", "\udc00"),
     *(("imageMd5", text) for text in UNSAFE_IDS)],
)
def test_wrong_texts(name: str, value: Any) -> None:
    with pytest.raises(InvalidParameter):
        enrol({**ENROL, name: value})


@pytest.mark.parametrize(
    ("read", "body", "name"),
    [(enrol, ENROL, "image"), (compare, COMPARE, "image1"), (compare, COMPARE, "image2"),
     (search, SEARCH, "image")],
)
def test_wrong_pictures(read: Callable[[Any], JobRequest], body: JsonObject, name: str) -> None:
    for missing in (None, "", "\n", "data:image/png;base64,"):
        with pytest.raises(MissingParameter, match=name):
            read({**body, name: missing})
    others: list[Any] = [1, True, [IMAGE], {}]
    for value in others:
        with pytest.raises(InvalidParameter, match=name):
            read({**body, name: value})
    for encoded in ("!!!!", "a", "data:image/png;base64,aGk=aGk="):
        with pytest.raises(BadEncoding, match=name):
            read({**body, name: encoded})


def test_a_comparison() -> None:
    request = compare(COMPARE)
    assert (request.operation, request.pictures) == ("compare", (FILE, FILE))
    assert request.params == {"liveness": False}


def test_liveness_is_asked_for() -> None:
    assert compare({**COMPARE, "livenessEnabled": True}).params == {"liveness": True}
    assert search({**SEARCH, "livenessEnabled": True}).params["liveness"] is True


@pytest.mark.parametrize(
    ("value", "meant"),
    [("true", True), ("True", True), ("1", True), (1, True), ("false", False), (0, False)],
)
def test_flags_may_be_texts(value: Any, meant: bool) -> None:
    assert compare({**COMPARE, "livenessEnabled": value}).params == {"liveness": meant}
    flags = {"livenessEnabled": value, "featureUpload": value}
    params = search({**SEARCH, **flags, "topN": "3"}).params
    assert (params["liveness"], params["embedding"], params["top"]) == (meant, meant, 3)


@pytest.mark.parametrize("value", [None, "", "yes", 2, []])
def test_liveness_is_a_flag(value: Any) -> None:
    with pytest.raises((InvalidParameter, MissingParameter), match="livenessEnabled"):
        compare({**COMPARE, "livenessEnabled": value})
    if value not in (None, ""):
        with pytest.raises(InvalidParameter, match="livenessEnabled"):
            search({**SEARCH, "livenessEnabled": value})


def test_a_search() -> None:
    request = search(SEARCH)
    assert (request.operation, request.pictures) == ("search", (FILE,))
    assert request.params == {
        "collections": ("group1", "group2"), "k": 100, "embedding": False, "liveness": False,
        "number": 0, "top": 5,
    }


def test_a_search_with_the_least() -> None:
    params = search({"image": IMAGE, "group": ["a", "a"]}).params
    assert params == {
        "collections": ("a",), "k": 5, "embedding": False, "liveness": False,
        "number": 0, "top": 5,
    }
    few = search({"image": IMAGE, "group": ["a"], "topN": 1, "featureUpload": True}).params
    assert (few["k"], few["top"], few["embedding"]) == (1, 1, True)


@pytest.mark.parametrize("most", [0, 6, -1, 1.5, "6", "five", True, [], {}])
def test_wrong_numbers_of_hits(most: Any) -> None:
    with pytest.raises(InvalidParameter, match="topN"):
        search({**SEARCH, "topN": most})


@pytest.mark.parametrize("value", ["yes", 2, []])
def test_wrong_switches(value: Any) -> None:
    with pytest.raises(InvalidParameter, match="featureUpload"):
        search({**SEARCH, "featureUpload": value})


@pytest.mark.parametrize("groups", [None, "default", [], [1], [["a"]], {"a": "b"}])
def test_wrong_groups(groups: Any) -> None:
    with pytest.raises((InvalidParameter, MissingParameter), match="group"):
        search({**SEARCH, "group": groups})


@pytest.mark.parametrize("name", ["", "\0", "x" * 33, "a\n"])
def test_groups_that_there_cannot_be(name: str) -> None:
    with pytest.raises(CollectionNotFound):
        search({**SEARCH, "group": ["default", name]})


@pytest.mark.parametrize(
    ("body", "media_type", "said"),
    [(b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\naGk=\r\n--b--\r\n',
      "multipart/form-data; boundary=b", "multipart/form-data"),
     (b"x" * 100_000, "multipart/form-data", "multipart/form-data"),
     (b"image=aGk%3D", "application/x-www-form-urlencoded", "x-www-form-urlencoded"),
     (b"image=" + b"A" * 100_000, "", "x-www-form-urlencoded")],
)
def test_a_form_is_named_as_what_was_sent(body: bytes, media_type: str, said: str) -> None:
    sent = Call("POST", "/", "", {"content-type": media_type}, body, "r-1")
    with pytest.raises(InvalidParameter, match=f"JSON object, not a form .*{said}"):
        build_request(ENDPOINTS[0], TENANT, sent)


@pytest.mark.parametrize("body", [[], "x", 1, None])
def test_what_is_no_object(body: Any) -> None:
    for read in (enrol, compare, search):
        with pytest.raises(InvalidParameter):
            read(body)


@pytest.mark.parametrize(
    ("width", "height", "good"),
    [(100, 100, True), (4096, 2160, True), (2160, 4096, True), (99, 100, False),
     (100, 99, False), (4097, 100, False), (100, 4097, False), (2161, 2161, False)],
)
def test_limits_of_pixels(width: int, height: int, good: bool) -> None:
    header = width.to_bytes(4) + height.to_bytes(4) + b"\x08\x02\0\0\0"
    pixels = bytes(width * height * 3 // 1_000)  # they could be packed as much as that
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(name, body)
        for name, body in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )
    if good:
        assert inspect(data, LIMITS).width == width
    else:
        with pytest.raises(PictureOutOfRange, match=f"{width}x{height}"):
            inspect(data, LIMITS)


def test_the_limit_of_bytes() -> None:
    with pytest.raises(MediaTooLarge):
        inspect(b"\0" * (4 * 1024 * 1024 + 1), LIMITS)
