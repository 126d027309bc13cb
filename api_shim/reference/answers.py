"""What comes back, by HTTP status: exactly these members, and these codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from api_shim.dialects import a_envelope, b_envelope, c_envelope, d_envelope, e_envelope
from api_shim.dialects.c_reading import IMAGES
from api_shim.reference.model import Field, Operation, Schema, answer_of, optional

JSON = "application/json"

_HEADERS: Schema = {"X-Request-Id": {"required": True, "schema": {"type": "string"}}}
_WAIT: Schema = {"Retry-After": {"required": True, "schema": {"type": "string"}}}
_PLACE: Schema = {"Location": {"required": True, "schema": {"type": "string"}}}

JOB = answer_of((Field("job_id"), Field("status"), Field("href")))
PROGRESS = answer_of(
    (Field("job_id"), Field("status"), Field("href"), Field("stage"), Field("position", "integer"))
)
PROBLEM = answer_of((Field("code"), Field("message")))
ENDED = answer_of(
    (Field("code"), Field("message"), Field("job_id"), Field("status"), Field("href"))
)

Answers = dict[str, Schema]


def respond(about: str, *shapes: Schema, headers: Mapping[str, Any] | None = None) -> Schema:
    """A response of one of the shapes."""
    schema = shapes[0] if len(shapes) == 1 else {"anyOf": list(shapes)}
    return {
        "description": about,
        "headers": {**_HEADERS, **(headers or {})},
        "content": {JSON: {"schema": schema}},
    }


def later(about: str, *shapes: Schema) -> Schema:
    """A response to what may be sent again in a while."""
    return respond(about, *shapes, headers=_WAIT)


def answers(letter: str, known: Operation) -> Answers:
    """The responses of an operation of a document, by status."""
    return {
        **_WAYS[letter](known),
        "202": respond(
            "A job, to be asked for at Location.", JOB, headers={**_PLACE, **_WAIT}
        ),
    }


def good_answer(responses: Mapping[str, Schema]) -> Schema:
    """The shape of an answer when all went well; empty when it is not said."""
    content = responses["200"].get("content", {})
    schema: Schema = content.get(JSON, {}).get("schema", {})
    first: Schema = schema.get("anyOf", [schema])[0]
    return first


def _with(schema: Schema, **members: Any) -> Schema:
    """``schema`` with exact values, or one of them, for some members."""
    limited = {
        name: {"enum": sorted(value)} if isinstance(value, (set, frozenset)) else {"const": value}
        for name, value in members.items()
    }
    properties = {
        name: {**member, **limited.get(name, {})} for name, member in schema["properties"].items()
    }
    return {**schema, "properties": properties}


def _way_a(known: Operation) -> Answers:
    code = Field("msg_code", "integer")
    good = _with(answer_of((code, *known.gives)), msg_code=a_envelope.SUCCESS)
    codes = {*a_envelope.CODES.values(), a_envelope.INTERNAL}
    bad = _with(answer_of((code,)), msg_code=codes)
    return {"200": respond("Done, or why not.", good, bad), "503": later("Not now.", bad)}


def _way_b(known: Operation) -> Answers:
    said = (Field("code", "integer"), Field("msg"))
    good = answer_of((*said, Field("data", "object", inside=known.gives)))
    codes: dict[int, set[int]] = {500: {b_envelope.INTERNAL.code}}
    for answer in b_envelope.ANSWERS.values():
        codes.setdefault(answer.status, set()).add(answer.code)
    # Whatever is away: the service is not at fault, and says when to come back.
    codes.setdefault(503, set()).add(b_envelope.INTERNAL.code)
    empty = answer_of((*said, Field("data", "object", inside=())))
    bad = {status: _with(empty, code=known) for status, known in codes.items()}
    return {
        "200": respond("Done.", _with(good, code=0)),
        **{str(status): _refusal(status, schema) for status, schema in bad.items()},
    }


def _way_c(known: Operation) -> Answers:
    said = (Field("request_id"), Field("status"))
    good = answer_of((*said, *known.gives))
    failed = answer_of((*said, optional("image"), optional("reason")))
    statuses: dict[int, set[str]] = {}
    for status in c_envelope.Status:
        statuses.setdefault(status.http, set()).add(status.value)
    statuses[503] = {c_envelope.Status.INTERNAL_ERROR.value}
    images = frozenset(IMAGES)
    return {
        "200": respond("Done.", _with(good, status="OK")),
        **{
            str(http): _refusal(http, _with(failed, status=values, image=images))
            for http, values in statuses.items()
            if http not in (200, 404)  # that is for other paths
        },
    }


def _way_d(known: Operation) -> Answers:
    status = Field("status")
    good = _with(answer_of((status, *known.gives)), status="OK")
    words = answer_of((status, Field("message")))
    every = {each.value for each in d_envelope.Status} - {"OK"}
    bad = {
        401: d_envelope.Status.INVALID_REQUEST, 403: d_envelope.Status.INVALID_REQUEST,
        429: d_envelope.Status.FAIL, 503: d_envelope.Status.FAIL,
    }
    return {
        "200": respond("Done, or why not.", good, _with(words, status=every)),
        **{str(http): _refusal(http, _with(words, status=each)) for http, each in bad.items()},
    }


def _way_e(known: Operation) -> Answers:
    def sealed(code: Any, *inside: Field) -> Schema:
        data = Field("data", "object", inside=(*inside, Field("msg"), Field("requestId")))
        return _with(
            answer_of((
                Field("appId"), Field("code", "integer"), data, Field("encType"),
                Field("signType"), Field("success", "boolean"), Field("timestamp", "integer"),
            )),
            code=code, success=code == e_envelope.SUCCESS,
        )

    bad = sealed({*e_envelope.CODES.values(), e_envelope.INTERNAL})
    good = sealed(e_envelope.SUCCESS, *known.gives)
    return {"200": respond("Done, or why not.", good, bad), "503": later("Not now.", bad)}


_REASONS = {
    400: "The document's own error.", 401: "Who asks is not known.",
    403: "Not allowed, or no more.", 429: "Too often, or too much.",
    500: "The service is at fault.", 503: "Not now.",
}


def _refusal(status: int, schema: Schema) -> Schema:
    return (later if status in (429, 503) else respond)(_REASONS[status], schema)


_WAYS: dict[str, Callable[[Operation], Answers]] = {
    "a": _way_a, "b": _way_b, "c": _way_c, "d": _way_d, "e": _way_e,
}

