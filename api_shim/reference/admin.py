"""``/admin`` in the OpenAPI document. The schemas are those of the structs that operations take
and give."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from api_shim.admin.operation import AdminOperation, Download
from api_shim.admin.registry import OPERATIONS
from api_shim.admin.routes import IN_QUERY, ROOT
from api_shim.dialects.answers import respond
from api_shim.dialects.base import Security
from api_shim.dialects.fields import Schema
from api_shim.reference.shared import (
    PROBLEM,
    json_body,
    operation,
    path_parameter,
    query_parameters,
    refusals,
)

TAG = "admin"

SECURITY_SCHEMES: Schema = {
    "session": {
        "type": "apiKey", "in": "cookie", "name": "faceline_session",
        "description": "A session of the console; changes also carry its token in X-CSRF-Token.",
    },
    "token": {"type": "http", "scheme": "bearer", "description": "A program's token."},
}

_SECURITY: Security = [{"session": []}, {"token": []}]

_SCHEMAS = "#/components/schemas/"

_IN_PATH = re.compile(r"\{(\w+)\}")

_READ = (400, 401, 403, 404, 429, 503)
_CHANGE = (400, 401, 403, 404, 409, 413, 429, 503)

# Of any type; generators of clients know bytes by the first one.
_BYTES: Schema = {"schema": {"type": "string", "format": "binary"}}
_FILE: Schema = {"application/octet-stream": _BYTES, "*/*": _BYTES}


def admin_paths() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """The paths, and the schemas that they refer to."""
    _, schemas = msgspec.json.schema_components(
        _structs(OPERATIONS), ref_template=_SCHEMAS + "{name}"
    )
    paths: dict[str, Schema] = {}
    for each in OPERATIONS:
        described = _described(each, schemas)
        paths.setdefault(ROOT + each.path, {})[each.method.lower()] = described
    named = _references(paths, schemas)
    return paths, {name: _plain(each) for name, each in schemas.items() if name in named}


def _plain(value: Any) -> Any:
    """A schema with pairs of one kind as arrays of two: generators of clients do not know
    ``items: false``."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    found = {name: _plain(each) for name, each in value.items()}
    if found.get("items") is False:
        found["items"] = found.pop("prefixItems")[0]
    return found


def _references(value: Any, schemas: dict[str, Schema]) -> set[str]:
    """The names of the schemas that ``value`` refers to, directly or by way of others: what a path
    or a query spells out is no schema of its own."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            name = str(each.get("$ref", "")).removeprefix(_SCHEMAS)
            if name in schemas and name not in found:
                found.add(name)
                waiting.append(schemas[name])
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each
    return found


def _structs(operations: Iterable[AdminOperation[Any, Any]]) -> list[type]:
    named = {kind: None for each in operations for kind in (each.takes, each.gives)}
    return [kind for kind in named if kind is not Download]


def _described(described: AdminOperation[Any, Any], schemas: dict[str, Schema]) -> Schema:
    names = _IN_PATH.findall(described.path)
    parameters = [path_parameter(name) for name in names]
    own = _without(schemas[described.takes.__name__], names)
    more: dict[str, Any] = {}
    if described.method in IN_QUERY:
        parameters += query_parameters(own)
    elif own["properties"]:
        reference = {"$ref": _SCHEMAS + described.takes.__name__}
        more["requestBody"] = json_body(
            own if names else reference, required=bool(own.get("required"))
        )
    if parameters:
        more["parameters"] = parameters
    statuses = _READ if described.method == "GET" else _CHANGE
    return operation(
        TAG, described.name.replace(".", "_"), described.summary,
        {**refusals(statuses, PROBLEM), "200": _answer(described)}, _SECURITY, **more,
    )


def _without(schema: Schema, names: list[str]) -> Schema:
    """A struct's schema without the members that stand in the path."""
    kept = {name: each for name, each in schema["properties"].items() if name not in names}
    required = [name for name in schema.get("required", ()) if name not in names]
    return {
        **{key: each for key, each in schema.items() if key not in ("title", "required")},
        "properties": kept, **({"required": required} if required else {}),
    }


def _answer(described: AdminOperation[Any, Any]) -> Schema:
    if described.gives is Download:
        return {**respond("The file.", {}), "content": _FILE}
    answer = {"$ref": _SCHEMAS + described.gives.__name__}
    return respond("Done.", answer)


