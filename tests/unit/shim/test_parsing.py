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


EVERY_LETTER = base64.b64encode(bytes(range(256)) * 6 + b"\xff\xef\xbe").decode()


def test_blanks_inside_are_plus_signs_that_a_form_lost() -> None:
    assert EVERY_LETTER.count("+") > 6
    raw = base64.b64decode(EVERY_LETTER)
    lost = EVERY_LETTER.replace("+", " ")
    wrapped = "\r\n\t".join(lost[at : at + 76] for at in range(0, len(lost), 76))
    for text in (lost, f" {lost}", f"data:image/png;base64, {lost}", wrapped):
        assert decode(text) == raw


@pytest.mark.parametrize("length", [3, 4, 5])
@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_blanks_around_are_none_but_those_that_complete_the_last_four(
    length: int, padding: str
) -> None:
    raw = b"\xfb" * length  # its last letters are plus, and others
    whole = base64.b64encode(raw).decode().rstrip("=")
    if len(padding) <= -len(whole) % 4:
        assert decode(f"  {whole}{padding}") == raw
        if padding or len(whole) % 4 == 0:
            assert decode(f"  {whole}{padding}  ") == raw
    ends_in_plus = base64.b64encode(b"\x00\x0f\xbe").decode()
    assert ends_in_plus[-1] == "+"
    assert decode(ends_in_plus[:-1] + " ") == b"\x00\x0f\xbe"


@pytest.mark.parametrize("padding", ["", "=", "=="])
def test_url_safe_letters_and_missing_padding(padding: str) -> None:
    raw = BYTES + b"\xff"
    safe = base64.urlsafe_b64encode(raw).decode().rstrip("=")
    assert {"-", "_"} < set(safe)
    assert decode(safe + padding) == raw
    assert decode(f"data:image/jpeg; base64,{safe}{padding}") == raw


@pytest.mark.parametrize(
    "text",
    ["A", "AAAAA", "AA=A", "=AAA", "====", "AAA==", "AAAA=", "AA\x00A", "AA+é",
     "\ud800AAA", "%41%41", "data:image/png,AAAA", "AAAA,AAAA", "AA\x0bA", "AA= ="],
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
    [("1", 1), ("-7", -7), ("0", 0), ("5.0", 5), ("1e3", 1000), ("1.59194391E9", 1591943910),
     ("1.5", None), ("1e-1", None), ("1e18", None), ("1e99", None), ("1e999", None),
     ("9" * 18 + ".0", 10**18 - 1), ("9" * 18, 10**18 - 1), ("9" * 19, None),
     ("9" * 5000, None), ("5.", None), ("--1", None), ("", None), ("１", None), ("²", None)],
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
