"""The OpenAPI document (3.1) of what a service answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

from api_shim.dialects.base import Endpoint
from api_shim.reference import batches, groups, small
from api_shim.reference.answers import ENDED, JOB, JSON, PROBLEM, PROGRESS, answers, later, respond
from api_shim.reference.model import Field, Operation, Schema, answer_of, object_of

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
MULTIPART = "multipart/form-data"

_IN_PATH = re.compile(r"\{(\w+)\}")


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
        "servers": [{"url": "/"}],
        "tags": [
            *({"name": TITLES[dialect.name]} for dialect in served), {"name": batches.TITLE},
        ],
        "paths": {**paths, **batches.PATHS, **_common(_answered(paths))},
        "components": {"securitySchemes": {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }},
    }


def _answered(paths: dict[str, Schema]) -> set[str]:
    """Every status that an operation of a document can answer with."""
    return {
        status
        for methods in paths.values()
        for operation in methods.values()
        for status in operation["responses"]
    }


def plain_path(endpoint: Endpoint) -> str:
    """Its path without what a router is told of the names in it."""
    return endpoint.path.replace(":path", "")


def _operation(letter: str, method: str, path: str, known: Operation) -> Schema:
    in_path = [_parameter(Field(name), "path") for name in _IN_PATH.findall(path)]
    described: Schema = {
        "tags": [TITLES[letter]],
        "summary": known.about,
        **_TAKES[letter](method, known),
        "responses": answers(letter, known),
    }
    if in_path:
        described["parameters"] = [*in_path, *described.get("parameters", ())]
    # Documents a, c and e carry credentials among the parameters.
    described["security"] = [{"key": []}] if letter in "bd" else []
    return described


def _parameter(field: Field, place: str) -> Schema:
    return {
        "name": field.name, "in": place, "required": field.required, "schema": field.schema
    }


def _body(fields: tuple[Field, ...], *media_types: str) -> Schema:
    content = {media_type: {"schema": object_of(fields)} for media_type in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _takes_a(method: str, known: Operation) -> Schema:
    fields = (Field("Apid", "integer"), Field("Kvalue"), *known.takes)
    # A form is taken with GET and DELETE as well, but OpenAPI has no words for that.
    if method in ("GET", "DELETE"):
        return {"parameters": [_parameter(field, "query") for field in fields]}
    return _body(fields, FORM, JSON)


def _takes_b(method: str, known: Operation) -> Schema:
    if known.takes and method == "GET":
        return {"parameters": [_parameter(field, "query") for field in known.takes]}
    return _body(known.takes, JSON) if known.takes else {}


def _takes_c(method: str, known: Operation) -> Schema:
    return _body((Field("api_id"), Field("api_secret"), *known.takes), MULTIPART, FORM, JSON)


def _takes_d(method: str, known: Operation) -> Schema:
    return _body(known.takes, FORM)


def _takes_e(method: str, known: Operation) -> Schema:
    request = _body(_SIGNED, JSON)
    request["requestBody"]["content"][JSON]["schema"]["properties"]["data"] = object_of(known.takes)
    return request


_SIGNED = (
    Field("appId"), Field("version"), Field("signType", limits={"enum": ["SHA256", "SM2"]}),
    Field("signData"), Field("encType", limits={"const": "plain"}),
    Field("timestamp", "integer", "Unix seconds."), Field("data", "object"),
)

_TAKES: dict[str, Callable[[str, Operation], Schema]] = {
    "a": _takes_a, "b": _takes_b, "c": _takes_c, "d": _takes_d, "e": _takes_e,
}

_JOB_ID = [_parameter(Field("job_id"), "path")]

_NO_JOB = respond("No such job, or another application's.", PROBLEM)
_NOT_NOW = later("Not now.", PROBLEM)
_PARTS = tuple(Field(name) for name in ("status", "database", "broker", "media"))
_HEALTH = answer_of((*_PARTS, Field("pack", "object"), Field("waiting", "object")))
_ANY: Schema = {"type": "object"}


def _common(answered: Collection[str]) -> dict[str, Schema]:
    """The paths beside the documents'; ``answered`` are the statuses that a job's answer
    can have."""
    polled = {
        status: respond("The answer that was waited for.", _ANY) for status in sorted(answered)
    }
    return {
        "/jobs/{job_id}": {
            "get": {
                "summary": "A job: 202 while it waits or runs, then its answer.",
                "parameters": [
                    *_JOB_ID,
                    _parameter(Field("wait", "number", "Seconds.", required=False), "query"),
                ],
                "security": [{"key": []}],
                "responses": {
                    **polled, "202": respond("Not ended.", PROGRESS), "400": respond(
                        "A wrong parameter, or the answer that was waited for.", _ANY
                    ), "404": _NO_JOB, "503": _NOT_NOW,
                },
            },
            "delete": {
                "summary": "Cancel a job.",
                "parameters": _JOB_ID,
                "security": [{"key": []}],
                "responses": {
                    "200": respond("Cancelled.", JOB), "404": _NO_JOB,
                    "409": respond("It has ended.", ENDED), "503": _NOT_NOW,
                },
            },
        },
        "/jobs/{job_id}/evidence": {
            "get": {
                "summary": "What the verdict on a clip rests on.",
                "parameters": _JOB_ID,
                "security": [{"key": []}],
                "responses": {
                    "200": respond("The measurements.", _ANY),
                    "202": respond("Not ended.", PROGRESS), "404": _NO_JOB, "503": _NOT_NOW,
                },
            },
        },
        "/health": {
            "get": {
                "summary": "Whether requests can be taken.",
                "security": [],
                "responses": {
                    "200": respond("They can.", _HEALTH),
                    "503": respond("They cannot.", _HEALTH),
                },
            },
        },
    }
