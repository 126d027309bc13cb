"""Multipart forms: as clients send them, and as attackers do."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, TypeAlias

import pytest
import requests

from api_shim import multipart
from api_shim.multipart import Form, read_multipart
from pipeline.errors import FaceError, InvalidParameter, NotUtf8

TraceFunction: TypeAlias = Callable[[FrameType, str, Any], Any]

TYPE = "multipart/form-data; boundary=xYz"
JPEG = b"\xff\xd8\xff\xe0\r\n--xY\r\n-- \x00\r\n"


def part(headers: str, data: bytes = b"") -> bytes:
    return b"--xYz\r\n" + headers.encode("latin-1") + b"\r\n\r\n" + data + b"\r\n"


def field(name: str, data: bytes = b"1") -> bytes:
    return part(f'Content-Disposition: form-data; name="{name}"', data)


def body(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--xYz--\r\n"


def test_as_curl_sends_it() -> None:
    boundary = "------------------------d74496d66958873e"
    sent = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="api_id"\r\n\r\nID\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="image_one_file"; '
        f'filename="a;b \\"c\\".jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    ).encode() + JPEG + f"\r\n--{boundary}--\r\n".encode()
    form = read_multipart(sent, f"multipart/form-data; boundary={boundary}")
    assert form == Form({"api_id": "ID"}, {"image_one_file": JPEG})


def test_several_files_of_one_name_only_where_they_are_taken() -> None:
    def file(name: str, data: bytes) -> bytes:
        return part(f'Content-Disposition: form-data; name="photos"; filename="{name}"', data)

    sent = body(file("a.jpg", b"one"), file("b\xff.jpg", b"two"), field("csrf"))
    form = read_multipart(sent, TYPE, several=True)
    assert [(each.filename, each.data) for each in form.uploads] == [
        ("a.jpg", b"one"), ("b\ufffd.jpg", b"two")
    ]
    assert form == Form({"csrf": "1"}, {"photos": b"one"})
    with pytest.raises(InvalidParameter):
        read_multipart(sent, TYPE)
    with pytest.raises(InvalidParameter):
        read_multipart(body(field("csrf"), field("csrf")), TYPE, several=True)
    with pytest.raises(InvalidParameter):
        read_multipart(body(field("photos"), file("a.jpg", b"one")), TYPE, several=True)


def test_as_requests_sends_it() -> None:
    files = {"image_one_file": ("张三.jpg", JPEG), "image_two_file": ("b.jpg", b"two")}
    made = requests.Request("POST", "http://host/", data={"api_id": "号"}, files=files).prepare()
    assert isinstance(made.body, bytes)
    form = read_multipart(made.body, made.headers["Content-Type"])
    assert form == Form({"api_id": "号"}, {"image_one_file": JPEG, "image_two_file": b"two"})


def test_as_java_sends_it() -> None:
    sent = body(
        part(
            'Content-Disposition: form-data; name="image_one_file"; filename="face1.jpg"\r\n'
            "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary", JPEG,
        ),
        part(
            'Content-Disposition: form-data; name="api_id"\r\n'
            "Content-Type: text/plain; charset=US-ASCII\r\nContent-Transfer-Encoding: 8bit",
            b"ID",
        ),
    )
    assert read_multipart(sent, TYPE) == Form({"api_id": "ID"}, {"image_one_file": JPEG})


def test_as_ruby_and_old_libraries_send_it() -> None:
    ruby = part(
        'Content-Disposition: form-data; name="image_one_file"; filename="px_test"\r\n'
        f"Content-Length: {len(JPEG)}\r\nContent-Type: image/jpeg\r\n"
        "Content-Transfer-Encoding: binary", JPEG,
    )
    # urllib3 before 1.25 names files that are not ASCII in this way alone.
    old = part(
        "Content-Disposition: form-data; name=\"image_two_file\"; filename*=utf-8''%E5%BC%A0",
        b"two",
    )
    quoted = 'Multipart/Form-Data; charset=UTF-8; boundary="xYz"'
    form = read_multipart(body(ruby, old) + b"\r\n", quoted)
    assert form == Form({}, {"image_one_file": JPEG, "image_two_file": b"two"})


def test_what_stands_around_the_parts_is_ignored() -> None:
    sent = b"This is a form.\r\n--xY\r\n" + body(field("a")) + b"\r\n--xYz\r\nmore--xYz--"
    assert read_multipart(sent, TYPE) == Form({"a": "1"}, {})
    assert read_multipart(b"\r\n" + body(field("a")), TYPE) == Form({"a": "1"}, {})
    assert read_multipart(body(), TYPE) == Form({}, {})


def test_which_parts_are_files() -> None:
    named = part('Content-Disposition: form-data; name="a"; filename=""', b"some")
    empty = part('Content-Disposition: form-data; name="b"; filename=""')
    plain = field("c", b"\xff")
    form = read_multipart(body(named, empty, plain), TYPE, always_files=("c",))
    assert form == Form({}, {"a": b"some", "c": b"\xff"})


def test_a_boundary_that_the_header_lacks_is_that_of_the_body() -> None:
    assert read_multipart(body(field("a")), "multipart/form-data") == Form({"a": "1"}, {})
    assert read_multipart(body(field("a")), "application/json") == Form({"a": "1"}, {})


def test_as_curl_sends_it_under_another_type() -> None:
    sent = body(
        part('Content-Disposition: attachment; name="a"', b"1"),
        part('Content-Disposition: attachment; name="b"; filename="p.jpg"', JPEG),
    )
    other = "application/x-www-form-urlencoded; boundary=xYz"
    assert read_multipart(sent, other) == Form({"a": "1"}, {"b": JPEG})


def test_parts_that_are_not_taken_are_left_out() -> None:
    other = part('Content-Disposition: form-data; name="b"\r\nContent-Transfer-Encoding: base64')
    sent = body(field("a"), other, other, field("long", b"x" * 100_000))
    form = read_multipart(sent, TYPE, ("a", "long").__contains__)
    assert form == Form({"a": "1", "long": "x" * 100_000}, {})


@pytest.mark.parametrize("name", ["a", "\xe9"])
def test_another_encoding_than_utf8(name: str) -> None:
    with pytest.raises(NotUtf8):
        read_multipart(body(field(name, b"\xd5\xc5")), TYPE)


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", TYPE),
    "no boundary": (b"\r\n" + body(field("a")), "multipart/form-data"),
    "long boundary": (b"", "multipart/form-data; boundary=" + "x" * 71),
    "odd boundary": (b"", 'multipart/form-data; boundary="x\r\n"'),
    "boundary that is not ASCII": (b"", "multipart/form-data; boundary=\xe9"),
    "long type": (b"", TYPE + ";" * 5000),
    "another boundary": (body(field("a")), "multipart/form-data; boundary=xY"),
    "truncated in a header": (field("a")[:20], TYPE),
    "truncated in a part": (field("a")[:-3], TYPE),
    "no closing boundary": (field("a"), TYPE),
    "half a closing boundary": (body(field("a"))[:-3], TYPE),
    "line feeds alone": (body(field("a")).replace(b"\r", b""), TYPE),
    "long preamble": (b"x" * 2000 + b"\r\n" + body(field("a")), TYPE),
    "a name twice": (body(field("a"), field("a")), TYPE),
    "a name as field and file": (
        body(field("a"), part('Content-Disposition: form-data; name="a"; filename="f"')), TYPE
    ),
    "no name": (body(part("Content-Disposition: form-data")), TYPE),
    "an empty name": (body(field("")), TYPE),
    "a long name": (body(field("n" * 129)), TYPE),
    "no disposition": (body(part("Content-Type: text/plain")), TYPE),
    "no headers": (b"--xYz\r\n\r\n1\r\n--xYz--", TYPE),
    "no part": (b"--xYz\r\n--xYz--", TYPE),
    "an inline part": (body(part('Content-Disposition: inline; name="a"')), TYPE),
    "a header twice": (
        body(part('Content-Disposition: form-data; name="a"\r\ncontent-disposition: x')), TYPE
    ),
    "a header folded": (body(part('Content-Disposition: form-data;\r\n name="a"')), TYPE),
    "a header without a colon": (body(part("Content-Disposition")), TYPE),
    "Base64": (
        body(part('Content-Disposition: form-data; name="a"\r\n'
                  "Content-Transfer-Encoding: BASE64")), TYPE
    ),
    "quoted-printable": (
        body(part('Content-Transfer-Encoding: quoted-printable\r\n'
                  'Content-Disposition: form-data; name="a"')), TYPE
    ),
    "a form in a form": (
        body(part('Content-Disposition: form-data; name="a"\r\n'
                  "Content-Type: Multipart/mixed; boundary=b")), TYPE
    ),
    "many parts": (body(*(field(f"a{n}") for n in range(101))), TYPE),
    "many options": (body(part(f"Content-Disposition: form-data{';x=y' * 40}; name=a")), TYPE),
    "many headers": (
        body(part("".join(f"X-{n}: 1\r\n" for n in range(8))
                  + 'Content-Disposition: form-data; name="a"')), TYPE
    ),
    "a long header": (body(part(f"X: {'y' * 5000}")), TYPE),
    "a boundary inside a line": (body(field("a", b"1\r\n--xYzz")), TYPE),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(case: str, caplog: pytest.LogCaptureFixture) -> None:
    sent, content_type = MALFORMED[case]
    with pytest.raises(InvalidParameter):
        read_multipart(sent, content_type)
    assert caplog.records == []


def test_the_largest_form_allowed() -> None:
    files = [
        part(f'Content-Disposition: form-data; name="f{n}"; filename="f"', b"\n" * 100_000)
        for n in range(multipart.MAX_PARTS)
    ]
    form = read_multipart(body(*files), TYPE)
    assert len(form.files) == multipart.MAX_PARTS


def test_anything_else_is_refused_or_read() -> None:
    chance = random.Random(4)
    pieces = [b"--xYz", b"--", b"\r\n", b"\r", b"\n", b":", b" ", b'"', b";", b"\xff", b"a",
        b'Content-Disposition: form-data; name="a"', b"; filename=", b"\r\n\r\n"]
    read = 0
    for _ in range(5000):
        sent = field("b") + b"".join(chance.choices(pieces, k=chance.randrange(12)))
        try:
            read_multipart(sent + b"--xYz--", TYPE)
        except FaceError:
            continue
        read += 1
    assert read > 0


def _quotes(quotes: int, size: int) -> bytes:
    return body(
        *(
            part("Content-Disposition: form-data; " + ';"' * quotes + f'; name="a{n}"',
                 b"x" * (size // 100))
            for n in range(100)
        )
    )


ATTACKS: dict[str, Callable[[int], bytes]] = {
    "boundaries": lambda size: b"--xYz\r\n" * (size // 7),
    "boundaries that are none": lambda size: field("a") + b"\r\n--xYz!" * (size // 8),
    "boundaries almost": lambda size: field("a") + b"\r\n--xY" * (size // 6),
    "boundaries with blanks": lambda size: b"--xYz" + b" " * size,
    "a header": lambda size: b"--xYz\r\nX: " + b"y" * size,
    "a header's name": lambda size: b"--xYz\r\n" + b"y" * size,
    "a header of blanks": lambda size: b"--xYz\r\nX:" + b" " * size,
    "many headers": lambda size: b"--xYz\r\n" + b"X: y\r\n" * (size // 6),
    "line breaks": lambda size: b"\r\n" * (size // 2) + body(field("a")),
    "line breaks in a file": lambda size: body(
        part('Content-Disposition: form-data; name="a"; filename="f"', b"\r\n" * (size // 2))
    ),
    "dashes": lambda size: body(
        part('Content-Disposition: form-data; name="a"; filename="f"', b"\r\n--" * (size // 4))
    ),
    "many quotes": lambda size: _quotes(2000, size),
    "quotes": lambda size: _quotes(15, size),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_work_is_bounded(attack: str) -> None:
    """Searches skip most bytes: the worst 12 MB cost at most a fiftieth of a line of Python
    a byte."""
    assert _lines_run(ATTACKS[attack](12_000_000)) < 240_000


def _lines_run(sent: bytes) -> int:
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> TraceFunction:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)
    try:
        with suppress(InvalidParameter):
            read_multipart(sent, TYPE)
    finally:
        sys.settrace(None)
    return count
