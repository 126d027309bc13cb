"""Parsing untrusted Base64 and JSON."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
from typing import Any

import pytest

from api_shim import parsing
from pipeline.errors import BadEncoding, InvalidParameter

BYTES = bytes(range(256)) * 3


def decode(text: str) -> bytes:
    return parsing.decode_base64(parsing.strip_base64(text))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 767, 768])
@pytest.mark.parametrize(
    "head", ["", "data:image/png;base64,", "DATA:;BASE64,", " data:a/b;c=d;base64,"]
)
def test_base64_with_and_without_head_padding_and_breaks(length: int, head: str) -> None:
    raw = BYTES[:length]
    plain = base64.b64encode(raw).decode()
    broken = "\r\n".join(plain[at : at + 76] for at in range(0, len(plain), 76)) + "\n"
    for text in (plain, plain.rstrip("="), broken):
        assert decode(head + text) == raw


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=A", "=AAA", "====", "AAA==", "AA=", "AAAA=", "AA\x00A", "AA-_", "AA+é",
     "\ud800AAA", "%41%41", "data:image/png,AAAA", "AAAA,AAAA"],
)
def test_what_is_no_base64(text: str) -> None:
    with pytest.raises(BadEncoding):
        decode(text)


def test_random_text_is_refused_or_decoded_and_nothing_else() -> None:
    rng = random.Random(7)
    for _ in range(2000):
        codes = (rng.randrange(rng.choice((128, 0x3000))) for _ in range(9))
        text = "".join(map(chr, codes))
        try:
            decode(text)
        except BadEncoding:
            continue


@pytest.mark.parametrize(
    "number", ["0", "-0", "1.0", "1.50", "1e3", "1E+2", "12345678901234567890123", "-1.25e-7"]
)
def test_numbers_stay_as_they_were_written(number: str) -> None:
    text = f'{{"b":{number},"a":[{number}]}}'
    value = parsing.read_object(text.encode())
    assert parsing.canonical(value) == f'{{"a":[{number}],"b":{number}}}'


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("-7", -7), ("0", 0), ("1.0", None), ("1e3", None), ("9" * 18, 10**18 - 1),
     ("9" * 19, None), ("9" * 5000, None), ("--1", None), ("", None), ("１", None), ("²", None)],
)
def test_integers(text: str, value: int | None) -> None:
    assert parsing.JsonNumber(text).as_int() == value


def test_canonical_is_what_a_client_would_sign() -> None:
    value = {"b": [{"z": None, "a": True}, "中文/\"\\\n\u0001é"], "a": {"y": "", "x": {}}, "B": []}
    for ascii_only in (True, False):
        sent = json.dumps(value, ensure_ascii=ascii_only, indent=2).encode()
        assert parsing.canonical(parsing.read_object(sent)) == json.dumps(
            value, sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"null", b"[]", b'"x"', b"1", b"\xff\xfe{}", b"{}{}", b"{'a':1}", b'{"a":}',
     b'{"a":NaN}', b'{"a":Infinity}', b'{"a":01}', b'{"a":"\n"}', b'{"a":"\\x"}', b'{"a":1,}',
     b'{"a":"\xff"}', b'{"a":1,"a":1}', b'{"x":{"a":1,"a":2}}', "{}".encode("utf-16")],
)
def test_what_is_no_json_object(body: bytes) -> None:
    with pytest.raises(InvalidParameter):
        parsing.read_object(body)


def test_a_byte_order_mark_is_no_harm() -> None:
    assert parsing.read_object(b'\xef\xbb\xbf{"a":"b"}') == {"a": "b"}


def test_half_a_surrogate_pair_is_refused_where_bytes_are_needed() -> None:
    value: dict[str, Any] = parsing.read_object(b'{"a":"\\ud800"}')
    with pytest.raises(InvalidParameter):
        parsing.encode_utf8(parsing.canonical(value))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b'{"a":' + b"[" * 32 + b"]" * 32 + b"}",
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'{"a":[' + b"1," * 40_000 + b"1]}",
        b'{"a":[' + b'"",' * 40_000 + b"1]}",
        b'{"a":[' + b'"\\"",' * 40_000 + b"1]}",
        b" " * 100_000 + b"{}",
        b'"' * 2_000_000,
        b'"\\' * 1_000_000,
        b'{"a":"' + b"\\" * 2_000_001,
    ],
    ids=range(11),
)
def test_space_is_bounded(body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InvalidParameter):
            parsing.read_object(body)
        assert tracemalloc.get_traced_memory()[1] < 4 * len(body) + 1_000_000
    finally:
        tracemalloc.stop()


def test_brackets_inside_strings_are_text() -> None:
    value = {"a": "[{" * 1000, "b": '\\"[[[' * 1000, "c": "\\\\"}
    assert parsing.read_object(json.dumps(value).encode()) == value
