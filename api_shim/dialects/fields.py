"""The fields of requests: one row reads a value and describes it in OpenAPI.

A dialect lists the fields of each operation once, in the order of its document. Reading
checks them in that order. The schema of a field accepts a value only if reading does; the
exceptions are notations that reading takes besides (a number as text, a ``data:`` head
before Base64).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast

from api_shim import parsing
from api_shim.body import BodyKind
from pipeline.errors import FaceError, InvalidParameter, MissingParameter
from pipeline.identifiers import (
    MAX_COLLECTION_KEY_BYTES,
    PATH_NAME_RULE,
    PATH_SYNTAX,
    TEXT_END,
    is_path_name,
    is_printable,
    utf8_pattern,
)

Schema = dict[str, Any]

Raw = Mapping[str, Any]
"""What a client sent, by name: texts of a form or a query, files, or JSON values (numbers
as ``parsing.JsonNumber``)."""

ErrorKind = Callable[[str], FaceError]

T = TypeVar("T")

# The largest integer that is read: 18 digits fit 64 bits in every language.
MAX_INTEGER = 10**18 - 1

# A number as text or JSON may write it: with a digit before or behind the point.
_DECIMAL = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]{0,32})?|\.[0-9]{1,32})([eE][+-]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestField(Generic[T]):
    """One parameter of a request. ``default`` stands for an optional one that is absent;
    ``missing`` and ``wrong`` make the errors of the dialect; ``carries`` is what the body of a
    request must have room for."""

    name: str = field(kw_only=False)
    about: str = field(default="", kw_only=False)
    required: bool = True
    default: T = cast("T", None)  # noqa: RUF009  # no value: a required field has none
    missing: ErrorKind = MissingParameter
    wrong: ErrorKind = InvalidParameter
    carries: BodyKind = BodyKind.PLAIN

    def read(self, raw: Raw) -> T:
        """The value. Raises ``missing``, ``wrong``."""
        value = raw.get(self.name)
        if value is None or self.is_empty(value):
            if self.required:
                raise self.missing(f"{self.name} is missing")
            return self.default
        return self.parse(value)

    def reads(self, name: str) -> bool:
        """Whether this field reads a parameter of that name."""
        return name == self.name

    def is_empty(self, value: Any) -> bool:
        """Whether a value counts as absent."""
        return bool(value == "")

    def parse(self, value: Any) -> T:
        """A value that is there. Raises ``wrong``."""
        raise NotImplementedError

    def describe(self) -> Schema:
        """The JSON schema of the value, without the members common to all fields."""
        raise NotImplementedError

    @property
    def schema(self) -> Schema:
        """The whole JSON schema of the value."""
        schema = self.describe()
        if self.about:
            schema["description"] = self.about
        if not self.required and isinstance(self.default, (int, float, str)) and self.default != "":
            schema["default"] = self.default
        return schema

    @property
    def object_members(self) -> Schema:
        """The part of the object's schema that comes from this field."""
        required = {"required": [self.name]} if self.required else {}
        return {"properties": {self.name: self.schema}, **required}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextField(RequestField[str]):
    """A text. ``max_bytes`` counts UTF-8, ``max_chars`` code points; ``pattern`` (without
    anchors) must match the whole; ``rule`` says so in words. ``printable`` forbids control
    characters, ``names_path`` also what ``is_path_name`` forbids: for new ids, which come back
    in paths. A text with a limit never has a NUL, which no database column takes."""

    default: str = ""
    max_bytes: int | None = None
    max_chars: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    printable: bool = False
    names_path: bool = False
    rule: str = ""

    def parse(self, value: Any) -> str:
        if not isinstance(value, str):
            raise self.wrong(f"{self.name} must be a string")
        size = len(parsing.encode_utf8(value))
        if self.max_bytes is not None and size > self.max_bytes:
            raise self.wrong(f"{self.name} has more than {self.max_bytes} bytes in UTF-8")
        if self.max_chars is not None and len(value) > self.max_chars:
            raise self.wrong(f"{self.name} has more than {self.max_chars} characters")
        if self.choices and value not in self.choices:
            raise self.wrong(f"{self.name} must be {' or '.join(self.choices)}")
        if self.pattern is not None and re.fullmatch(self.pattern, value) is None:
            raise self.wrong(f"{self.name} {self.rule}")
        is_limited = self.max_bytes is not None or self.max_chars is not None
        if is_limited and "\0" in value:
            raise self.wrong(f"{self.name} has a NUL")
        if self.printable and not is_printable(value):
            raise self.wrong(f"{self.name} has characters that cannot be printed")
        if self.names_path and not is_path_name(value):
            raise self.wrong(f"{self.name} {PATH_NAME_RULE}")
        return value

    def describe(self) -> Schema:
        schema: Schema = {"type": "string"}
        if self.choices:
            return {**schema, "enum": list(self.choices)}
        if self.required:
            schema["minLength"] = 1
        if self.max_bytes is not None:
            schema |= {
                "maxLength": self.max_bytes, "x-maxBytes": self.max_bytes,
                "pattern": utf8_pattern(self.max_bytes, printable=self.printable),
            }
        elif self.max_chars is not None:
            schema |= {"maxLength": self.max_chars, "pattern": rf"^[^\u0000]*{TEXT_END}"}
        elif self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern}){'' if self.required else '?'}{TEXT_END}"
        if self.names_path:
            schema["not"] = {"pattern": PATH_SYNTAX}
        return schema


