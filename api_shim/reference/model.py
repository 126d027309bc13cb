"""What the reference says of an operation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Schema = dict[str, Any]

Kind = Literal[
    "string", "integer", "number", "boolean", "object", "base64", "strings", "numbers",
    "objects", "boxes", "file", "matrix",
]

_BOX = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}

_SCHEMAS: dict[Kind, Schema] = {
    "base64": {"type": "string", "contentEncoding": "base64"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "numbers": {"type": "array", "items": {"type": "number"}},
    "objects": {"type": "array", "items": {"type": "object"}},
    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
    "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    "boxes": {"type": "array", "items": _BOX},
}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a member of an answer. ``inside`` are all the members of an object,
    or of every object in a list, ``picture_limits`` more of its JSON schema (``minimum``, ...)."""

    name: str
    kind: Kind = "string"
    about: str = ""
    required: bool = True
    inside: tuple[Field, ...] | None = None
    limits: Mapping[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        known: Schema = _SCHEMAS.get(self.kind, {"type": self.kind})
        if self.inside is not None:
            inner = answer_of(self.inside)
            known = {"type": "array", "items": inner} if self.kind == "objects" else inner
        about = {"description": self.about} if self.about else {}
        return {**known, **self.limits, **about}


def optional(
    name: str, kind: Kind = "string", about: str = "",
    inside: tuple[Field, ...] | None = None, limits: Mapping[str, Any] | None = None,
) -> Field:
    return Field(name, kind, about, required=False, inside=inside, limits=limits or {})


def between(least: float, most: float) -> dict[str, float]:
    """The limits of a number."""
    return {"minimum": least, "maximum": most}


def short(most: int, least: int = 0) -> dict[str, int]:
    """The limits of a text, in characters."""
    return {"minLength": least, "maxLength": most}


@dataclass(frozen=True, slots=True)
class Operation:
    """``takes`` are the operation's own parameters, ``gives`` what a good answer has of
    its own; what every operation of a document has stands with the document."""

    about: str
    takes: tuple[Field, ...] = ()
    gives: tuple[Field, ...] = ()


def object_of(fields: tuple[Field, ...]) -> Schema:
    """The JSON object, or the form, with these fields."""
    schema: Schema = {
        "type": "object", "properties": {each.name: each.schema for each in fields}
    }
    required = [each.name for each in fields if each.required]
    return {**schema, "required": required} if required else schema


def answer_of(fields: tuple[Field, ...]) -> Schema:
    """The JSON object with these members and no other."""
    return {**object_of(fields), "additionalProperties": False}
