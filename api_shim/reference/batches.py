"""What the reference says of ``/batches``."""

from __future__ import annotations

from typing import Any

from api_shim.batches.requests import MAX_PAGE_SIZE
from api_shim.reference.answers import JSON, PROBLEM, later, respond
from api_shim.reference.model import Field, Schema, answer_of, between, object_of, optional, short
from pipeline.batches.model import BatchState, ItemState
from pipeline.sources.import_bucket import MAX_KEY, MAX_LIST_ITEMS
from pipeline.sources.names import MAX_NAME
from pipeline.sources.rows import MAX_CHARACTERS, MAX_TEXT

TITLE = "Batches"

_STATES = [state.value for state in BatchState]
_OUTCOMES = [state.value for state in ItemState]
_COLLECTION = short(MAX_CHARACTERS["collection"])


def _or_null(name: str, kind: str, about: str = "") -> Field:
    return Field(name, "string", about, limits={"type": [kind, "null"]})


_LISTED = (
    Field("key", about="Of an object below the application's folder.", limits=short(MAX_KEY, 1)),
    optional("name", about="Who it shows; else the key says it.", limits=short(MAX_NAME)),
    optional("collection", about="A group's id.", limits=_COLLECTION),
    optional("external_id", about="Your own key.", limits=short(MAX_NAME)),
    optional("description", limits=short(MAX_TEXT)),
)
_TAKES = (
    optional(
        "items", "objects", "The pictures, one by one; or a prefix.", inside=_LISTED,
        limits={"minItems": 1, "maxItems": MAX_LIST_ITEMS},
    ),
    optional("prefix", about="All objects below it; empty: the whole folder."),
    optional("collection", about="The group of items that name none.", limits=_COLLECTION),
    optional(
        "layout", about="Whose picture it is, by its key.",
        limits={"enum": ["auto", "flat", "person"]},
    ),
    optional("faces", about="Of each picture.", limits={"enum": ["largest", "one", "all"]}),
    optional("gate", "boolean", "Refuse faces of low quality."),
    optional("refuse_doubles", "boolean", "Refuse who is there under another name."),
)
_COUNTS = tuple(
    Field(name, "integer")
    for name in ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled")
)
BATCH_FIELDS = (
    Field("batch_id"), Field("href"), Field("status", limits={"enum": _STATES}),
    _or_null("prefix", "string"), *_COUNTS,
    Field("exhausted", "boolean", "The source is read to its end."),
    _or_null("total", "integer", "Items in the source, once that is known."),
    _or_null("position", "number", "How much of the source is read, 0 to 1."),
    _or_null("findings", "object", "The search for doubles."),
    _or_null("error", "object", "Why it failed: `code`, `message`."),
    Field("created_at", "number"), Field("updated_at", "number"),
    _or_null("finished_at", "number", "Unix seconds."),
)
ITEM_FIELDS = (
    Field("number", "integer"), Field("source_name"),
    Field("status", limits={"enum": _OUTCOMES}),
    _or_null("reason", "string"), _or_null("detail", "string"),
    _or_null("original", "integer", "The item with the same bytes."),
    Field("name"), Field("collection"), Field("external_id"), Field("description"),
    Field("size", "integer"), Field("width", "integer"), Field("height", "integer"),
    _or_null("face_id", "integer", "The first face; document a's Fid."),
    Field("faces", "integer"), Field("deleted", "boolean"),
)

REASON_FIELDS = (
    Field("status", limits={"enum": _OUTCOMES}), Field("reason"), Field("items", "integer")
)

_NOW = (*BATCH_FIELDS, _or_null(
    "waits_for", "object", "What keeps it from going on: `code`, `message`, `retry_at`."
))
BATCH = answer_of(_NOW)
SHOWN = answer_of((
    *_NOW, Field("reasons", "objects", "Once it has ended.", inside=REASON_FIELDS)
))
RETRIED = answer_of((Field("retried", "integer"), *_NOW))
BATCHES = answer_of((Field("total", "integer"), Field("batches", "objects", inside=BATCH_FIELDS)))
ITEMS = answer_of((Field("items", "objects", inside=ITEM_FIELDS), _or_null("next", "integer")))

