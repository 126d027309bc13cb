"""Dialect c's answers: a ``status`` with its HTTP status, and the picture that it is about."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from api_shim.asgi import json_reply
from api_shim.dialects.answers import (
    AnswerField,
    Responses,
    answer_schema,
    optional,
    refuse,
    respond,
    with_values,
)
from api_shim.dialects.base import Endpoint, schema_name
from api_shim.dialects.c.fields import IMAGES
from api_shim.dialects.error_messages import internal_message, retry_headers
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.gallery.image_ids import hex_spelling
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject


class CompareStatus(StrEnum):
    """Every status of the document."""

    OK = "OK"
    ENCODING_ERROR = "ENCODING_ERROR"
    DOWNLOAD_TIMEOUT = "DOWNLOAD_TIMEOUT"
    DOWNLOAD_ERROR = "DOWNLOAD_ERROR"
    IMAGE_FILE_SIZE_TOO_BIG = "IMAGE_FILE_SIZE_TOO_BIG"
    IMAGE_ID_NOT_EXIST = "IMAGE_ID_NOT_EXIST"
    NO_FACE_DETECTED = "NO_FACE_DETECTED"
    TOO_MANY_FACES = "TOO_MANY_FACES"
    CORRUPT_IMAGE = "CORRUPT_IMAGE"
    INVALID_IMAGE_FORMAT_OR_SIZE = "INVALID_IMAGE_FORMAT_OR_SIZE"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    UNAUTHORIZED = "UNAUTHORIZED"
    KEY_EXPIRED = "KEY_EXPIRED"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    NO_PERMISSION = "NO_PERMISSION"
    OUT_OF_QUOTA = "OUT_OF_QUOTA"
    NOT_FOUND = "NOT_FOUND"
    INTERNAL_ERROR = "INTERNAL_ERROR"

    @property
    def http(self) -> int:
        """The HTTP status that the document gives beside it."""
        return _HTTP.get(self, 400)


_HTTP = {
    CompareStatus.OK: 200,
    CompareStatus.UNAUTHORIZED: 401,
    CompareStatus.KEY_EXPIRED: 401,
    CompareStatus.RATE_LIMIT_EXCEEDED: 403,
    CompareStatus.NO_PERMISSION: 403,
    CompareStatus.OUT_OF_QUOTA: 403,
    CompareStatus.NOT_FOUND: 404,
    CompareStatus.INTERNAL_ERROR: 500,
}

# By the neutral code of an error; all others are INTERNAL_ERROR.
STATUSES: dict[str, CompareStatus] = {
    errors.DownloadTimedOut.code: CompareStatus.DOWNLOAD_TIMEOUT,
    errors.DownloadRefused.code: CompareStatus.DOWNLOAD_ERROR,
    errors.MediaTooLarge.code: CompareStatus.IMAGE_FILE_SIZE_TOO_BIG,
    errors.ImageNotFound.code: CompareStatus.IMAGE_ID_NOT_EXIST,
    errors.NoFace.code: CompareStatus.NO_FACE_DETECTED,
    errors.ManyFaces.code: CompareStatus.TOO_MANY_FACES,
    errors.NotAPicture.code: CompareStatus.CORRUPT_IMAGE,
    errors.PictureCorrupt.code: CompareStatus.CORRUPT_IMAGE,
    errors.FormatNotAccepted.code: CompareStatus.INVALID_IMAGE_FORMAT_OR_SIZE,
    errors.PictureOutOfRange.code: CompareStatus.INVALID_IMAGE_FORMAT_OR_SIZE,
    errors.InvalidParameter.code: CompareStatus.INVALID_ARGUMENT,
    errors.MissingParameter.code: CompareStatus.INVALID_ARGUMENT,
    errors.IdempotencyConflict.code: CompareStatus.INVALID_ARGUMENT,
    errors.BadCredentials.code: CompareStatus.UNAUTHORIZED,
    errors.TenantNotFound.code: CompareStatus.UNAUTHORIZED,
    errors.CredentialExpired.code: CompareStatus.KEY_EXPIRED,
    errors.RateLimited.code: CompareStatus.RATE_LIMIT_EXCEEDED,
    errors.NotPermitted.code: CompareStatus.NO_PERMISSION,
    errors.QuotaExceeded.code: CompareStatus.OUT_OF_QUOTA,
}

# Statuses that come with the error's own words.
_REASONED = frozenset(
    {
        CompareStatus.INVALID_ARGUMENT, CompareStatus.KEY_EXPIRED,
        CompareStatus.INVALID_IMAGE_FORMAT_OR_SIZE, CompareStatus.IMAGE_FILE_SIZE_TOO_BIG,
        CompareStatus.NO_PERMISSION, CompareStatus.OUT_OF_QUOTA,
    }
)

_HEX = re.compile("[0-9a-f]{32}")


def refusal(error: Exception, request_id: str) -> Reply:
    """A request that became no job."""
    known = error if isinstance(error, FaceError) else FaceError()
    status = STATUSES.get(known.code, CompareStatus.INTERNAL_ERROR)
    if isinstance(error, errors.NotUtf8):
        status = CompareStatus.ENCODING_ERROR
    http = 503 if isinstance(error, errors.Unavailable) else status.http
    reason = _reason(status, known)
    return _failure(status, request_id, known.picture, reason, http, retry_headers(error))


def not_found(request_id: str) -> Reply:
    """The answer under ``/identity/`` to a path that is not there."""
    return _failure(CompareStatus.NOT_FOUND, request_id, None, None)


def wrong_method(request_id: str, allowed: str) -> Reply:
    reason = f"the method must be {allowed}"
    return _failure(
        CompareStatus.INVALID_ARGUMENT, request_id, None, reason, 405, {"Allow": allowed}
    )


def outcome(job: Job) -> Reply:
    """The answer of a job that has ended."""
    if job.state is JobState.DONE and job.result is not None:
        return json_reply(200, _compared(job.result, job.request_id))
    code, kept = job.error_code or FaceError.code, job.error or {}
    status = STATUSES.get(code, CompareStatus.INTERNAL_ERROR)
    message = str(kept.get("message", ""))
    reason = message if status in _REASONED else None
    if status is CompareStatus.INTERNAL_ERROR:
        reason = internal_message(code, message)
    return _failure(status, job.request_id, kept.get("picture"), reason)


def _compared(result: JsonObject, request_id: str) -> JsonObject:
    ids = {
        image: {f"{image}_id": hex_spelling(image_id)}
        for image, image_id in zip(IMAGES, result["image_ids"], strict=True)
        if image_id is not None
    }
    return {
        "request_id": _tid(request_id),
        "status": CompareStatus.OK.value,
        "confidences": result["confidences"],
        "max_confidence": result["max_confidence"],
        **ids,
    }


def _reason(status: CompareStatus, error: FaceError) -> str | None:
    if status is CompareStatus.INTERNAL_ERROR:
        return internal_message(error.code, error.message)
    return error.message if status in _REASONED else None


def _failure(
    status: CompareStatus, request_id: str, picture: int | None, reason: str | None,
    http: int | None = None, headers: Mapping[str, str] | None = None,
) -> Reply:
    answer: dict[str, Any] = {"status": status.value}
    if picture is not None:
        answer["image"] = IMAGES[picture]
    if reason:
        answer["reason"] = reason
    answer["request_id"] = _tid(request_id)
    return json_reply(http or status.http, answer, headers)


def _tid(request_id: str) -> str:
    """The request's id as the document's look: 32 hex digits behind ``TID``."""
    tail = request_id[-32:]
    if _HEX.fullmatch(tail) is None:
        tail = hashlib.md5(request_id.encode(), usedforsecurity=False).hexdigest()
    return f"TID{tail}"


def responses(endpoint: Endpoint) -> Responses:
    """The documented answers of an operation."""
    said = (AnswerField("request_id"), AnswerField("status"))
    good = answer_schema(schema_name("c", endpoint, "Answer"), (*said, *endpoint.gives))
    statuses: dict[int, set[str]] = {}
    for status in CompareStatus:
        statuses.setdefault(status.http, set()).add(status.value)
    statuses[503] = {CompareStatus.INTERNAL_ERROR.value}
    images = frozenset(IMAGES)
    failed = (*said, optional("image"), optional("reason"))
    return {
        "200": respond("Done.", with_values(good, status=CompareStatus.OK.value)),
        **{
            str(http): refuse(http, with_values(
                answer_schema(f"CFailure{http}", failed), status=statuses[http], image=images
            ))
            for http in sorted(statuses)
            if http not in (200, 404)  # 404 is the answer of other paths
        },
    }