def collection_key_field(name: str, about: str, **options: Any) -> TextField:
    """The key of a collection, which every dialect limits alike."""
    return TextField(name, about, max_bytes=MAX_COLLECTION_KEY_BYTES, printable=True, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerField(RequestField[int]):
    """A whole number from ``least`` to ``most``, also as a text, as forms have it."""

    least: int = -MAX_INTEGER
    most: int = MAX_INTEGER

    def parse(self, value: Any) -> int:
        if isinstance(value, str):
            value = parsing.JsonNumber(value)
        number = value.as_int() if isinstance(value, parsing.JsonNumber) else None
        if number is None or not self.least <= number <= self.most:
            is_open = (self.least, self.most) == (-MAX_INTEGER, MAX_INTEGER)
            bounds = "" if is_open else f" from {self.least} to {self.most}"
            raise self.wrong(f"{self.name} must be an integer{bounds}")
        return number

    def describe(self) -> Schema:
        return {"type": "integer", "format": "int64", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberField(RequestField[float]):
    """A number from ``least`` to ``most``, in JSON or as a text."""

    least: float
    most: float

    def parse(self, value: Any) -> float:
        text = value.text if isinstance(value, parsing.JsonNumber) else value
        is_number = isinstance(text, str) and _DECIMAL.fullmatch(text)
        number = float(text) if is_number else math.nan
        if not self.least <= number <= self.most:
            raise self.wrong(f"{self.name} must be a number from {self.least:g} to {self.most:g}")
        return number

    def describe(self) -> Schema:
        return {"type": "number", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class BooleanField(RequestField[bool]):
    """True or false, also as a text, as forms have it, or as 1 or 0."""

    def is_empty(self, value: Any) -> bool:
        return isinstance(value, str) and not value.strip()

    def parse(self, value: Any) -> bool:
        if not isinstance(value, bool):
            written = value.text if isinstance(value, parsing.JsonNumber) else value
            value = _BOOLEANS.get(written.strip().lower()) if isinstance(written, str) else None
        if not isinstance(value, bool):
            raise self.wrong(f"{self.name} must be true or false")
        return value

    def describe(self) -> Schema:
        return {"type": "boolean"}


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class TextListField(RequestField[tuple[str, ...]]):
    """A list of 1 to ``most`` texts, each as ``item`` if that is given; the value has each
    once, in order."""

    most: int
    item: TextField | None = None

    def is_empty(self, value: Any) -> bool:
        return value is None

    def parse(self, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(f"{self.name} must be a list of strings")
        if not value:
            raise self.wrong(f"{self.name} is empty")
        if len(value) > self.most:
            raise self.wrong(f"{self.name} has more than {self.most} items")
        for text in value:
            parsing.encode_utf8(text)
            if self.item is not None:
                self.item.read({self.item.name: text})
        return tuple(dict.fromkeys(value))

    def describe(self) -> Schema:
        items = {"type": "string"} if self.item is None else self.item.schema
        return {"type": "array", "items": items, "minItems": 1, "maxItems": self.most}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectField(RequestField["Values"]):
    """A JSON object with fields of its own; ``title`` names its schema."""

    inside: tuple[RequestField[Any], ...]
    title: str
    carries: BodyKind = BodyKind.PICTURES

    def parse(self, value: Any) -> Values:
        if not isinstance(value, dict):
            raise self.wrong(f"{self.name} must be a JSON object")
        return read_fields(self.inside, value)

    def describe(self) -> Schema:
        return object_schema(self.title, self.inside)


def names_of(fields: Iterable[RequestField[Any]]) -> Callable[[str], bool]:
    """Whether one of ``fields`` reads a parameter of a name."""
    rows = tuple(fields)
    return lambda name: any(row.reads(name) for row in rows)


class Values:
    """The values of an operation's fields, each under its field."""

    def __init__(self, values: Mapping[str, Any], given: Collection[str]) -> None:
        self._values = values
        self._given = given

    def __getitem__(self, row: RequestField[T]) -> T:
        value: T = self._values[row.name]
        return value

    def given(self, row: RequestField[T]) -> T | None:
        """The value; None when the client did not send the field at all."""
        return self[row] if row.name in self._given else None


def read_fields(fields: Iterable[RequestField[Any]], raw: Raw) -> Values:
    """The values of ``fields``, checked in their order; other names are ignored. Raises
    the errors of the fields."""
    values = {row.name: row.read(raw) for row in fields}
    return Values(values, {name for name, value in raw.items() if value is not None})


def object_schema(title: str, fields: Iterable[RequestField[Any]]) -> Schema:
    """The schema of the object, or the form, that holds ``fields``."""
    schema: Schema = {"title": title, "type": "object", "properties": {}}
    for row in fields:
        for keyword, value in row.object_members.items():
            if isinstance(value, dict):
                schema[keyword] = {**schema.get(keyword, {}), **value}
            elif isinstance(value, list):
                schema[keyword] = [*schema.get(keyword, []), *value]
            else:
                schema[keyword] = value
    return schema
