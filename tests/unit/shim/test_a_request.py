"""Dialect a's parameters, wherever they stand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import pytest

from api_shim.dialects.a_request import MOST_PICTURES, Shape, Wanted, read_fields, read_wanted
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, MissingParameter

WHO = {"Apid": 7, "Kvalue": "k"}
FACE = Shape(face_id=True, picture=True, name=True, threshold=True)


def call(body: bytes = b"", query: str = "", media_type: str = "") -> Call:
    return Call("GET", "/api/face", query, {"content-type": media_type}, body, "r-1")


def form(**fields: Any) -> Call:
    media_type = "application/x-www-form-urlencoded; charset=utf-8"
    return call(urlencode(fields).encode(), media_type=media_type)


def wanted(shape: Shape = FACE, /, **fields: Any) -> Wanted:
    return read_wanted(read_fields(form(**{**WHO, "Fid": 1, "Fimg": "aGk=", **fields})), shape)


def test_a_form_a_json_body_and_a_query_say_the_same() -> None:
    fields: dict[str, Any] = {**WHO, "Fid": 19, "Fname": "测 试", "Fimg": "a+/=", "Threshold": 0.7}
    expected = Wanted(7, "k", 19, "测 试", 0.7, pictures=("a+/=",))
    encoded = urlencode(fields)
    text = json.dumps(fields)
    strings = json.dumps({name: str(value) for name, value in fields.items()})
    for sent in (
        form(**fields), call(query=encoded), call(text.encode()),
        call(strings.encode(), media_type="application/json"),
        call(b'{"Fid": 19}', urlencode({n: v for n, v in fields.items() if n != "Fid"})),
    ):
        assert read_wanted(read_fields(sent), FACE) == expected


@pytest.mark.parametrize(
    "sent",
    [
        call(b"{"), call(b"[1]"), call(b"\xff"), call(query="a=1&a=2"), call(query="a=%ff"),
        call(b'{"a": 1}', "a=1"), call(b'{"a": 1, "a": 2}'),
        call("&".join(f"a{n}=1" for n in range(101)).encode(),
             media_type="application/x-www-form-urlencoded"),
    ],
)
def test_what_cannot_be_read(sent: Call) -> None:
    with pytest.raises(InvalidParameter):
        read_fields(sent)


@pytest.mark.parametrize("name", ["Apid", "Kvalue", "Fid", "Fimg"])
def test_what_is_required(name: str) -> None:
    with pytest.raises(MissingParameter, match=name):
        wanted(**{name: ""})


@pytest.mark.parametrize("name", ["Apid", "Fid"])
@pytest.mark.parametrize("value", ["x", "1.0", "1e3", " 1", "９", "1" * 19, "0x1", "1;"])
def test_no_integer(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        wanted(**{name: value})


@pytest.mark.parametrize("name", ["Apid", "Kvalue", "Fid", "Fimg", "Fname", "Threshold"])
@pytest.mark.parametrize("value", [True, [], {}, ["x"]])
def test_no_text(name: str, value: Any) -> None:
    fields = {**WHO, "Fid": 1, "Fimg": "aGk=", name: value}
    with pytest.raises(InvalidParameter, match=name):
        read_wanted(read_fields(call(json.dumps(fields).encode())), FACE)


@pytest.mark.parametrize(
    ("text", "value"), [("", 0.6), ("0", 0.0), ("1", 1.0), (".5", 0.5), ("5e-1", 0.5), ("1.", 1.0)]
)
def test_a_threshold(text: str, value: float) -> None:
    assert wanted(Threshold=text).threshold == value


@pytest.mark.parametrize(
    "text", ["-0.1", "1.01", "nan", "inf", "1e400", ".", "e5", "0_1", "x", "0,5", " 0.5"]
)
def test_no_threshold(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Threshold"):
        wanted(Threshold=text)


@pytest.mark.parametrize("name", ["x" * 256, "a\x00b"])
def test_no_name(name: str) -> None:
    with pytest.raises(InvalidParameter):
        wanted(Fname=name)


def test_half_a_character_is_no_name() -> None:
    body = b'{"Apid": 7, "Kvalue": "k", "Fid": 1, "Fimg": "x", "Fname": "\\ud800"}'
    with pytest.raises(InvalidParameter):
        read_wanted(read_fields(call(body)), FACE)


def test_what_is_not_taken_is_not_read() -> None:
    assert wanted(Shape(), Fid="x", Threshold="x", Fimg="") == Wanted(7, "k")


def test_an_optional_picture() -> None:
    shape = Shape(picture=True, optional=True)
    assert wanted(shape, Fimg="").pictures == ()
    assert wanted(shape).pictures == ("aGk=",)


def test_numbered_pictures_stand_in_their_order() -> None:
    numbers = [*range(MOST_PICTURES, 0, -1)]
    given = wanted(Shape(pictures=True), **{f"Fimg{n}": f"p{n}" for n in numbers})
    assert given.pictures == tuple(f"p{n}" for n in range(1, MOST_PICTURES + 1))


@pytest.mark.parametrize(
    "numbers",
    [(), (1,), (2, 3), (1, 3), (0, 1), (1, 2, 4), (1, "02"), range(1, MOST_PICTURES + 2)],
)
def test_a_gap_in_the_numbers(numbers: Iterable[int | str]) -> None:
    with pytest.raises(InvalidParameter, match="Fimg1"):
        wanted(Shape(pictures=True), **{f"Fimg{n}": "x" for n in numbers})


def test_an_empty_numbered_picture() -> None:
    with pytest.raises(MissingParameter, match="Fimg2"):
        wanted(Shape(pictures=True), Fimg1="x", Fimg2="")
