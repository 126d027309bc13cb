"""Dialect c's answers: a ``status`` with its HTTP status, and the picture that it is about."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from api_shim.asgi import json_reply
from api_shim.dialects import answers
from api_shim.dialects.answers import AnswerField, answer_schema
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.c.fields import IMAGES
from api_shim.dialects.error_messages import Failure, by_neutral_code, refused
from api_shim.requests import Reply
from pipeline import errors
from pipeline.gallery.image_ids import hex_spelling
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject


@dataclass(frozen=True, slots=True)
class CompareStatus:
    """A status of the document, with the HTTP status that it gives beside it; an ``explained``
    one comes with the error's own words."""

    name: str
    http: int = 400
    explained: bool = False


OK = CompareStatus("OK", 200)
ENCODING_ERROR = CompareStatus("ENCODING_ERROR")
NOT_FOUND = CompareStatus("NOT_FOUND", 404)
INTERNAL = CompareStatus("INTERNAL_ERROR", 500)

STATUSES = by_neutral_code({
    CompareStatus("DOWNLOAD_TIMEOUT"): [errors.DownloadTimedOut],
    CompareStatus("DOWNLOAD_ERROR"): [errors.DownloadRefused],
    CompareStatus("IMAGE_FILE_SIZE_TOO_BIG", explained=True): [errors.MediaTooLarge],
    CompareStatus("IMAGE_ID_NOT_EXIST"): [errors.ImageNotFound],
    CompareStatus("NO_FACE_DETECTED"): [errors.NoFace],
    CompareStatus("TOO_MANY_FACES"): [errors.ManyFaces],
    CompareStatus("CORRUPT_IMAGE", explained=True): [errors.NotAPicture, errors.PictureCorrupt],
    CompareStatus("INVALID_IMAGE_FORMAT_OR_SIZE", explained=True): [
        errors.FormatNotAccepted, errors.PictureOutOfRange,
    ],
    CompareStatus("INVALID_ARGUMENT", explained=True): [
        errors.InvalidParameter, errors.MissingParameter, errors.IdempotencyConflict,
    ],
    CompareStatus("UNAUTHORIZED", 401): [errors.BadCredentials, errors.TenantNotFound],
    CompareStatus("KEY_EXPIRED", 401, explained=True): [errors.CredentialExpired],
    CompareStatus("RATE_LIMIT_EXCEEDED", 403): [errors.RateLimited],
    CompareStatus("NO_PERMISSION", 403, explained=True): [errors.NotPermitted],
    CompareStatus("OUT_OF_QUOTA", 403, explained=True): [errors.QuotaExceeded],
})

EVERY_STATUS = (OK, ENCODING_ERROR, *dict.fromkeys(STATUSES.values()), NOT_FOUND, INTERNAL)

_HEX = re.compile("[0-9a-f]{32}")


def refusal(error: Exception, request_id: str) -> Reply:
    """A request that became no job."""
    failure = Failure.of(error)
    status = STATUSES.get(failure.code, INTERNAL)
    if isinstance(error, errors.NotUtf8):
        status = ENCODING_ERROR
    return refused(_failure(status, request_id, failure), error)


def not_found(request_id: str) -> Reply:
    """The answer under ``/identity/`` to a path that is not there."""
    return _failure(NOT_FOUND, request_id)


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return json_reply(200, _compared(job.result, job.request_id))
    failure = Failure.of_job(job)
    return _failure(STATUSES.get(failure.code, INTERNAL), job.request_id, failure)


def _compared(result: JsonObject, request_id: str) -> JsonObject:
    ids = {
        image: {f"{image}_id": hex_spelling(image_id)}
        for image, image_id in zip(IMAGES, result["image_ids"], strict=True)
        if image_id is not None
    }
    return {
        "request_id": _tid(request_id),
        "status": OK.name,
        "confidences": result["confidences"],
        "max_confidence": result["max_confidence"],
        **ids,
    }


def _failure(status: CompareStatus, request_id: str, failure: Failure | None = None) -> Reply:
    answer = {"status": status.name}
    if failure is not None:
        if failure.picture is not None:
            answer["image"] = IMAGES[failure.picture]
        if status.explained and failure.message:
            answer["reason"] = failure.message
        if status is INTERNAL:
            answer["reason"] = failure.internal_message
    return json_reply(status.http, {**answer, "request_id": _tid(request_id)})


def _tid(request_id: str) -> str:
    """The request's id as the document's look: 32 hex digits behind ``TID``."""
    tail = request_id[-32:]
    if _HEX.fullmatch(tail) is None:
        tail = hashlib.md5(request_id.encode(), usedforsecurity=False).hexdigest()
    return f"TID{tail}"


def responses(endpoint: Endpoint) -> answers.Responses:
    """The documented answers of an operation."""
    said = (AnswerField("request_id"), AnswerField("status"))
    title = schema_name("c", endpoint, "Answer")
    good = answer_schema(title, (*said, *endpoint.gives), status=OK.name)
    statuses = {503: {INTERNAL.name}}
    for status in EVERY_STATUS:
        statuses.setdefault(status.http, set()).add(status.name)
    failed = (*said, answers.optional("image"), answers.optional("reason"))
    schemas = {
        http: answer_schema(f"CFailure{http}", failed, status=names, image=frozenset(IMAGES))
        for http, names in sorted(statuses.items())
        if http not in (200, 404)  # 404 is the answer of other paths
    }
    return {
        "200": answers.respond("Done.", good),
        **{str(http): answers.refuse(http, schema) for http, schema in schemas.items()},
    }
