"""The parts of the OpenAPI document that the paths beside the documents share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from api_shim.dialects.answers import JSON, AnswerField, answer_schema, refuse
from api_shim.dialects.base import Security
from api_shim.dialects.fields import Schema

PROBLEM = answer_schema("Problem", (AnswerField("code"), AnswerField("message")))

SECURITY_SCHEMES: Schema = {
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "basic": {
        "type": "http", "scheme": "basic",
        "description": "appId and appSecret, or api_id and api_secret.",
    },
}

TENANT_SECURITY: Security = [{"key": []}, {"basic": []}]


def path_parameter(name: str) -> Schema:
    """A parameter in the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def operation(
    tag: str, operation_id: str, summary: str, responses: Schema,
    security: Security = TENANT_SECURITY, **more: Any,
) -> Schema:
    """An operation of a path; ``more`` are its parameters and its body."""
    return {
        "operationId": operation_id, "tags": [tag], "summary": summary, **more,
        "security": security, "responses": dict(sorted(responses.items())),
    }


def query_parameters(schema: Schema) -> Iterator[Schema]:
    """The parameters of a query that a struct with this schema reads."""
    required = schema.get("required", ())
    for name, member in schema["properties"].items():
        choices = [each for each in member.get("anyOf", [member]) if each != {"type": "null"}]
        described = {key: each for key, each in choices[0].items() if each is not None}
        yield {"name": name, "in": "query", "required": name in required, "schema": described}


def json_body(schema: Schema, *, required: bool) -> Schema:
    """A request's body in JSON."""
    return {"required": required, "content": {JSON: {"schema": schema}}}


def refusals(statuses: Iterable[int], schema: Schema) -> Schema:
    """The responses of refusals with these HTTP statuses."""
    return {str(status): refuse(status, schema) for status in statuses}
