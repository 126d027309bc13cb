"""Dialect a's answers: a ``msg_code``, and results in its terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from api_shim.dialects.answers import (
    AnswerField,
    Responses,
    answer_schema,
    refuse,
    respond,
    with_values,
)
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.error_messages import retry_headers
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.gallery.records import FaceRecord, ListedFace
from pipeline.jobs.model import Job, JobState
from pipeline.types import Box, JsonObject

SUCCESS = 1
INVALID = 9
LIMITED = 10
INTERNAL = 99

# By the neutral code of an error. 1 to 8 are documented.
CODES: dict[str, int] = {
    errors.BadCredentials.code: 2,
    errors.TenantNotFound.code: 3,
    errors.CredentialExpired.code: 3,
    errors.BadEncoding.code: 4,
    errors.MediaTooLarge.code: 4,
    errors.NotAPicture.code: 4,
    errors.FormatNotAccepted.code: 4,
    errors.PictureCorrupt.code: 4,
    errors.PictureOutOfRange.code: 4,
    errors.NoFace.code: 5,
    errors.ManyFaces.code: 6,
    errors.FaceNotFound.code: 7,
    errors.ClipCorrupt.code: 8,
    errors.ClipOutOfRange.code: 8,
    errors.MissingParameter.code: INVALID,
    errors.InvalidParameter.code: INVALID,
    errors.IdempotencyConflict.code: INVALID,
    errors.LimitReached.code: LIMITED,
    errors.RateLimited.code: LIMITED,
    errors.QuotaExceeded.code: LIMITED,
    errors.Overloaded.code: LIMITED,
    errors.NotPermitted.code: 11,
}


def answer(fields: JsonObject) -> Reply:
    """Success, with ``fields``."""
    return Reply(200, msgspec.json.encode({"msg_code": SUCCESS, **fields}))


def face(face_id: int, name: str) -> Reply:
    """One face."""
    return answer(_face(face_id, name))


def face_record(record: FaceRecord) -> Reply:
    """One face of the gallery."""
    return face(record.id, record.name)


def faces(portions: Iterable[list[ListedFace]], apid: int) -> Reply:
    """Every face of an application. Encodes a portion at a time, so that a long list is
    never in memory as objects."""
    encoded = [
        msgspec.json.encode(
            [{"Fid": item.id, "Fname": item.name, "Apid": apid} for item in portion]
        )[1:-1]
        for portion in portions
    ]
    return Reply(200, b'{"msg_code":1,"faces":[' + b",".join(filter(None, encoded)) + b"]}")


def refusal(error: Exception) -> Reply:
    """The answer of a request that became no job; 503 when it may be repeated."""
    code = error.code if isinstance(error, FaceError) else FaceError.code
    reply = _failure(code)
    away = isinstance(error, errors.Unavailable)
    return Reply(503 if away else 200, reply.body, headers=retry_headers(error))


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return answer(_RESULTS[job.operation](job, job.result))
    return _failure(job.error_code or FaceError.code)


def _failure(name: str) -> Reply:
    return Reply(200, msgspec.json.encode({"msg_code": CODES.get(name, INTERNAL)}))


def _face(face_id: int, name: str) -> dict[str, Any]:
    return {"Fid": face_id, "Fname": name}


def _enrolled(job: Job, result: JsonObject) -> JsonObject:
    enrolled = result["faces"][0]
    return _face(enrolled["id"], enrolled["name"])


def _replaced(job: Job, result: JsonObject) -> JsonObject:
    return _face(result["face"]["id"], result["face"]["name"])


def _located(job: Job, result: JsonObject) -> JsonObject:
    picture = result["pictures"][0]
    boxes = [
        Box(*found["box"]).clipped_to(picture["width"], picture["height"])
        for found in picture["faces"]
    ]
    return {"location": [[top, right, bottom, left] for left, top, right, bottom in boxes]}


def _matched(job: Job, result: JsonObject) -> JsonObject:
    return {"match": result["distance"] < job.params["threshold"]}


def _watched(job: Job, result: JsonObject) -> JsonObject:
    return {"match": bool(result["match"]), "real": result["real"]}


def _similar(job: Job, result: JsonObject) -> JsonObject:
    return {"similarity": result["confidences"]}


_RESULTS = {
    "enrol": _enrolled,
    "replace": _replaced,
    "locate": _located,
    "match": _matched,
    "living": _watched,
    "similarity": _similar,
}


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    code = AnswerField("msg_code", "integer")
    title = schema_name("a", endpoint, "Answer")
    good = with_values(answer_schema(title, (code, *endpoint.gives)), msg_code=SUCCESS)
    codes = {*CODES.values(), INTERNAL}
    failed = with_values(answer_schema("AFailure", (code,)), msg_code=codes)
    return {
        "200": respond("Success, or a failure by its msg_code.", good, failed),
        "503": refuse(503, failed),
    }
