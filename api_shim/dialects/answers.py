"""The members of answers, as rows: OpenAPI describes every member of every answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from api_shim.dialects.fields import Schema

JSON = "application/json"

AnswerKind = Literal[
    "string", "integer", "number", "boolean", "object", "base64", "strings", "numbers",
    "objects", "boxes", "matrix",
]

_BOX = {"type": "array", "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}

_SCHEMAS: dict[AnswerKind, Schema] = {
    "base64": {"type": "string", "contentEncoding": "base64"},
    "strings": {"type": "array", "items": {"type": "string"}},
    "numbers": {"type": "array", "items": {"type": "number"}},
    "objects": {"type": "array", "items": {"type": "object"}},
    "matrix": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
    "boxes": {"type": "array", "items": _BOX},
}

Responses = dict[str, Schema]
"""The responses of an operation, by HTTP status."""


def _header(name: str, about: str) -> Schema:
    return {name: {"description": about, "required": True, "schema": {"type": "string"}}}


REQUEST_ID = _header("X-Request-Id", "The service's name for the request.")
RETRY_AFTER = _header("Retry-After", "Seconds after which to ask again.")
LOCATION = _header("Location", "Where to ask.")


@dataclass(frozen=True, slots=True)
class AnswerField:
    """A member of an answer. ``inside`` are all the members of an object, or of every
    object in a list; ``title`` names that object."""

    name: str
    kind: AnswerKind = "string"
    about: str = ""
    required: bool = True
    inside: tuple[AnswerField, ...] | None = None
    title: str = ""

    @property
    def schema(self) -> Schema:
        known: Schema = _SCHEMAS.get(self.kind, {"type": self.kind})
        if self.inside is not None:
            inner = answer_schema(self.title, self.inside)
            known = {"type": "array", "items": inner} if self.kind == "objects" else inner
        about = {"description": self.about} if self.about else {}
        return {**known, **about}


optional = partial(AnswerField, required=False)
"""A member that not every answer has."""


def answer_schema(title: str, members: Iterable[AnswerField], **values: Any) -> Schema:
    """The JSON object with these members and no other, some of them with an exact value or a
    choice of ``values`` (a set). With a ``title`` it becomes a schema of that name in the
    components of the OpenAPI document."""
    rows = list(members)
    properties = {row.name: row.schema for row in rows}
    for name, value in values.items():
        exact = {"enum": sorted(value)} if isinstance(value, Set) else {"const": value}
        properties[name] = {**properties[name], **exact}
    required = [row.name for row in rows if row.required]
    return {
        **({"title": title} if title else {}),
        "type": "object", "properties": properties, "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def respond(about: str, *shapes: Schema, headers: Mapping[str, Any] | None = None) -> Schema:
    """A response of one of the shapes."""
    schema = shapes[0] if len(shapes) == 1 else {"anyOf": list(shapes)}
    return {
        "description": about,
        "headers": {**REQUEST_ID, **(headers or {})},
        "content": {JSON: {"schema": schema}},
    }


respond_later = partial(respond, headers=RETRY_AFTER)
"""A response to a request that may be sent again after a while."""

_REFUSALS = {
    400: "The request cannot be used.", 401: "The credentials are missing or wrong.",
    403: "Not permitted, or a limit is reached.", 404: "There is no such thing.",
    405: "The path does not take the method.", 409: "Existing data prevents it.",
    413: "The body is too large.",
    429: "A limit is reached.", 500: "The service is at fault.",
    503: "The service is busy or a store is away.",
}


def refuse(status: int, schema: Schema) -> Schema:
    """The response of a refusal with an HTTP status."""
    return (respond_later if status in (429, 503) else respond)(_REFUSALS[status], schema)


def good_schema(responses: Mapping[str, Schema]) -> Schema:
    """The schema of a successful answer; empty when it is not described."""
    content = responses["200"].get("content", {})
    schema: Schema = content.get(JSON, {}).get("schema", {})
    first: Schema = schema.get("anyOf", [schema])[0]
    return first
