"""Dialect a's parameters: from a form, a JSON body or the query string, with any method.

Whatever is missing or malformed here is code 9.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from api_shim import parsing
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, MissingParameter

FORM = "application/x-www-form-urlencoded"

DEFAULT_THRESHOLD = 0.6

MAX_NAME_CHARS = 255  # what a face's record holds

# The document sets no bound on ``Fimg1..n``; every picture is decoded in one job.
MOST_PICTURES = 50

_DECIMAL = re.compile(r"[+-]?[0-9]{0,18}(\.[0-9]{0,32})?([eE][+-]?[0-9]{1,3})?")
_NUMBERED = re.compile(r"Fimg([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True)
class Shape:
    """Which parameters an operation takes beside Apid and Kvalue: ``picture`` and
    ``face_id`` are required where they are taken, but for a ``picture`` that is
    ``optional``; with a ``clip`` goes the action that it shows."""

    face_id: bool = False
    picture: bool = False
    optional: bool = False
    pictures: bool = False
    name: bool = False
    threshold: bool = False
    clip: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """The parameters of one request; ``pictures`` are Base64 as it was sent."""

    apid: int
    kvalue: str = field(repr=False)
    face_id: int | None = None
    name: str = ""
    threshold: float = DEFAULT_THRESHOLD
    action: Literal[1, 2] = 1
    pictures: tuple[str, ...] = field(default=(), repr=False)


def read_fields(call: Call) -> Mapping[str, Any]:
    """Every parameter by name. Raises ``InvalidParameter``, also for a name that stands
    both in the body and in the query."""
    query = parsing.read_form(call.query.encode())
    body: Mapping[str, Any] = {}
    if call.body:
        read = parsing.read_form if call.media_type == FORM else parsing.read_object
        body = read(call.body)
    if query.keys() & body.keys():
        raise InvalidParameter("a parameter stands both in the query and in the body")
    return {**query, **body}


def read_wanted(fields: Mapping[str, Any], shape: Shape) -> Wanted:
    """The parameters that ``shape`` takes. Raises ``MissingParameter``,
    ``InvalidParameter``."""
    return Wanted(
        apid=_integer(fields, "Apid"),
        kvalue=_required(fields, "Kvalue"),
        face_id=_integer(fields, "Fid") if shape.face_id else None,
        name=_name(fields) if shape.name else "",
        threshold=_threshold(fields) if shape.threshold else DEFAULT_THRESHOLD,
        action=_action(fields) if shape.clip else 1,
        pictures=_pictures(fields, shape),
    )


def _pictures(fields: Mapping[str, Any], shape: Shape) -> tuple[str, ...]:
    if shape.pictures:
        return _numbered(fields)
    if shape.clip:
        return (_required(fields, "Fvideo"),)
    if not shape.picture:
        return ()
    if shape.optional and not _text(fields, "Fimg"):
        return ()
    return (_required(fields, "Fimg"),)


def _numbered(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """``Fimg1`` to ``Fimgn``, from 1 without a gap."""
    numbers = sorted(int(match[1]) for match in map(_NUMBERED.fullmatch, fields) if match)
    if numbers != list(range(1, len(numbers) + 1)) or not 2 <= len(numbers) <= MOST_PICTURES:
        raise InvalidParameter(
            f"Fimg1 to Fimgn must start at 1 without a gap, with n from 2 to {MOST_PICTURES}"
        )
    return tuple(_required(fields, f"Fimg{number}") for number in numbers)


def _action(fields: Mapping[str, Any]) -> Literal[1, 2]:
    """1, to blink, unless it says 2, to open the mouth."""
    value = _integer(fields, "Action") if _number(fields, "Action") else 1
    if value == 1:
        return 1
    if value == 2:
        return 2
    raise InvalidParameter("Action must be 1 or 2")


def _name(fields: Mapping[str, Any]) -> str:
    name = _text(fields, "Fname")
    parsing.encode_utf8(name)
    if len(name) > MAX_NAME_CHARS or "\x00" in name:
        raise InvalidParameter(f"Fname has at most {MAX_NAME_CHARS} characters")
    return name


def _threshold(fields: Mapping[str, Any]) -> float:
    text = _number(fields, "Threshold")
    if not text:
        return DEFAULT_THRESHOLD
    value = _float(text)
    if not 0 <= value <= 1:
        raise InvalidParameter("Threshold must be a number from 0 to 1")
    return value


def _float(text: str) -> float:
    if _DECIMAL.fullmatch(text) is None:
        return math.nan
    try:
        return float(text)
    except ValueError:
        return math.nan  # "." or "e5"


def _integer(fields: Mapping[str, Any], name: str) -> int:
    text = _number(fields, name)
    if not text:
        raise MissingParameter(f"{name} is missing")
    value = parsing.JsonNumber(text).as_int()
    if value is None:
        raise InvalidParameter(f"{name} must be an integer")
    return value


def _number(fields: Mapping[str, Any], name: str) -> str:
    """A number as it is written, in JSON or as text."""
    value = fields.get(name)
    return value.text if isinstance(value, parsing.JsonNumber) else _text(fields, name)


def _required(fields: Mapping[str, Any], name: str) -> str:
    text = _text(fields, name)
    if not text:
        raise MissingParameter(f"{name} is missing")
    return text


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a string")
    return value