_WHO = respond("Who asks is not known.", PROBLEM)
_NONE = respond("No such batch, or another application's.", PROBLEM)
_WRONG = respond("The request cannot be used.", PROBLEM)
_NOT_NOW = later("Not now.", PROBLEM)
_LARGE = respond("The body is too large.", PROBLEM)
_PLACE: Schema = {"Location": {"required": True, "schema": {"type": "string"}}}
_WAIT: Schema = {"Retry-After": {"required": True, "schema": {"type": "string"}}}


def _path(summary: str, responses: Schema, *parameters: Schema, **more: Any) -> Schema:
    described: Schema = {"tags": [TITLE], "summary": summary, **more}
    if parameters:
        described["parameters"] = list(parameters)
    common = {"401": _WHO, "503": _NOT_NOW}
    return {**described, "security": [{"key": []}], "responses": {**common, **responses}}


def _asked(name: str, kind: Any, about: str, **limits: Any) -> Schema:
    field = optional(name, kind, about, limits=limits)
    return {"name": name, "in": "query", "required": False, "schema": field.schema}


def _body(fields: tuple[Field, ...], *, required: bool) -> Schema:
    return {"required": required, "content": {JSON: {"schema": object_of(fields)}}}


_ID: Schema = {
    "name": "batch_id", "in": "path", "required": True, "schema": {"type": "string"},
}
_LIMIT = _asked("limit", "integer", "At most so many.", **between(1, MAX_PAGE_SIZE))

_RETRY = (
    optional("states", "strings", "`rejected`, `cancelled`; both."),
    optional("reasons", "strings", "Only what has one of these."),
)

PATHS: dict[str, Schema] = {
    "/batches": {
        "get": _path(
            "The application's batches, newest first.",
            {"200": respond("A page.", BATCHES), "400": _WRONG},
            _asked("offset", "integer", "Batches to skip.", **between(0, 2**53 - 1)), _LIMIT,
        ),
        "post": _path(
            "Enrol pictures of the bucket that applications import from.",
            {
                "200": respond(
                    "The batch of this Idempotency-Key.", BATCH, headers={**_PLACE, **_WAIT}
                ),
                "202": respond("A new batch.", BATCH, headers={**_PLACE, **_WAIT}),
                "400": _WRONG, "403": respond("Switched off, or not allowed.", PROBLEM),
                "409": respond("The Idempotency-Key was used for another.", PROBLEM),
                "413": _LARGE, "429": later("Too often.", PROBLEM),
            },
            requestBody=_body(_TAKES, required=True),
        ),
    },
    "/batches/{batch_id}": {
        "get": _path(
            "How far a batch is.", {"200": respond("So far.", SHOWN), "404": _NONE}, _ID
        ),
    },
    "/batches/{batch_id}/items": {
        "get": _path(
            "What became of its items, by number.",
            {"200": respond("A page.", ITEMS), "400": _WRONG, "404": _NONE},
            _ID, _asked("after", "integer", "Past this number.", **between(0, 2**53 - 1)), _LIMIT,
            _asked("state", "string", "Only of this state.", enum=_OUTCOMES),
            _asked("reason", "string", "Only for this reason."),
        ),
    },
    "/batches/{batch_id}/cancel": {
        "post": _path(
            "End a batch; what is enrolled stays.",
            {"200": respond("It has ended.", BATCH), "400": _WRONG, "404": _NONE}, _ID,
        ),
    },
    "/batches/{batch_id}/retry": {
        "post": _path(
            "Try again what was rejected or cancelled.",
            {
                "200": respond("How many.", RETRIED), "400": _WRONG,
                "403": respond("Switched off.", PROBLEM), "404": _NONE,
                "409": respond("An operator reads its source.", PROBLEM),
            },
            _ID, requestBody=_body(_RETRY, required=False),
        ),
    },
}
