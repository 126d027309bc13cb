"""Dialect e's answers: the envelope, the codes, and results in its terms."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec

from api_shim.dialects.answers import AnswerField, Responses, answer_schema, refuse, respond
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.e import options
from api_shim.dialects.error_messages import Failure, by_neutral_code, refused
from api_shim.dialects.fields import Schema
from api_shim.requests import Reply
from pipeline import errors
from pipeline.jobs.model import Job, JobState
from pipeline.types import Box, JsonObject

SUCCESS = 0
INTERNAL = 9999

# 9800 to 9802, 9001, 9002 and 9901 are documented.
CODES = by_neutral_code({
    9800: [errors.BadSignature, errors.CredentialExpired],
    9801: [errors.InvalidParameter, errors.ReplayedRequest, errors.IdempotencyConflict],
    9802: [errors.StaleRequest],
    9805: [errors.TenantNotFound],
    9001: [errors.MissingParameter],
    9002: [errors.MediaTooLarge],
    9901: [errors.BadEncoding],
    9902: [
        errors.NotAPicture, errors.FormatNotAccepted, errors.PictureCorrupt,
        errors.PictureOutOfRange,
    ],
    9903: [errors.NoFace],
    9904: [errors.LimitReached, errors.RateLimited, errors.QuotaExceeded, errors.Overloaded],
    9905: [errors.NotPermitted],
})

# d < 0.6 is "the same person": 0.6 is the distance at a false-match rate of 1e-3.
MATCH_DISTANCE = 0.6

# The vendor's server: a match is a (1-cos)/2 below this.
VENDOR_MATCH_SCORE = 0.365


def answer(app_id: str, code: int, data: JsonObject, request_id: str, at: float) -> Reply:
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
    return Reply(200, msgspec.json.encode(envelope))


def refusal(app_id: str, error: Exception, request_id: str, at: float) -> Reply:
    """The envelope of a request that became no job."""
    return refused(_failure(app_id, Failure.of(error), request_id, at), error)


def outcome(job: Job) -> Reply:
    """The envelope of a job that has ended."""
    at = job.finished_at or job.created_at
    app_id = str(job.params.get("app_id", ""))
    if job.state is JobState.DONE and job.result is not None:
        data = {**_RESULTS[job.operation](job, job.result), "msg": "success"}
        return answer(app_id, SUCCESS, data, job.request_id, at)
    failure = Failure.of_job(job)
    no_match = job.params.get("no_face") == options.NO_MATCH
    if no_match and failure.code == errors.NoFace.code:
        data = {"is_match": False, "score": 0.0, "msg": "success"}
        return answer(app_id, SUCCESS, data, job.request_id, at)
    return _failure(app_id, failure, job.request_id, at)


def _failure(app_id: str, failure: Failure, request_id: str, at: float) -> Reply:
    code = CODES.get(failure.code, INTERNAL)
    message = failure.internal_message if code == INTERNAL else failure.named_message
    return answer(app_id, code, {"msg": message}, request_id, at)


def _located(job: Job, result: JsonObject) -> JsonObject:
    picture = result["pictures"][0]
    boxes = [
        Box(*face["box"]).clipped_to(picture["width"], picture["height"])
        for face in picture["faces"][: job.params["max_face_num"]]
    ]
    if job.params.get("locations") == options.LEFT_TOP:
        rows = [[left, top, right, bottom] for left, top, right, bottom in boxes]
    else:
        rows = [[top, right, bottom, left] for left, top, right, bottom in boxes]
    return {"face_num": len(rows), "locations": rows}


def _verified(job: Job, result: JsonObject) -> JsonObject:
    if job.params.get("score") == options.COSINE:
        score = (1 - result["cosine"]) / 2
        return {"is_match": score < VENDOR_MATCH_SCORE, "score": score}
    return {"is_match": result["distance"] < MATCH_DISTANCE, "score": result["distance"]}


_RESULTS: dict[str, Callable[[Job, JsonObject], JsonObject]] = {
    "locate": _located,
    "verify": _verified,
    "features": lambda _, result: {"features": result["embedding"]},
}


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
    return answer_schema(f"{name}Answer", members, code=code, success=code == SUCCESS)
