"""Answers of the service: what they hold, or the error that they stand for.

Every document of the service has its own envelope and codes; here they become one tree of errors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx

from faceline_client import errors
from faceline_client.errors import ApiError, UnexpectedAnswer

Json = dict[str, Any]
Kinds = Mapping[str, type[ApiError]]

T = TypeVar("T")

# Statuses of a service, or of a proxy before it, that cannot answer now.
GATEWAY_STATUSES = frozenset({502, 503, 504})

# Statuses that say more than the code beside them.
DECISIVE_STATUSES = GATEWAY_STATUSES | {401, 429}

# Kinds of errors by HTTP status, where a code says no more.
BY_STATUS: Mapping[int, type[ApiError]] = {
    400: errors.BadInput, 401: errors.Unauthorized, 403: errors.NotPermitted,
    404: errors.NotFound, 405: errors.BadInput, 409: errors.Conflict, 413: errors.BadInput,
    429: errors.RateLimited, **dict.fromkeys(GATEWAY_STATUSES, errors.Unavailable),
}


@dataclass(frozen=True, slots=True)
class Envelope:
    """How a document wraps its answers: ``member`` names the code, ``good`` are the codes of
    success, ``message`` finds the sentence and ``data`` the content."""

    member: str
    good: frozenset[str]
    kinds: Kinds
    message: Callable[[Json], object]
    data: Callable[[Json], Json]

    def unwrap(self, response: httpx.Response) -> Json:
        """The content of an answer. Raises ``ApiError``, ``UnexpectedAnswer``."""
        answer = read_object(response)
        code = str(answer.get(self.member, answer.get("code", "")))
        if response.is_success and code in self.good:
            return self.data(answer)
        message = self.message(answer) or answer.get("message") or ""
        raise refusal(response, code, str(message), self.kinds)


def parse(envelope: Envelope, read: Callable[[Json], T], response: httpx.Response) -> T:
    """What ``read`` makes of an answer's content. Raises ``ApiError``, ``UnexpectedAnswer``."""
    try:
        return read(envelope.unwrap(response))
    except (LookupError, TypeError, ValueError) as error:
        raise UnexpectedAnswer(
            f"The answer lacks a member or has another form: {error!r}",
            status=response.status_code,
        ) from error


def read_object(response: httpx.Response) -> Json:
    """The JSON object in an answer. Raises ``Unavailable`` for a proxy's own 502, 503 and 504,
    ``UnexpectedAnswer``."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if isinstance(answer, dict):
        return answer
    if response.status_code in GATEWAY_STATUSES:
        raise refusal(response, "", "", {})
    raise UnexpectedAnswer(
        f"HTTP {response.status_code} without a JSON object: this is no face service.",
        status=response.status_code,
    )


def refusal(response: httpx.Response, code: str, message: str, kinds: Kinds) -> ApiError:
    """The error that an answer stands for. ``kinds`` has codes, whole messages, and codes
    behind a status."""
    status, headers = response.status_code, response.headers
    named = kinds.get(message) or kinds.get(f"{status} {code}")
    kind = BY_STATUS.get(status, ApiError)
    if status not in DECISIVE_STATUSES:
        kind = kinds.get(code, kind)
    kind = named or kind
    return kind(
        message, status=status, code=code, request_id=headers.get("x-request-id", ""),
        job_id=headers.get("x-job-id", ""), retry_after=retry_after(response),
    )


def retry_after(response: httpx.Response) -> float | None:
    """Seconds of ``Retry-After``; None without one, or where it is a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _itself(answer: Json) -> Json:
    return answer


# Of /jobs, /batches and unknown paths, where only errors have a code.
NATIVE = Envelope("code", frozenset({""}), {
    "job_ended": errors.Conflict, "not_found": errors.NotFound,
    "invalid_parameter": errors.BadInput, "collection_not_found": errors.NotFound,
    "configuration_error": errors.NotPermitted, "credential_expired": errors.Unauthorized,
}, lambda answer: answer.get("message"), _itself)

# Document a.
NUMBERED = Envelope("msg_code", frozenset({"1"}), {
    "2": errors.Unauthorized, "3": errors.Unauthorized, "4": errors.BadPicture,
    "5": errors.NoFace, "6": errors.ManyFaces, "7": errors.NotFound, "8": errors.BadClip,
    "9": errors.BadInput, "10": errors.RateLimited, "11": errors.NotPermitted,
    "12": errors.ChallengeRefused, "13": errors.ChallengeRefused, "99": errors.JobFailed,
}, lambda answer: answer.get("message"), _itself)

# Document b.
GROUPS = Envelope("code", frozenset({"0"}), {
    "104200": errors.NoFace, "104201": errors.BadQuality, "104204": errors.Conflict,
    "104300": errors.Conflict, "104302": errors.Conflict, "104304": errors.Conflict,
    "104310": errors.Conflict, "104311": errors.NotFound, "104900": errors.BadInput,
    "104901": errors.BadPicture, "104902": errors.BadPicture, "104903": errors.NotFound,
    "104904": errors.NotFound, "104905": errors.RateLimited, "104906": errors.Unauthorized,
    "UNAUTHORIZED:NO_PERMISSION": errors.NotPermitted, "104999": errors.JobFailed,
}, lambda answer: answer.get("msg"), lambda answer: answer["data"])

# Document c.
MATRIX = Envelope("status", frozenset({"OK"}), {
    "UNAUTHORIZED": errors.Unauthorized, "KEY_EXPIRED": errors.Unauthorized,
    "NO_PERMISSION": errors.NotPermitted, "RATE_LIMIT_EXCEEDED": errors.RateLimited,
    "OUT_OF_QUOTA": errors.RateLimited, "IMAGE_ID_NOT_EXIST": errors.NotFound,
    "IMAGE_FILE_SIZE_TOO_BIG": errors.BadPicture, "CORRUPT_IMAGE": errors.BadPicture,
    "INVALID_IMAGE_FORMAT_OR_SIZE": errors.BadPicture, "DOWNLOAD_TIMEOUT": errors.BadPicture,
    "DOWNLOAD_ERROR": errors.BadPicture, "NO_FACE_DETECTED": errors.NoFace,
    "TOO_MANY_FACES": errors.ManyFaces, "INTERNAL_ERROR": errors.JobFailed,
}, lambda answer: " ".join(filter(None, (answer.get("image"), answer.get("reason")))), _itself)

# Document d.
PEOPLE = Envelope("status", frozenset({"OK", "NO_SIMILAR_FACE"}), {
    "IMAGE_INVALID_SIZE": errors.BadPicture, "IMAGE_INVALID_FORMAT": errors.BadPicture,
    "FACE_DETECT_FAILED": errors.NoFace, "PERSON_ID_NOT_EXIST": errors.NotFound,
    "INVALID_REQUEST": errors.BadInput, "403 INVALID_REQUEST": errors.NotPermitted,
    "FAIL": errors.JobFailed,
}, lambda answer: answer.get("message"), _itself)

# Document e.
SIGNED = Envelope("code", frozenset({"0"}), {
    "9001": errors.BadPicture, "9002": errors.BadPicture, "9901": errors.BadPicture,
    "9902": errors.BadPicture, "9903": errors.NoFace, "9800": errors.Unauthorized,
    "9802": errors.Unauthorized, "9805": errors.Unauthorized, "9905": errors.NotPermitted,
    "9904": errors.RateLimited, "9801": errors.BadInput, "9999": errors.JobFailed,
}, lambda answer: answer.get("data", {}).get("msg"), lambda answer: answer["data"])
