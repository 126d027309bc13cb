"""The OpenAPI document (3.1) of a service, made from the dialects' tables."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from api_shim.dialects import answers
from api_shim.dialects.answers import AnswerField, answer_schema, refuse, respond, respond_later
from api_shim.dialects.base import Dialect, Endpoint, schema_name
from api_shim.dialects.fields import RequestField, Schema, object_schema
from api_shim.multipart import MULTIPART
from api_shim.parsing import FORM
from api_shim.reference import admin, batches, shared
from api_shim.reference.shared import PROBLEM, path_parameter
from pipeline.jobs.store import MAX_KEY_CHARS

VERSION = "0.1"  # of what is described here

JOBS_TAG = "jobs"
SERVICE_TAG = "service"

_IN_PATH = re.compile(r"\{(\w+)\}")

# The name of a media type within a schema's name, where a request has several.
_MEDIA_NAMES = {answers.JSON: "Json", FORM: "Form", MULTIPART: "Multipart"}

_PARAMETERS: Schema = {
    "Prefer": {
        "name": "Prefer", "in": "header", "required": False,
        "description": "`respond-async`: answer 202 at once; `wait=SECONDS`: hold the "
        "response no longer than that.",
        "schema": {"type": "string", "examples": ["respond-async", "wait=5"]},
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key", "in": "header", "required": False,
        "description": "The same key with the same request returns the first job's answer.",
        "schema": {
            "type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[ -~]*$"
        },
    },
}
_JOB_HEADERS = [{"$ref": f"#/components/parameters/{name}"} for name in _PARAMETERS]

_JOB = (AnswerField("job_id"), AnswerField("status"), AnswerField("href"))
JOB = answer_schema("Job", _JOB)
PROGRESS = answer_schema(
    "JobProgress", (*_JOB, AnswerField("stage"), AnswerField("position", "integer"))
)
ENDED = answer_schema("JobEnded", (AnswerField("code"), AnswerField("message"), *_JOB))
_ALIVE = answer_schema("Alive", (AnswerField("status"),))
_PARTS = tuple(AnswerField(name) for name in ("status", "database", "media", "master_key"))
_READY = answer_schema("Ready", _PARTS)
_HEALTH = answer_schema(
    "Health",
    (
        *_PARTS, AnswerField("broker"), AnswerField("pack", "object"),
        AnswerField("waiting", "object"),
        AnswerField("paused_for", "object"),
    ),
)
_ANY: Schema = {"type": "object"}

ACCEPTED = respond(
    "A job; ask for it at Location.", JOB, headers={**answers.LOCATION, **answers.RETRY_AFTER}
)

_NO_JOB = {
    "400": respond("A wrong parameter.", PROBLEM),
    "401": respond("No credentials, in the words of the job's document.", _ANY),
    "404": respond("No such job, or another application's.", PROBLEM),
    "503": refuse(503, PROBLEM),
}
# POST is for clients that cannot send their credentials in a body with GET.
_POLLS = {
    "get": "A job: 202 while it waits or runs, then its answer.",
    "post": "The same, with the document's credentials in the body.",
}
_JOB_ID = path_parameter("job_id")


def describe(dialects: Iterable[Dialect], *, console: bool = True) -> Schema:
    """The whole document; with ``console`` the operators' API, too."""
    served = list(dialects)
    paths: dict[str, Schema] = {}
    for dialect in served:
        for endpoint in dialect.endpoints:
            for method in sorted(endpoint.methods):
                described = _operation(dialect, endpoint, method)
                paths.setdefault(endpoint.plain_path, {})[method.lower()] = described
    operated, operated_schemas = admin.admin_paths() if console else ({}, {})
    everything = {**paths, **batches.PATHS, **_common(_statuses(paths)), **operated}
    components = _Components()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "faceline", "version": VERSION,
            "description": "Face search, comparison and liveness through the documented APIs "
            "a to e. Codes and rules: docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This service."}],
        "tags": [
            *({"name": each.letter, "description": each.title} for each in served),
            {"name": batches.TAG, "description": "Whole sources, enrolled in the background"},
            {"name": JOBS_TAG, "description": "Jobs of every document"},
            {"name": SERVICE_TAG, "description": "The service itself"},
            *([{"name": admin.TAG, "description": "What operators see and change"}]
              if console else ()),
        ],
        "paths": components.extract(everything),
        "components": {
            "schemas": {
                **batches.SCHEMAS, **operated_schemas, **dict(sorted(components.schemas.items())),
            },
            "headers": {**answers.REQUEST_ID, **answers.LOCATION, **answers.RETRY_AFTER},
            "parameters": _PARAMETERS,
            "securitySchemes": {
                **shared.SECURITY_SCHEMES, **(admin.SECURITY_SCHEMES if console else {}),
            },
        },
    }


