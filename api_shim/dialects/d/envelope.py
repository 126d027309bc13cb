"""Dialect d's answers: a ``status``, and a ``message`` that is a text or a list."""

from __future__ import annotations

import math
from enum import StrEnum
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
from api_shim.dialects.d.fields import LEAST_CONFIDENCE
from api_shim.dialects.error_messages import retry_headers
from api_shim.dialects.fields import Schema
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject


class SearchStatus(StrEnum):
    """Every status of the document."""

    OK = "OK"
    NO_SIMILAR_FACE = "NO_SIMILAR_FACE"
    FACE_DETECT_FAILED = "FACE_DETECT_FAILED"
    IMAGE_INVALID_SIZE = "IMAGE_INVALID_SIZE"
    IMAGE_INVALID_FORMAT = "IMAGE_INVALID_FORMAT"
    PERSON_ID_NOT_EXIST = "PERSON_ID_NOT_EXIST"
    INVALID_REQUEST = "INVALID_REQUEST"
    FAIL = "FAIL"


# The document's own words.
MESSAGES = {
    SearchStatus.OK: "successfully deleted face",
    SearchStatus.NO_SIMILAR_FACE: "no similar face in db",
    SearchStatus.FACE_DETECT_FAILED: "check input image and retry",
    SearchStatus.IMAGE_INVALID_SIZE: "image larger than 2M",
    SearchStatus.IMAGE_INVALID_FORMAT: "image format not support",
    SearchStatus.PERSON_ID_NOT_EXIST: "check input person id",
    SearchStatus.INVALID_REQUEST: "check request parameters",
    SearchStatus.FAIL: "please try again later",
}

# By the neutral code of an error; all others are FAIL.
STATUSES: dict[str, SearchStatus] = {
    errors.NoFace.code: SearchStatus.FACE_DETECT_FAILED,
    errors.MediaTooLarge.code: SearchStatus.IMAGE_INVALID_SIZE,
    errors.BadEncoding.code: SearchStatus.IMAGE_INVALID_FORMAT,
    errors.NotAPicture.code: SearchStatus.IMAGE_INVALID_FORMAT,
    errors.FormatNotAccepted.code: SearchStatus.IMAGE_INVALID_FORMAT,
    errors.PictureCorrupt.code: SearchStatus.IMAGE_INVALID_FORMAT,
    errors.PictureOutOfRange.code: SearchStatus.IMAGE_INVALID_FORMAT,
    errors.PersonNotFound.code: SearchStatus.PERSON_ID_NOT_EXIST,
    errors.FaceNotFound.code: SearchStatus.PERSON_ID_NOT_EXIST,
    errors.BadCredentials.code: SearchStatus.INVALID_REQUEST,
    errors.CredentialExpired.code: SearchStatus.INVALID_REQUEST,
    errors.NotPermitted.code: SearchStatus.INVALID_REQUEST,
    errors.MissingParameter.code: SearchStatus.INVALID_REQUEST,
    errors.InvalidParameter.code: SearchStatus.INVALID_REQUEST,
    errors.CollectionNotFound.code: SearchStatus.INVALID_REQUEST,
    errors.IdempotencyConflict.code: SearchStatus.INVALID_REQUEST,
}

# Cosines are sums of float32: a score that is 100 but for their rounding is 100.
ROUNDING = 1e-4


def answer(status: SearchStatus, message: Any = None, http: int = 200) -> Reply:
    """``message`` None stands for the document's words."""
    words = MESSAGES[status] if message is None else message
    return Reply(http, msgspec.json.encode({"status": status.value, "message": words}))


def refusal(error: Exception) -> Reply:
    """A request that became no job: 401 without the right key, 403 without permission, 429
    above a limit, 503 when it may be repeated."""
    known = error if isinstance(error, FaceError) else FaceError()
    status = STATUSES.get(known.code, SearchStatus.FAIL)
    # The document has no words for parameters that are wrong or a limit that is used up.
    own = status is SearchStatus.INVALID_REQUEST or isinstance(error, errors.LimitReached)
    reply = answer(status, known.message if own else None)
    return Reply(_http(error), reply.body, headers=retry_headers(error))


def _http(error: Exception) -> int:
    """200 for whatever the document has a status for."""
    match error:
        case errors.BadCredentials() | errors.CredentialExpired():
            return 401
        case errors.NotPermitted():
            return 403
        case errors.LimitReached():
            return 429
        case errors.Unavailable():
            return 503
        case _:
            return 200


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return _RESULTS[job.operation](job.result)
    return answer(STATUSES.get(job.error_code or "", SearchStatus.FAIL))


def _enrolled(result: JsonObject) -> Reply:
    people = [
        {"name": face["name"], "person_id": face["person_id"]} for face in result["faces"]
    ]
    return answer(SearchStatus.OK, people)


def _found(result: JsonObject) -> Reply:
    hits = [
        {
            "confidence": _confidence(hit["confidence"]),
            "name": hit["name"],
            "person_id": hit["person_id"],
        }
        for hit in result["hits"]
    ]
    similar = [hit for hit in hits if hit["confidence"] > LEAST_CONFIDENCE]
    return answer(SearchStatus.OK, similar) if similar else answer(SearchStatus.NO_SIMILAR_FACE)


def _confidence(value: float) -> int:
    return min(math.floor(100 * value + ROUNDING), 100)


_RESULTS = {"enrol": _enrolled, "search": _found}


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    status = AnswerField("status")
    title = schema_name("d", endpoint, "Answer")
    good = with_values(answer_schema(title, (status, *endpoint.gives)), status="OK")
    every = {each.value for each in SearchStatus} - {"OK"}
    refused = {
        401: SearchStatus.INVALID_REQUEST, 403: SearchStatus.INVALID_REQUEST,
        429: SearchStatus.FAIL, 503: SearchStatus.FAIL,
    }
    return {
        "200": respond("Success, or a failure by its status.", good, _failed("DFailure", every)),
        **{
            str(http): refuse(http, _failed(f"DFailure{http}", each.value))
            for http, each in refused.items()
        },
    }


def _failed(title: str, status: str | set[str]) -> Schema:
    words = (AnswerField("status"), AnswerField("message"))
    return with_values(answer_schema(title, words), status=status)
