"""Dialect a's parameters, in every place of a request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import pytest

from api_shim.dialects.a.dialect import read_parameters
from api_shim.dialects.a.fields import (
    ACTION,
    APID,
    FID,
    FIMG,
    FNAME,
    KVALUE,
    MAX_PICTURES,
    NEW_FIMG,
    NUMBERED,
    THRESHOLD,
)
from api_shim.dialects.fields import RequestField, Values
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, MissingParameter

WHO = {"Apid": 7, "Kvalue": "k"}
Fields = tuple[RequestField[Any], ...]
FACE: Fields = (FID, FNAME, THRESHOLD, FIMG)


def call(body: bytes = b"", query: str = "", media_type: str = "") -> Call:
    return Call("GET", "/api/face", query, {"content-type": media_type}, body, "r-1")


def form(**fields: Any) -> Call:
    media_type = "application/x-www-form-urlencoded; charset=utf-8"
    return call(urlencode(fields).encode(), media_type=media_type)


def multipart(fields: dict[str, Any], media_type: str = "multipart/form-data; boundary=b") -> Call:
    parts = (
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    return call(f"{''.join(parts)}--b--\r\n".encode(), media_type=media_type)


def wanted(takes: Fields = FACE, /, **fields: Any) -> Values:
    return read_parameters(form(**{**WHO, "Fid": 1, "Fimg": "aGk=", **fields}), takes)


def test_a_form_a_json_body_and_a_query_say_the_same() -> None:
    fields: dict[str, Any] = {**WHO, "Fid": 19, "Fname": "测 试", "Fimg": "a+/=", "Threshold": 0.7}
    encoded = urlencode(fields)
    text = json.dumps(fields)
    strings = json.dumps({name: str(value) for name, value in fields.items()})
    for sent in (
        form(**fields), call(query=encoded), call(text.encode()),
        call(strings.encode(), media_type="application/json"),
        call(text.encode(), media_type="application/x-www-form-urlencoded"),
        call(encoded.encode()), call(encoded.encode(), media_type="text/plain"),
        call("&".join(f"{n}={v}" for n, v in fields.items()).replace("+", "%2B").encode()),
        multipart(fields), multipart(fields, media_type="application/json"),
        call(b'{"Fid": 19}', urlencode({n: v for n, v in fields.items() if n != "Fid"})),
        call(encoded.encode(), encoded),
    ):
        values = read_parameters(sent, FACE)
        assert (values[APID], values[KVALUE]) == (7, "k")
        assert (values[FID], values[FNAME], values[THRESHOLD]) == (19, "测 试", 0.7)
        assert values[FIMG] == "a+/="


@pytest.mark.parametrize(
    "sent",
    [
        call(b"{"), call(b"[1]"), call(b"\xff"), call(query="Apid=1&Apid=2"),
        call(query="a=%ff"), call(b'{"Apid": 1}', "Apid=2"), call(b'{"a": 1, "a": 2}'),
        call("&".join(f"a{n}=1" for n in range(101)).encode(),
             media_type="application/x-www-form-urlencoded"),
    ],
)
def test_what_cannot_be_read(sent: Call) -> None:
    with pytest.raises(InvalidParameter):
        read_parameters(sent)


@pytest.mark.parametrize("name", ["Apid", "Kvalue", "Fid", "Fimg"])
def test_what_is_required(name: str) -> None:
    with pytest.raises(MissingParameter, match=name):
        wanted(**{name: ""})


@pytest.mark.parametrize("name", ["Apid", "Fid"])
@pytest.mark.parametrize("value", ["x", "1.5", "1e-3", " 1", "９", "1" * 19, "0x1", "1;"])
def test_no_integer(name: str, value: str) -> None:
    with pytest.raises(InvalidParameter, match=name):
        wanted(**{name: value})


@pytest.mark.parametrize("name", ["Apid", "Kvalue", "Fid", "Fimg", "Fname", "Threshold"])
@pytest.mark.parametrize("value", [True, [], {}, ["x"]])
def test_no_text(name: str, value: Any) -> None:
    fields = {**WHO, "Fid": 1, "Fimg": "aGk=", name: value}
    with pytest.raises(InvalidParameter, match=name):
        read_parameters(call(json.dumps(fields).encode()), FACE)


@pytest.mark.parametrize(
    ("text", "value"), [("", 0.6), ("0", 0.0), ("1", 1.0), (".5", 0.5), ("5e-1", 0.5), ("1.", 1.0)]
)
def test_a_threshold(text: str, value: float) -> None:
    assert wanted(Threshold=text)[THRESHOLD] == value


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
        read_parameters(call(body), FACE)


def test_what_is_not_taken_is_not_read() -> None:
    values = wanted((), Fid="x", Threshold="x", Fimg="")
    assert (values[APID], values[KVALUE]) == (7, "k")


def test_an_optional_picture() -> None:
    assert wanted((NEW_FIMG,), Fimg="")[NEW_FIMG] == ""
    assert wanted((NEW_FIMG,))[NEW_FIMG] == "aGk="


@pytest.mark.parametrize(("text", "action"), [("", 1), ("1", 1), ("2", 2)])
def test_an_action(text: str, action: int) -> None:
    assert wanted((ACTION,), Action=text)[ACTION] == action


@pytest.mark.parametrize("text", ["0", "3", "x"])
def test_no_action(text: str) -> None:
    with pytest.raises(InvalidParameter, match="Action"):
        wanted((ACTION,), Action=text)


def test_numbered_pictures_stand_in_their_order() -> None:
    numbers = [*range(MAX_PICTURES, 0, -1)]
    given = wanted((NUMBERED,), **{f"Fimg{n}": f"p{n}" for n in numbers})
    assert given[NUMBERED] == tuple(f"p{n}" for n in range(1, MAX_PICTURES + 1))


@pytest.mark.parametrize(
    "numbers",
    [(), (1,), (2, 3), (1, 3), (0, 1), (1, 2, 4), (1, "02"), range(1, MAX_PICTURES + 2)],
)
def test_a_gap_in_the_numbers(numbers: Iterable[int | str]) -> None:
    with pytest.raises(InvalidParameter, match="Fimg1"):
        wanted((NUMBERED,), **{f"Fimg{n}": "x" for n in numbers})


def test_an_empty_numbered_picture() -> None:
    with pytest.raises(MissingParameter, match="Fimg2"):
        wanted((NUMBERED,), Fimg1="x", Fimg2="")
