"""Reading document c's parameters."""

from __future__ import annotations

import pytest

from api_shim.dialects.c.dialect import read_raw
from api_shim.dialects.c.fields import (
    API_ID,
    API_SECRET,
    AUTO_ROTATES,
    CREDENTIALS,
    SOURCES,
    NamedPicture,
    PictureSource,
)
from api_shim.dialects.fields import Raw, read_fields
from api_shim.requests import Call, RemotePicture
from pipeline.errors import FaceError, ImageNotFound, InvalidParameter, NotUtf8

BOUNDARY = "----x"
FORM = "application/x-www-form-urlencoded"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"


def call(body: bytes = b"", content_type: str = "", query: str = "") -> Call:
    return Call("POST", "/", query, {"content-type": content_type}, body, "r")


def part(name: str, value: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + value + b"\r\n"


def multipart(*parts: bytes, query: str = "") -> Call:
    return call(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), MULTIPART, query)


def form(text: str) -> Call:
    return call(text.encode(), FORM)


def source(text: str, index: int = 0) -> PictureSource:
    return SOURCES[index].read(read_raw(form(text)))


def read_credentials(raw: Raw) -> tuple[str, str]:
    values = read_fields(CREDENTIALS, raw)
    return values[API_ID], values[API_SECRET]


@pytest.mark.parametrize(
    "sent",
    [
        call(query="api_id=A&api_secret=B"),
        form("api_id=A&api_secret=B"),
        call(b'{"api_id": "A", "api_secret": "B"}', "application/json"),
        multipart(part("api_id", b"A"), part("api_secret", b"B")),
        call(b"api_secret=B", FORM, query="api_id=A"),
        call(b"api_id=A&api_secret=B", FORM, query="api_id=A"),
        call(b"api_id=A&api_secret=B", "text/plain"),
        call(b' {"api_id": "A", "api_secret": "B"}', FORM),
        multipart(part("api_id", b"A"), part("x", b"1"), part("x", b"2"), part("api_secret", b"B")),
        multipart(
            *(part(f"x{n}", b"more") for n in range(90)), part("photo", b"A" * 100_000),
            part("api_id", b"A"), part("api_secret", b"B"), part("y", b"\xff", "a.jpg"),
        ),
        form("x=1&x=2&api_id=A&api_secret=B"),
    ],
)
def test_credentials_stand_in_the_query_or_the_body(sent: Call) -> None:
    assert read_credentials(read_raw(sent)) == ("A", "B")


def test_the_query_and_the_body_may_not_differ() -> None:
    with pytest.raises(InvalidParameter):
        read_raw(call(b"api_id=A", FORM, query="api_id=B"))
    with pytest.raises(InvalidParameter):
        read_raw(multipart(part("image_one_id", b"x", "a.jpg"), query="image_one_id=a"))


@pytest.mark.parametrize(
    "sent",
    [
        call(query="x=%ff"),
        call(query="x=\xff"),
        call(b"x=%ff", FORM),
        call("x=\u4eba".encode("gb18030"), FORM),
        call(b'{"x": "\xff"}', "application/json"),
        multipart(part("x", b"\xff")),
    ],
)
def test_parameters_are_utf_8(sent: Call) -> None:
    with pytest.raises(NotUtf8):
        read_raw(sent)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"x", "text/plain"), (b"x", ""), (b"[]", "application/json"), (b"--", MULTIPART),
     (b"x", "multipart/form-data"), (b"<x a='1'/>", "text/xml")],
)
def test_other_bodies_are_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidParameter):
        read_raw(call(body, content_type))


def test_the_three_ways_to_send_a_picture() -> None:
    sent = read_raw(multipart(part("image_one_file", b"\xff\xd8", "a.jpg")))
    assert SOURCES[0].read(sent) == b"\xff\xd8"
    assert source("image_two_url=http%3A%2F%2Fa%2F", 1) == RemotePicture("http://a/")
    assert source("image_one_id=abc") == NamedPicture("abc")


@pytest.mark.parametrize("name", ["image_one_file", "image_one_url", "image_one_id"])
def test_a_file_may_have_any_of_the_names(name: str) -> None:
    """The PHP sample of the document sends files as ``_url`` and ``_id``."""
    assert SOURCES[0].read(read_raw(multipart(part(name, b"pixels", "a.jpg")))) == b"pixels"


def test_a_file_needs_no_name() -> None:
    assert SOURCES[0].read(read_raw(multipart(part("image_one_file", b"\xff")))) == b"\xff"


@pytest.mark.parametrize(
    "text",
    [
        "", "image_one_url=&image_one_id=", "image_one_url=a&image_one_id=b",
        "image_one_file=abc", f"image_one_url=http://a/{'a' * 2048}",
    ],
)
def test_exactly_one_way(text: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        source(text)
    assert caught.value.picture == 0


@pytest.mark.parametrize("named", ["a" * 65, "%00"])
def test_ids_that_nothing_can_have(named: str) -> None:
    with pytest.raises(ImageNotFound) as caught:
        source(f"image_two_id={named}", 1)
    assert caught.value.picture == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", False), ("true", True), ("True", True), ("TRUE", True), ("1", True),
        ("false", False), ("False", False), ("0", False), ("+true+", True),
    ],
)
def test_auto_rotate(text: str, expected: bool) -> None:
    assert AUTO_ROTATES[1].read(read_raw(form(f"image_two_auto_rotate={text}"))) is expected


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False), ("1", True)])
def test_auto_rotate_in_json(text: str, expected: bool) -> None:
    body = f'{{"image_one_auto_rotate": {text}}}'.encode()
    assert AUTO_ROTATES[0].read(read_raw(call(body, "application/json"))) is expected


@pytest.mark.parametrize("text", ["yes", "2", "tru", "\u00b9"])
def test_other_booleans_are_refused(text: str) -> None:
    sent = read_raw(multipart(part("image_one_auto_rotate", text.encode())))
    with pytest.raises(InvalidParameter) as caught:
        AUTO_ROTATES[0].read(sent)
    assert caught.value.picture == 0


@pytest.mark.parametrize("value", ["{}", "[]", "1", "true", '"\\ud800"'])
def test_texts_are_texts(value: str) -> None:
    sent = read_raw(call(f'{{"api_id": {value}}}'.encode(), "application/json"))
    with pytest.raises(FaceError):
        read_credentials(sent)
