"""The OpenAPI document (3.1) of what a service answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Protocol

from api_shim.dialects.base import Endpoint
from api_shim.reference import groups, small
from api_shim.reference.model import Field, Operation, Schema, object_of

OPERATIONS: dict[str, dict[str, Operation]] = {
    "a": small.A, "b": groups.B, "c": small.C, "d": small.D, "e": small.E,
}

TITLES = {
    "a": "a: Apid and Kvalue", "b": "b: faces and groups",
    "c": "c: linkface", "d": "d: ekycpro search",
    "e": "e: face2, signed",
}

VERSION = "0.1"  # of what is described here

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
MULTIPART = "multipart/form-data"

_IN_PATH = re.compile(r"\{(\w+)\}")

_JOB = object_of((Field("job_id"), Field("status"), Field("href")))


class Described(Protocol):
    """What is asked of a dialect."""

    @property
    def name(self) -> str: ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...


def describe(dialects: Iterable[Described]) -> Schema:
    """The whole document."""
    served = list(dialects)
    paths: dict[str, Schema] = {}
    for dialect in served:
        for endpoint in dialect.endpoints:
            path = plain_path(endpoint)
            for method in sorted(endpoint.methods):
                known = OPERATIONS[dialect.name][f"{method} {path}"]
                paths.setdefault(path, {})[method.lower()] = _operation(
                    dialect.name, method, path, known
                )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "faceline", "version": VERSION,
            "description": "Codes and rules: docs/api.md.",
        },
        "tags": [{"name": TITLES[dialect.name]} for dialect in served],
        "paths": {**paths, **_COMMON},
        "components": {"securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }},
    }


def plain_path(endpoint: Endpoint) -> str:
    """Its path without what a router is told of the names in it."""
    return endpoint.path.replace(":path", "")


def _operation(letter: str, method: str, path: str, known: Operation) -> Schema:
    request, answer = _WAYS[letter](method, known)
    in_path = [_parameter(Field(name), "path") for name in _IN_PATH.findall(path)]
    described: Schema = {
        "tags": [TITLES[letter]],
        "summary": known.about,
        **request,
        "responses": {
            "200": {"description": "Done.", "content": {JSON: {"schema": answer}}},
            "202": {
                "description": "A job, to be asked for at Location.",
                "content": {JSON: {"schema": _JOB}},
            },
            "default": {"description": "The document's own error; see docs/api.md."},
        },
    }
    if in_path:
        described["parameters"] = [*in_path, *described.get("parameters", ())]
    if letter in "bd":
        described["security"] = [{"key": []}]
    return described


def _parameter(field: Field, place: str) -> Schema:
    return {
        "name": field.name, "in": place, "required": field.required, "schema": field.schema
    }


def _body(fields: tuple[Field, ...], *media_types: str) -> Schema:
    content = {media_type: {"schema": object_of(fields)} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _way_a(method: str, known: Operation) -> tuple[Schema, Schema]:
    fields = (Field("Apid", "integer"), Field("Kvalue"), *known.takes)
    # A form is taken with GET and DELETE as well, but OpenAPI has no words for that.
    if method in ("GET", "DELETE"):
        request: Schema = {"parameters": [_parameter(field, "query") for field in fields]}
    else:
        request = _body(fields, FORM, JSON)
    return request, object_of((Field("msg_code", "integer", "1"), *known.gives))


def _way_b(method: str, known: Operation) -> tuple[Schema, Schema]:
    request: Schema = {}
    if known.takes and method == "GET":
        request = {"parameters": [_parameter(field, "query") for field in known.takes]}
    elif known.takes:
        request = _body(known.takes, JSON)
    answer = object_of((Field("code", "integer", "0"), Field("msg")))
    answer["properties"]["data"] = object_of(known.gives)
    return request, answer


def _way_c(method: str, known: Operation) -> tuple[Schema, Schema]:
    fields = (Field("api_id"), Field("api_secret"), *known.takes)
    answer = object_of((Field("request_id"), Field("status", about="OK"), *known.gives))
    return _body(fields, MULTIPART, FORM, JSON), answer


def _way_d(method: str, known: Operation) -> tuple[Schema, Schema]:
    return _body(known.takes, FORM), object_of((Field("status", about="OK"), *known.gives))


def _way_e(method: str, known: Operation) -> tuple[Schema, Schema]:
    request = _body(_SIGNED, JSON)
    request["requestBody"]["content"][JSON]["schema"]["properties"]["data"] = object_of(known.takes)
    answer = object_of(_SEALED)
    answer["properties"]["data"] = object_of(
        (*known.gives, Field("msg"), Field("requestId"))
    )
    return request, answer


_SIGNED = (
    Field("appId"), Field("version"), Field("signType", about="SHA256 or SM2"),
    Field("signData"), Field("encType", about="plain"),
    Field("timestamp", "integer", "Unix seconds."), Field("data", "object"),
)

_SEALED = (
    Field("appId"), Field("code", "integer", "0"), Field("data", "object"), Field("encType"),
    Field("signType"), Field("success", "boolean"), Field("timestamp", "integer"),
)

_WAYS: dict[str, Callable[[str, Operation], tuple[Schema, Schema]]] = {
    "a": _way_a, "b": _way_b, "c": _way_c, "d": _way_d, "e": _way_e,
}

_JOB_ID = [_parameter(Field("job_id"), "path")]

_COMMON: dict[str, Schema] = {
    "/jobs/{job_id}": {
        "get": {
            "summary": "A job: 202 while it waits or runs, then its answer.",
            "parameters": [
                *_JOB_ID, _parameter(Field("wait", "number", "Seconds.", required=False), "query")
            ],
            "security": [{"key": []}],
            "responses": {
                "200": {"description": "The answer of the operation that made the job."},
                "202": {"description": "Not ended.", "content": {JSON: {"schema": _JOB}}},
                "404": {"description": "No such job, or another application's."},
            },
        },
        "delete": {
            "summary": "Cancel a job.",
            "parameters": _JOB_ID,
            "security": [{"key": []}],
            "responses": {
                "200": {"description": "Cancelled.", "content": {JSON: {"schema": _JOB}}},
                "404": {"description": "No such job, or another application's."},
                "409": {"description": "It has ended."},
            },
        },
    },
    "/health": {
        "get": {
            "summary": "Whether requests can be taken.",
            "responses": {
                "200": {"description": "They can."}, "503": {"description": "They cannot."},
            },
        },
    },
}