class _Components:
    """Collects the schemas that have a title, so that each appears once."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}

    def extract(self, value: Any) -> Any:
        """``value`` with references in the place of titled schemas. Raises
        ``ValueError`` when two that differ have one title."""
        if isinstance(value, list):
            return [self.extract(item) for item in value]
        if not isinstance(value, dict):
            return value
        inner = {name: self.extract(each) for name, each in value.items()}
        if "headers" in inner:
            names = inner["headers"]
            inner["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
        if "title" not in value or "properties" not in value:
            return inner
        # A description of the place is not one of the schema.
        about = {name: inner.pop(name) for name in ("description",) if name in inner}
        title = inner.pop("title")
        if self.schemas.setdefault(title, inner) != inner:
            raise ValueError(f"two schemas are called {title}")
        return {"$ref": f"#/components/schemas/{title}", **about}


def _operation(dialect: Dialect, endpoint: Endpoint, method: str) -> Schema:
    shape = dialect.shape(endpoint, method)
    parameters = [
        *map(path_parameter, _IN_PATH.findall(endpoint.plain_path)),
        *(_query_parameter(row) for row in shape.query),
        *(_JOB_HEADERS if endpoint.is_job else []),
    ]
    name = f"{dialect.letter}_{endpoint.action}"
    return shared.operation(
        dialect.letter,
        name if len(endpoint.methods) == 1 else f"{name}_{method.lower()}",
        endpoint.summary,
        {**dialect.responses(endpoint), **({"202": ACCEPTED} if endpoint.is_job else {})},
        dialect.security,
        **({"parameters": parameters} if parameters else {}),
        **_request_body(dialect.letter, endpoint, shape.body),
    )


def _query_parameter(row: RequestField[Any]) -> Schema:
    return {"name": row.name, "in": "query", "required": row.required, "schema": row.schema}


def _request_body(
    letter: str, endpoint: Endpoint, body: Mapping[str, tuple[RequestField[Any], ...]]
) -> Schema:
    if not body:
        return {}
    content = {}
    for media_type, fields in body.items():
        # Generators of clients tell bodies apart by the names of their schemas.
        name = _MEDIA_NAMES.get(media_type, "") if len(body) > 1 else ""
        title = schema_name(letter, endpoint, f"{name}Request")
        content[media_type] = {"schema": object_schema(title, fields)}
    return {"requestBody": {"required": True, "content": content}}


def _statuses(paths: Mapping[str, Schema]) -> list[str]:
    """Every status that an operation of a document can answer with."""
    return sorted({
        status for methods in paths.values() for operation in methods.values()
        for status in operation["responses"]
    })


def operations(document: Schema) -> Iterator[tuple[str, str, Schema]]:
    """(path, method, operation) of every operation of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _common(answered: Collection[str]) -> dict[str, Schema]:
    """The paths beside the documents'; ``answered`` are the statuses that a job's answer
    can have."""
    polled = {status: respond("The answer of the job.", _ANY) for status in answered}
    wait: Schema = {
        "name": "wait", "in": "query", "required": False,
        "schema": {"type": "number", "minimum": 0, "description": "Seconds to wait at most."},
    }
    return {
        "/jobs/{job_id}": {
            method: shared.operation(
                JOBS_TAG, f"{method}_job", about,
                {
                    **polled, **_NO_JOB, "202": respond_later("Not ended.", PROGRESS),
                    "400": respond("A wrong parameter, or the answer of the job.", _ANY),
                },
                parameters=[_JOB_ID, wait],
            )
            for method, about in _POLLS.items()
        } | {
            "delete": shared.operation(
                JOBS_TAG, "cancel_job", "Cancel a job.",
                {
                    **_NO_JOB, "200": respond("Cancelled.", JOB),
                    "409": respond("It has ended.", ENDED),
                },
                parameters=[_JOB_ID],
            ),
        },
        "/jobs/{job_id}/evidence": {
            method: shared.operation(
                JOBS_TAG, f"{method}_job_evidence", "What the verdict on a clip rests on.",
                {
                    **_NO_JOB, "200": respond("The measurements.", _ANY),
                    "202": respond_later("Not ended.", PROGRESS),
                },
                parameters=[_JOB_ID],
            )
            for method in _POLLS
        },
        "/livez": {
            "get": shared.operation(
                SERVICE_TAG, "get_livez", "Whether the process runs.",
                {"200": respond("It does.", _ALIVE)}, security=[],
            ),
        },
        "/readyz": {
            "get": shared.operation(
                SERVICE_TAG, "get_readyz", "Whether a submit would be accepted now.",
                {"200": respond("It would.", _READY), "503": respond("It would not.", _READY)},
                security=[],
            ),
        },
        "/health": {
            "get": shared.operation(
                SERVICE_TAG, "get_health", "Whether requests can be taken.",
                {"200": respond("They can.", _HEALTH), "503": respond("They cannot.", _HEALTH)},
                security=[],
            ),
        },
    }
