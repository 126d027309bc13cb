"""``/batches`` in the OpenAPI document. The schemas are those of the structs that read the
requests and write the replies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from api_shim.batches.replies import BatchList, BatchWithReasons, ItemList, RetriedBatch, ShownBatch
from api_shim.batches.requests import BatchesQuery, BatchRequest, ItemsQuery, RetryRequest
from api_shim.dialects.answers import LOCATION, RETRY_AFTER, refuse, respond
from api_shim.dialects.fields import Schema
from api_shim.reference.shared import (
    PROBLEM,
    json_body,
    operation,
    path_parameter,
    query_parameters,
    refusals,
)

TAG = "batches"

_ANSWERS = (BatchList, BatchWithReasons, ItemList, RetriedBatch, ShownBatch)

_, SCHEMAS = msgspec.json.schema_components(
    (BatchRequest, RetryRequest, BatchesQuery, ItemsQuery, *_ANSWERS),
    ref_template="#/components/schemas/{name}",
)
SCHEMAS["BatchRequest"]["allOf"] = [{"oneOf": [{"required": ["items"]}, {"required": ["prefix"]}]}]


def _schema(kind: type[msgspec.Struct]) -> Schema:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


_BATCH = _schema(ShownBatch)
_NO_BATCH = respond("No such batch, or another application's.", PROBLEM)
_WRONG = refuse(400, PROBLEM)
_ID = path_parameter("batch_id")


def _operation(
    operation_id: str, summary: str, responses: Schema, *parameters: Schema, **more: Any
) -> Schema:
    if parameters:
        more["parameters"] = list(parameters)
    answers = {**refusals((401, 503), PROBLEM), **responses}
    return operation(TAG, operation_id, summary, answers, **more)


def _query(kind: type[msgspec.Struct]) -> Iterator[Schema]:
    return query_parameters(SCHEMAS.pop(kind.__name__))


def _body(kind: type[msgspec.Struct], *, required: bool) -> Schema:
    return json_body(_schema(kind), required=required)


_BEGUN = {**LOCATION, **RETRY_AFTER}

PATHS: dict[str, Schema] = {
    "/batches": {
        "get": _operation(
            "list_batches", "The application's batches, newest first.",
            {"200": respond("A page.", _schema(BatchList)), "400": _WRONG}, *_query(BatchesQuery),
        ),
        "post": _operation(
            "start_batch", "Enrol pictures of the bucket that applications import from.",
            {
                "200": respond("The batch of this Idempotency-Key.", _BATCH, headers=_BEGUN),
                "202": respond("A new batch.", _BATCH, headers=_BEGUN),
                "400": _WRONG, "403": respond("Switched off, or not allowed.", PROBLEM),
                "409": respond("The Idempotency-Key was used for another.", PROBLEM),
                "413": respond("The body is too large.", PROBLEM),
                "429": refuse(429, PROBLEM),
            },
            {"$ref": "#/components/parameters/IdempotencyKey"},
            requestBody=_body(BatchRequest, required=True),
        ),
    },
    "/batches/{batch_id}": {
        "get": _operation(
            "get_batch", "How far a batch is.",
            {"200": respond("So far.", _schema(BatchWithReasons)), "404": _NO_BATCH}, _ID,
        ),
    },
    "/batches/{batch_id}/items": {
        "get": _operation(
            "list_batch_items", "What became of its items, by number.",
            {"200": respond("A page.", _schema(ItemList)), "400": _WRONG, "404": _NO_BATCH},
            _ID, *_query(ItemsQuery),
        ),
    },
    "/batches/{batch_id}/cancel": {
        "post": _operation(
            "cancel_batch", "End a batch; what is enrolled stays.",
            {"200": respond("It has ended.", _BATCH), "400": _WRONG, "404": _NO_BATCH}, _ID,
        ),
    },
    "/batches/{batch_id}/retry": {
        "post": _operation(
            "retry_batch", "Try again what was rejected or cancelled.",
            {
                "200": respond("How many.", _schema(RetriedBatch)), "400": _WRONG,
                "403": respond("Switched off.", PROBLEM), "404": _NO_BATCH,
                "409": respond("An operator reads its source.", PROBLEM),
            },
            _ID, requestBody=_body(RetryRequest, required=False),
        ),
    },
}
