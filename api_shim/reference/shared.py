"""The parts of the OpenAPI document that the paths beside the documents share."""

from __future__ import annotations

from typing import Any

from api_shim.dialects.answers import AnswerField, answer_schema
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
