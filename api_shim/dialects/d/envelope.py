"""Dialect d's answers: a ``status``, and a ``message`` that is a text or a list."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from api_shim.dialects.answers import AnswerField, Responses, answer_schema, refuse, respond
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.d.fields import LEAST_CONFIDENCE, MAX_HITS
from api_shim.dialects.error_messages import TOLD_TO_OPERATORS, Failure, by_neutral_code, refused
from api_shim.requests import Reply
from pipeline import errors
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class SearchStatus:
    """A status of the document, with its own words."""

    name: str
    words: str


OK = SearchStatus("OK", "successfully deleted face")
NO_SIMILAR_FACE = SearchStatus("NO_SIMILAR_FACE", "no similar face in db")
INVALID_REQUEST = SearchStatus("INVALID_REQUEST", "check request parameters")
FAIL = SearchStatus("FAIL", "please try again later")

# All other errors are FAIL.
STATUSES = by_neutral_code({
    SearchStatus("FACE_DETECT_FAILED", "check input image and retry"): [errors.NoFace],
    SearchStatus("IMAGE_INVALID_SIZE", "image larger than 2M"): [errors.MediaTooLarge],
    SearchStatus("IMAGE_INVALID_FORMAT", "image format not support"): [
        errors.BadEncoding, errors.NotAPicture, errors.FormatNotAccepted, errors.PictureCorrupt,
        errors.PictureOutOfRange,
    ],
    SearchStatus("PERSON_ID_NOT_EXIST", "check input person id"): [
        errors.PersonNotFound, errors.FaceNotFound,
    ],
    INVALID_REQUEST: [
        errors.BadCredentials, errors.CredentialExpired, errors.NotPermitted,
        errors.MissingParameter, errors.InvalidParameter, errors.CollectionNotFound,
        errors.IdempotencyConflict,
    ],
})

EVERY_STATUS = {OK, NO_SIMILAR_FACE, FAIL, *STATUSES.values()}

# The HTTP status by the kind of an error; 200 for whatever the document has a status for.
_HTTP: dict[type[Exception], int] = {
    errors.BadCredentials: 401, errors.CredentialExpired: 401, errors.NotPermitted: 403,
    errors.LimitReached: 429,
}

# Cosines are sums of float32: a score that is 100 but for their rounding is 100.
ROUNDING = 1e-4


def answer(
    status: SearchStatus, message: object = None, http: int = 200, **more: object
) -> Reply:
    """``message`` None stands for the document's words; ``more`` are further members."""
    said = status.words if message is None else message
    return Reply(http, msgspec.json.encode({"status": status.name, "message": said, **more}))


def refusal(error: Exception) -> Reply:
    """A request that became no job: 401 without the right key, 403 without permission, 429
    above a limit, 503 when it may be repeated."""
    failure = Failure.of(error)
    status = STATUSES.get(failure.code, FAIL)
    # The document has no words for parameters that are wrong or a limit that is used up.
    own = status is INVALID_REQUEST or isinstance(error, errors.LimitReached)
    told = failure.message if own else None
    if failure.code in TOLD_TO_OPERATORS:
        told = failure.internal_message
    http = next((http for kind, http in _HTTP.items() if isinstance(error, kind)), 200)
    return refused(answer(status, told, http), error)


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return _RESULTS[job.operation](job.result)
    return answer(STATUSES.get(job.error_code or "", FAIL))


def _found(result: JsonObject) -> Reply:
    hits = [{"confidence": _percent(hit["confidence"]), **_person(hit)} for hit in result["hits"]]
    similar = [hit for hit in hits if hit["confidence"] > LEAST_CONFIDENCE]
    if not similar:
        return answer(NO_SIMILAR_FACE)
    cut = {"more": True} if len(similar) > MAX_HITS else {}
    return answer(OK, similar[:MAX_HITS], **cut)


def _added(result: JsonObject) -> Reply:
    cut = {"left_out": result["left_out"]} if "left_out" in result else {}
    return answer(OK, [_person(face) for face in result["faces"]], **cut)


def _person(face: JsonObject) -> JsonObject:
    return {"name": face["name"], "person_id": face["person_id"]}


def _percent(value: float) -> int:
    return min(math.floor(100 * value + ROUNDING), 100)


_RESULTS: dict[str, Callable[[JsonObject], Reply]] = {
    "enrol": _added,
    "search": _found,
}


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    status = AnswerField("status")
    title = schema_name("d", endpoint, "Answer")
    good = answer_schema(title, (status, *endpoint.gives), status=OK.name)
    words = (status, AnswerField("message"))
    names = {each.name for each in EVERY_STATUS - {OK}}
    failed = answer_schema("DFailure", words, status=names)
    others = {401: INVALID_REQUEST, 403: INVALID_REQUEST, 429: FAIL, 503: FAIL}
    return {
        "200": respond("Success, or a failure by its status.", good, failed),
        **{
            str(http): refuse(http, answer_schema(f"DFailure{http}", words, status=each.name))
            for http, each in others.items()
        },
    }
