"""Dialect e's answers: the envelope, the codes, and results in its terms."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from api_shim.dialects.error_messages import internal_message, retry_headers
from api_shim.dialects.fields import Schema
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.jobs.model import Job, JobState
from pipeline.types import Box, JsonObject

SUCCESS = 0
INTERNAL = 9999

# By the neutral code of an error. 9800 to 9802, 9001, 9002 and 9901 are documented.
CODES: dict[str, int] = {
    errors.BadSignature.code: 9800,
    errors.CredentialExpired.code: 9800,
    errors.InvalidParameter.code: 9801,
    errors.ReplayedRequest.code: 9801,
    errors.IdempotencyConflict.code: 9801,
    errors.StaleRequest.code: 9802,
    errors.MissingParameter.code: 9001,
    errors.MediaTooLarge.code: 9002,
    errors.BadEncoding.code: 9901,
    errors.NotAPicture.code: 9902,
    errors.FormatNotAccepted.code: 9902,
    errors.PictureCorrupt.code: 9902,
    errors.PictureOutOfRange.code: 9902,
    errors.NoFace.code: 9903,
    errors.LimitReached.code: 9904,
    errors.RateLimited.code: 9904,
    errors.QuotaExceeded.code: 9904,
    errors.Overloaded.code: 9904,
    errors.NotPermitted.code: 9905,
}

# d < 0.6 is "the same person": 0.6 is the distance at a false-match rate of 1e-3.
MATCH_DISTANCE = 0.6

LEFT_TOP = "left_top"


def answer(
    app_id: str, code: int, data: Mapping[str, Any], request_id: str, at: float, status: int = 200
) -> Reply:
    """The envelope around ``data`` (with its ``msg``) and the timestamp ``at`` (epoch seconds)."""
    envelope = {
        "appId": app_id,
        "code": code,
        "data": {**data, "requestId": request_id},
        "encType": "plain",
        "signType": "plain",
        "success": code == SUCCESS,
        "timestamp": math.floor(at),
    }
    return Reply(status, msgspec.json.encode(envelope))


def refusal(app_id: str, error: Exception, request_id: str, at: float) -> Reply:
    """The envelope of a request that became no job: 503 when it may be repeated."""
    code, message = explain(error)
    away = isinstance(error, errors.Unavailable)
    reply = answer(app_id, code, {"msg": message}, request_id, at, 503 if away else 200)
    return Reply(reply.status, reply.body, headers=retry_headers(error))


def explain(error: Exception) -> tuple[int, str]:
    """(code, msg) of an error at submit."""
    if isinstance(error, FaceError):
        return _code_and_message(error.code, error.message, error.picture)
    return _code_and_message(FaceError.code, "", None)


def _code_and_message(name: str, message: str, picture: int | None) -> tuple[int, str]:
    if name in CODES:
        return CODES[name], message if picture is None else f"image{picture + 1}: {message}"
    return INTERNAL, internal_message(name, message)


def outcome(job: Job) -> Reply:
    """The envelope of a job that has ended."""
    at = job.finished_at or job.created_at
    app_id = str(job.params.get("app_id", ""))
    if job.state is JobState.DONE and job.result is not None:
        data = {**_RESULTS[job.operation](job, job.result), "msg": "success"}
        return answer(app_id, SUCCESS, data, job.request_id, at)
    error = job.error or {}
    several = len(job.media) > 1
    code, message = _code_and_message(
        job.error_code or FaceError.code,
        str(error.get("message", "")),
        error.get("picture") if several else None,
    )
    return answer(app_id, code, {"msg": message}, job.request_id, at)


def _located(job: Job, result: JsonObject) -> JsonObject:
    picture = result["pictures"][0]
    boxes = [
        Box(*face["box"]).clipped_to(picture["width"], picture["height"])
        for face in picture["faces"][: job.params["max_face_num"]]
    ]
    if job.params.get("locations") == LEFT_TOP:
        rows = [[left, top, right, bottom] for left, top, right, bottom in boxes]
    else:
        rows = [[top, right, bottom, left] for left, top, right, bottom in boxes]
    return {"face_num": len(rows), "locations": rows}


def _verified(job: Job, result: JsonObject) -> JsonObject:
    distance = result["distance"]
    return {"is_match": distance < MATCH_DISTANCE, "score": distance}


def _features(job: Job, result: JsonObject) -> JsonObject:
    return {"features": result["embedding"]}


_RESULTS = {"locate": _located, "verify": _verified, "features": _features}


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    good = _sealed(schema_name("e", endpoint, ""), SUCCESS, endpoint.gives)
    failed = _sealed("EFailure", {*CODES.values(), INTERNAL}, ())
    return {
        "200": respond("Success, or a failure by its code.", good, failed),
        "503": refuse(503, failed),
    }


def _sealed(name: str, code: int | set[int], gives: tuple[AnswerField, ...]) -> Schema:
    inside = (*gives, AnswerField("msg"), AnswerField("requestId"))
    members = (
        AnswerField("appId"), AnswerField("code", "integer"),
        AnswerField("data", "object", inside=inside, title=f"{name}Data"),
        AnswerField("encType"), AnswerField("signType"), AnswerField("success", "boolean"),
        AnswerField("timestamp", "integer"),
    )
    return with_values(
        answer_schema(f"{name}Answer", members), code=code, success=code == SUCCESS
    )
