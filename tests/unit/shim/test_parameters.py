"""The parameters of a request, by what its body is and not by what its header says."""

from __future__ import annotations

from typing import Any

import pytest

from api_shim import parameters
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, NotUtf8

PART = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1 2\r\n--b--\r\n'
FILE = PART.replace(b'name="a"', b'name="f"; filename="x"')

SENT: list[tuple[bytes, dict[str, Any]]] = [
    (b"", {}), (b" \r\n", {}),
    (b'{"a": "1 2", "n": 5.0, "t": true, "o": {"n": null}}',
     {"a": "1 2", "n": "5.0", "t": True, "o": {"n": None}}),
    (b'\xef\xbb\xbf\n{"a": "1"}', {"a": "1"}),
    (PART, {"a": "1 2"}), (FILE, {"f": b"1 2"}),
    (b"a=1+2&b=%E4%B8%AD&c=\xe4\xb8\xad&d=a==", {"a": "1 2", "b": "中", "c": "中", "d": "a=="}),
]


def call(body: bytes, media_type: str = "", query: str = "") -> Call:
    return Call("POST", "/", query, {"content-type": media_type}, body, "r-1")


@pytest.mark.parametrize(("body", "expected"), SENT, ids=range(len(SENT)))
@pytest.mark.parametrize(
    "media_type",
    ["", "text/plain", "application/json", "application/x-www-form-urlencoded; charset=utf-8",
     "multipart/mixed; boundary=b"],
)
def test_a_body_is_judged_by_its_bytes(
    body: bytes, expected: dict[str, Any], media_type: str
) -> None:
    assert parameters.read_body(call(body, media_type)) == expected


@pytest.mark.parametrize("body", [b"x", b"\xff\xd8\xff\xe0JFIF=", b"[]", b"<a b='1'/>", b"=1"])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidParameter, match=r"a form .* or a JSON object"):
        parameters.read_body(call(body))


@pytest.mark.parametrize("body", [b'{"a": "\xff"}', b"a=\xff", PART.replace(b"1 2", b"\xff")])
def test_texts_are_utf_8(body: bytes) -> None:
    with pytest.raises(NotUtf8):
        parameters.read_body(call(body))


def test_a_query_and_a_body_may_say_the_same() -> None:
    sent = call(b'{"a": 1, "b": 2}', query="a=1&c=3")
    assert parameters.read_parameters(sent, lambda _: True) == {"a": "1", "b": "2", "c": "3"}
    with pytest.raises(InvalidParameter, match="a stands both"):
        parameters.read_parameters(call(b"a=1", query="a=2"), lambda _: True)


def test_fields_that_are_not_taken_are_left_out() -> None:
    sent = call(b"a=1&x=1&x=2", query="x=3&x=4")
    assert parameters.read_parameters(sent, "a".__eq__) == {"a": "1"}
    with pytest.raises(InvalidParameter, match="twice"):
        parameters.read_parameters(call(b"a=1&a=2"), "a".__eq__)


def test_places_that_cannot_be_read_are_passed_over() -> None:
    assert list(parameters.places(call(b"\xff", query="a=1"))) == [{"a": "1"}]
    assert list(parameters.places(call(b"a=1", query="a=%ff"))) == [{"a": "1"}]
