"""Parses the input of clients: Base64, JSON and forms, in bounded memory.

Pure functions over bytes and text; they raise ``pipeline.errors``.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from pipeline.errors import BadEncoding, InvalidParameter, NotUtf8

FORM = "application/x-www-form-urlencoded"

# Levels of nested JSON objects and arrays; the documents need three.
MAX_DEPTH = 32

# Bytes of JSON outside of strings. A request of the documents has less than 1 KB; the limit
# bounds the number of values, and so the memory, that a body can demand.
MAX_STRUCTURE_BYTES = 64 * 1024

# Names in a form or a query string.
MAX_FIELDS = 100

# A string, terminated or not; possessive, so that no text is examined twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
# The start of an object, after a byte order mark.
_OBJECT = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*\{")

# At most 18 digits: more than any number in the documents has. Languages that know one kind
# of number write 5 as 5.0, and a time as 1.59194391E9.
_INTEGER = re.compile("-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,2})?")
_LARGEST = 10**18 - 1

_DATA_URL_HEAD = re.compile(r"\s*data:[^,]{0,256};\s*base64,", re.IGNORECASE)

# The URL-safe letters become the standard ones; line breaks and tabs are dropped.
_STANDARD_BASE64 = str.maketrans("-_", "+/", "\t\r\n")


@dataclass(frozen=True, slots=True)
class JsonNumber:
    """A JSON number as the client wrote it: signatures cover the text."""

    text: str

    def as_int(self) -> int | None:
        """The value if it is whole and has at most 18 digits, else None."""
        if _INTEGER.fullmatch(self.text):
            return int(self.text)
        if not _DECIMAL.fullmatch(self.text):
            return None
        value = Decimal(self.text)
        is_whole = abs(value) <= _LARGEST and value == value.to_integral_value()
        return int(value) if is_whole else None


def is_object(body: bytes) -> bool:
    """Whether a body begins as a JSON object does."""
    return _OBJECT.match(body) is not None


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in ``body`` (UTF-8), with numbers as ``JsonNumber``.

    Raises ``NotUtf8``, and ``InvalidParameter`` for text that is not JSON, not an object,
    nested too deeply, or that has too many values or a repeated name.
    """
    if _depth(_structure_of(body)) > MAX_DEPTH:
        raise InvalidParameter("the JSON has too many levels")
    try:
        value = json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_object_without_duplicates,
            parse_int=JsonNumber,
            parse_float=JsonNumber,
            parse_constant=_reject_constant,
        )
    except UnicodeDecodeError as error:
        raise NotUtf8("the body is not JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise InvalidParameter("the body is not JSON in UTF-8") from error
    if not isinstance(value, dict):
        raise InvalidParameter("the JSON is not an object")
    return value


def _structure_of(body: bytes) -> bytes:
    """The JSON without the contents of strings, at most ``MAX_STRUCTURE_BYTES`` long."""
    kept = bytearray()
    end = 0
    while len(kept) <= MAX_STRUCTURE_BYTES:
        start = body.find(b'"', end)
        if start < 0:
            kept += body[end : end + MAX_STRUCTURE_BYTES + 1]
            break
        kept += body[end : min(start + 1, end + MAX_STRUCTURE_BYTES + 1)]
        end = _string_end(body, start)
    if len(kept) > MAX_STRUCTURE_BYTES:
        raise InvalidParameter("the JSON has too many values")
    return bytes(kept)


def _string_end(body: bytes, start: int) -> int:
    """The position after the string that begins at ``start``, or the end of the body."""
    close = body.find(b'"', start + 1)
    if close < 0:
        return len(body)
    if body.find(b"\\", start, close) < 0:
        return close + 1  # such as Base64: without escapes the fast search suffices
    match = _STRING.match(body, start)
    return match.end() + 1 if match else len(body)


def _depth(structure: bytes) -> int:
    level = deepest = 0
    for byte in structure:
        if byte in b"{[":
            level += 1
            deepest = max(deepest, level)
        elif byte in b"}]":
            level -= 1
    return deepest


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        # Parsers differ in the value that they take, so the signed value would be unclear.
        raise InvalidParameter("the JSON has a name twice in one object")
    return found


def _reject_constant(name: str) -> NoReturn:
    raise InvalidParameter(f"{name} is not JSON")


def canonical(value: Any) -> str:
    """``value`` of ``read_object`` as compact JSON: names sorted at every level, non-ASCII
    unescaped, numbers as the client wrote them."""
    match value:
        case JsonNumber(text):
            return text
        case dict():
            names = {json.dumps(name, ensure_ascii=False): value[name] for name in sorted(value)}
            return "{" + ",".join(f"{name}:{canonical(one)}" for name, one in names.items()) + "}"
        case list():
            return "[" + ",".join(canonical(item) for item in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=False)


def read_form(body: bytes, takes: Callable[[str], bool] = lambda _: True) -> dict[str, str]:
    """The fields of a URL-encoded form or of a query string, those whose name ``takes``
    accepts; UTF-8 may also stand in it unencoded. Raises ``NotUtf8``, and
    ``InvalidParameter`` for too many fields or a repeated name."""
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except UnicodeDecodeError as error:
        raise NotUtf8("the form is not URL-encoded UTF-8") from error
    except ValueError as error:
        raise InvalidParameter("the form has too many fields") from error
    taken = [(name, value) for name, value in pairs if takes(name)]
    if len(dict(taken)) != len(taken):
        raise InvalidParameter("the form has a name twice")
    return dict(taken)


def encode_utf8(text: str) -> bytes:
    """Raises ``InvalidParameter`` for half a surrogate pair, which JSON escapes can form."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidParameter("the text is not Unicode") from error


def strip_base64(text: str) -> str:
    """Base64 in the standard letters, without a ``data:...;base64,`` head, line breaks and
    tabs. A blank is a ``+`` that was not encoded in a form, but for blanks at either end; at
    the very end it is one, too, if it completes the last group of four."""
    head = _DATA_URL_HEAD.match(text)
    padded = text[head.end() if head else 0 :].translate(_STANDARD_BASE64).lstrip(" ")
    stripped = padded.rstrip(" ")
    if len(stripped) % 4 and len(padded) % 4 == 0 and not stripped.endswith("="):
        stripped = padded
    return stripped.replace(" ", "+")


def decode_base64(text: str) -> bytes:
    """The bytes of what ``strip_base64`` returned, padded, partly or not. Raises
    ``BadEncoding`` for a character outside the standard alphabet or an impossible length."""
    unpadded = text.rstrip("=")
    padding = -len(unpadded) % 4
    if padding == 3 or len(text) - len(unpadded) > padding:
        raise BadEncoding
    try:
        return binascii.a2b_base64(unpadded.encode("ascii") + b"=" * padding, strict_mode=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise BadEncoding from error
