"""Dialect b's requests: fields of the JSON body, of the path and of the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from api_shim import parsing
from api_shim.requests import Call
from pipeline.errors import InvalidParameter, MissingParameter

# The most items of a page, and the groups that a request can name: more than there are.
MOST_ITEMS = 1000
MOST_NAMED_GROUPS = 256

GROUP_ID_BYTES = 32


def body_of(call: Call) -> dict[str, Any]:
    """The JSON object of a request. Raises ``InvalidParameter``."""
    return parsing.read_object(call.body)


def text(fields: Mapping[str, Any], name: str, most: int, *, required: bool = False) -> str:
    """A text of at most ``most`` bytes in UTF-8; "" for none."""
    value = fields.get(name)
    if value is None or value == "":
        if required:
            raise MissingParameter(f"{name} is missing")
        return ""
    if not isinstance(value, str):
        raise InvalidParameter(f"{name} must be a string")
    if len(parsing.encode_utf8(value)) > most:
        raise InvalidParameter(f"{name} has more than {most} bytes in UTF-8")
    if "\0" in value:  # no database keeps it
        raise InvalidParameter(f"{name} has a NUL")
    return value


def identifier(fields: Mapping[str, Any], name: str, most: int, *, required: bool = False) -> str:
    """A text that can stand in a path."""
    value = text(fields, name, most, required=required)
    if not value.isprintable():
        raise InvalidParameter(f"{name} has characters that cannot be printed")
    return value


def integer(
    fields: Mapping[str, Any], name: str, least: int, most: int, default: int | None
) -> int:
    """A whole number in a range; without a ``default`` it is required."""
    value = fields.get(name)
    if value is None:
        if default is None:
            raise MissingParameter(f"{name} is missing")
        return default
    number = value.as_int() if isinstance(value, parsing.JsonNumber) else None
    if number is None or not least <= number <= most:
        raise InvalidParameter(f"{name} must be an integer from {least} to {most}")
    return number


def flag(fields: Mapping[str, Any], name: str, default: bool | None) -> bool:
    """True or false; without a ``default`` it is required."""
    value = fields.get(name)
    if value is None:
        if default is None:
            raise MissingParameter(f"{name} is missing")
        return default
    if not isinstance(value, bool):
        raise InvalidParameter(f"{name} must be true or false")
    return value


def group_ids(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The groups that a list names, in order and each once. One that no group can be
    called is among them: it is an unknown group, not a malformed request."""
    value = fields.get(name)
    if value is None:
        raise MissingParameter(f"{name} is missing")
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidParameter(f"{name} must be a list of strings")
    if not value:
        raise InvalidParameter(f"{name} is empty")
    if len(value) > MOST_NAMED_GROUPS:
        raise InvalidParameter(f"{name} names more than {MOST_NAMED_GROUPS} groups")
    for item in value:
        parsing.encode_utf8(item)
    return tuple(dict.fromkeys(value))


def could_name_a_group(key: str) -> bool:
    """Whether a group can have this id: a stranger's text, which not every database
    would take, is not looked up."""
    return key.isprintable() and 0 < len(key.encode()) <= GROUP_ID_BYTES


def picture(fields: Mapping[str, Any], name: str) -> bytes:
    """The file behind a picture's Base64."""
    return parsing.decode_base64_field(
        parsing.read_base64_field(fields, name, InvalidParameter), name
    )


def page(call: Call, default_size: int | None) -> tuple[int, int]:
    """(``pageOffset`` in items, ``pageSize``) of the query; without a default both are
    required."""
    fields = _query(call.query)
    offset = integer(fields, "pageOffset", 0, 10**15, None if default_size is None else 0)
    return offset, integer(fields, "pageSize", 1, MOST_ITEMS, default_size)


def _query(query: str) -> dict[str, parsing.JsonNumber]:
    try:
        pairs: Sequence[tuple[str, str]] = parse_qsl(
            query, keep_blank_values=True, errors="strict", max_num_fields=100
        )
    except ValueError as error:
        raise InvalidParameter("the query is not URL-encoded UTF-8") from error
    if len(dict(pairs)) != len(pairs):
        raise InvalidParameter("the query has a name twice")
    return {name: parsing.JsonNumber(value) for name, value in pairs}
