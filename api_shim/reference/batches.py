"""What the OpenAPI document says of ``/batches``. The schemas of requests are those of the
structs that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from api_shim.batches.requests import BatchesQuery, BatchRequest, ItemsQuery, RetryRequest
from api_shim.dialects.answers import (
    JSON,
    LOCATION,
    RETRY_AFTER,
    AnswerField,
    answer_schema,
    respond,
    respond_later,
)
from api_shim.dialects.fields import Schema
from api_shim.reference.shared import PROBLEM, TENANT_SECURITY, path_parameter
from pipeline.batches.model import BatchState, ItemState

TAG = "batches"

_STATES = [state.value for state in BatchState]
_OUTCOMES = [state.value for state in ItemState]

_READ, SCHEMAS = msgspec.json.schema_components(
    (BatchRequest, RetryRequest, BatchesQuery, ItemsQuery),
    ref_template="#/components/schemas/{name}",
)
SCHEMAS["BatchRequest"]["allOf"] = [
    {"oneOf": [{"required": ["items"]}, {"required": ["prefix"]}]}
]


def _or_null(name: str, kind: str, about: str = "") -> AnswerField:
    return AnswerField(name, "string", about, limits={"type": [kind, "null"]})


_COUNTS = tuple(
    AnswerField(name, "integer")
    for name in ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled")
)
BATCH_FIELDS = (
    AnswerField("batch_id"), AnswerField("href"),
    AnswerField("status", limits={"enum": _STATES}),
    _or_null("prefix", "string"), *_COUNTS,
    AnswerField("exhausted", "boolean", "The source is read to its end."),
    _or_null("total", "integer", "Items in the source, once that is known."),
    _or_null("position", "number", "How much of the source is read, 0 to 1."),
    _or_null("findings", "object", "The search for duplicates."),
    _or_null("error", "object", "Why it failed: `code`, `message`."),
    AnswerField("created_at", "number"), AnswerField("updated_at", "number"),
    _or_null("finished_at", "number", "Unix seconds."),
)
ITEM_FIELDS = (
    AnswerField("number", "integer"), AnswerField("source_name"),
    AnswerField("status", limits={"enum": _OUTCOMES}),
    _or_null("reason", "string"), _or_null("detail", "string"),
    _or_null("original", "integer", "The item with the same bytes."),
    AnswerField("name"), AnswerField("collection"), AnswerField("external_id"),
    AnswerField("description"), AnswerField("size", "integer"),
    AnswerField("width", "integer"), AnswerField("height", "integer"),
    _or_null("face_id", "integer", "The first face; document a's Fid."),
    AnswerField("faces", "integer"), AnswerField("deleted", "boolean"),
)
REASON_FIELDS = (
    AnswerField("status", limits={"enum": _OUTCOMES}), AnswerField("reason"),
    AnswerField("items", "integer"),
)

_NOW = (*BATCH_FIELDS, _or_null(
    "waits_for", "object", "What it waits for: `code`, `message`, `retry_at`."
))
BATCH = answer_schema("Batch", _NOW)
SHOWN = answer_schema("BatchWithReasons", (
    *_NOW,
    AnswerField(
        "reasons", "objects", "Once it has ended.", inside=REASON_FIELDS, title="BatchReason"
    ),
))
RETRIED = answer_schema("RetriedBatch", (AnswerField("retried", "integer"), *_NOW))
BATCHES = answer_schema("BatchPage", (
    AnswerField("total", "integer"),
    AnswerField("batches", "objects", inside=BATCH_FIELDS, title="ListedBatch"),
))
ITEMS = answer_schema("BatchItemPage", (
    AnswerField("items", "objects", inside=ITEM_FIELDS, title="BatchItem"),
    _or_null("next", "integer"),
))

_NO_BATCH = respond("No such batch, or another application's.", PROBLEM)
_WRONG = respond("The request cannot be used.", PROBLEM)
_COMMON = {
    "401": respond("The credentials are missing or wrong.", PROBLEM),
    "503": respond_later("The service is busy or a store is away.", PROBLEM),
}
_ID = path_parameter("batch_id")


def _path(
    operation_id: str, summary: str, responses: Schema, *parameters: Schema, **more: Any
) -> Schema:
    described: Schema = {
        "operationId": operation_id, "tags": [TAG], "summary": summary, **more
    }
    if parameters:
        described["parameters"] = list(parameters)
    answers = dict(sorted({**_COMMON, **responses}.items()))
    return {**described, "security": TENANT_SECURITY, "responses": answers}


def _query(kind: type[msgspec.Struct]) -> Iterator[Schema]:
    """The parameters of a query that ``file_kind`` reads."""
    for name, schema in SCHEMAS.pop(kind.__name__)["properties"].items():
        choices = [each for each in schema.get("anyOf", [schema]) if each != {"type": "null"}]
        described = {key: each for key, each in choices[0].items() if each is not None}
        yield {"name": name, "in": "query", "required": False, "schema": described}


def _body(kind: type[msgspec.Struct], *, required: bool) -> Schema:
    schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"required": required, "content": {JSON: {"schema": schema}}}


_BEGUN = {**LOCATION, **RETRY_AFTER}

PATHS: dict[str, Schema] = {
    "/batches": {
        "get": _path(
            "list_batches", "The application's batches, newest first.",
            {"200": respond("A page.", BATCHES), "400": _WRONG}, *_query(BatchesQuery),
        ),
        "post": _path(
            "start_batch", "Enrol pictures of the bucket that applications import from.",
            {
                "200": respond("The batch of this Idempotency-Key.", BATCH, headers=_BEGUN),
                "202": respond("A new batch.", BATCH, headers=_BEGUN),
                "400": _WRONG, "403": respond("Switched off, or not allowed.", PROBLEM),
                "409": respond("The Idempotency-Key was used for another.", PROBLEM),
                "413": respond("The body is too large.", PROBLEM),
                "429": respond_later("A limit is reached.", PROBLEM),
            },
            {"$ref": "#/components/parameters/IdempotencyKey"},
            requestBody=_body(BatchRequest, required=True),
        ),
    },
    "/batches/{batch_id}": {
        "get": _path(
            "get_batch", "How far a batch is.",
            {"200": respond("So far.", SHOWN), "404": _NO_BATCH}, _ID,
        ),
    },
    "/batches/{batch_id}/items": {
        "get": _path(
            "list_batch_items", "What became of its items, by number.",
            {"200": respond("A page.", ITEMS), "400": _WRONG, "404": _NO_BATCH},
            _ID, *_query(ItemsQuery),
        ),
    },
    "/batches/{batch_id}/cancel": {
        "post": _path(
            "cancel_batch", "End a batch; what is enrolled stays.",
            {"200": respond("It has ended.", BATCH), "400": _WRONG, "404": _NO_BATCH}, _ID,
        ),
    },
    "/batches/{batch_id}/retry": {
        "post": _path(
            "retry_batch", "Try again what was rejected or cancelled.",
            {
                "200": respond("How many.", RETRIED), "400": _WRONG,
                "403": respond("Switched off.", PROBLEM), "404": _NO_BATCH,
                "409": respond("An operator reads its source.", PROBLEM),
            },
            _ID, requestBody=_body(RetryRequest, required=False),
        ),
    },
}
