"""What the reference says of an operation."""

from __future__ import annotations

from dataclasses import dataclass
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
    """A parameter, or a member of an answer."""

    name: str
    kind: Kind = "string"
    about: str = ""
    required: bool = True

    @property
    def schema(self) -> Schema:
        known: Schema = _SCHEMAS.get(self.kind, {"type": self.kind})
        return {**known, "description": self.about} if self.about else known


def optional(name: str, kind: Kind = "string", about: str = "") -> Field:
    return Field(name, kind, about, required=False)


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
        "type": "object", "properties": {field.name: field.schema for field in fields}
    }
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema
