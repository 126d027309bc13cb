"""Document c's answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from api_shim.dialects.c.envelope import EVERY_STATUS, not_found, outcome, refusal
from pipeline import errors
from pipeline.jobs.ending import error_json
from pipeline.types import JsonObject
from tests.unit.shim.rows import SECRETIVE, done, every_error
from tests.unit.shim.rows import failed as failed_row

REQUEST = "20261120120000" + "8bf47ab6eda64476973cc5f5b6ebf57e"
TID = "TID8bf47ab6eda64476973cc5f5b6ebf57e"

RESULT: JsonObject = {
    "confidences": [[0.9410581588745117, 0.37], [0.34, 0.32]],
    "max_confidence": 0.9410581588745117,
    "image_ids": ["6d1ac07746624c1abe9c219446b72c32", "44b0a59de4e045e0b61c9c08dc8f0a9d"],
}

OWN_WORDS = (errors.TaskUnsupported, errors.Uncalibrated, errors.PackMismatch)


def read(body: bytes) -> Any:
    return msgspec.json.decode(body)


def test_the_sample_of_the_document() -> None:
    reply = outcome(replace(done("matrix", RESULT), request_id=REQUEST))
    assert reply.status == 200
    assert read(reply.body) == {
        "request_id": TID,
        "status": "OK",
        "confidences": RESULT["confidences"],
        "max_confidence": 0.9410581588745117,
        "image_one": {"image_one_id": "6d1ac07746624c1abe9c219446b72c32"},
        "image_two": {"image_two_id": "44b0a59de4e045e0b61c9c08dc8f0a9d"},
    }


def test_pictures_by_id_are_left_out() -> None:
    result = {**RESULT, "image_ids": [None, "44b0a59de4e045e0b61c9c08dc8f0a9d"]}
    answer = read(outcome(done("matrix", result)).body)
    assert "image_one" not in answer
    assert answer["image_two"] == {"image_two_id": "44b0a59de4e045e0b61c9c08dc8f0a9d"}


def failed(error: errors.FaceError) -> tuple[int, Any]:
    """The answer of a job that ended with ``error``."""
    row = replace(
        failed_row(type(error)), request_id=REQUEST, error=error_json(error), media=("x", "y")
    )
    reply = outcome(row)
    return reply.status, read(reply.body)


@pytest.mark.parametrize(
    ("error", "status", "http"),
    [
        (errors.DownloadTimedOut, "DOWNLOAD_TIMEOUT", 400),
        (errors.DownloadRefused, "DOWNLOAD_ERROR", 400),
        (errors.MediaTooLarge, "IMAGE_FILE_SIZE_TOO_BIG", 400),
        (errors.ImageNotFound, "IMAGE_ID_NOT_EXIST", 400),
        (errors.NoFace, "NO_FACE_DETECTED", 400),
        (errors.ManyFaces, "TOO_MANY_FACES", 400),
        (errors.NotAPicture, "CORRUPT_IMAGE", 400),
        (errors.PictureCorrupt, "CORRUPT_IMAGE", 400),
        (errors.FormatNotAccepted, "INVALID_IMAGE_FORMAT_OR_SIZE", 400),
        (errors.PictureOutOfRange, "INVALID_IMAGE_FORMAT_OR_SIZE", 400),
    ],
)
def test_what_a_picture_can_cause(
    error: type[errors.FaceError], status: str, http: int
) -> None:
    """A request and a job say the same."""
    code, answer = failed(error(picture=1))
    assert (code, answer["status"], answer["image"]) == (http, status, "image_two")
    assert answer["request_id"] == TID
    assert outcome_of(error(picture=1)) == (code, answer)


def outcome_of(error: errors.FaceError) -> tuple[int, Any]:
    reply = refusal(error, REQUEST)
    return reply.status, read(reply.body)


@pytest.mark.parametrize(
    ("error", "status", "http"),
    [
        (errors.NotUtf8(), "ENCODING_ERROR", 400),
        (errors.InvalidParameter("why"), "INVALID_ARGUMENT", 400),
        (errors.IdempotencyConflict(), "INVALID_ARGUMENT", 400),
        (errors.BadCredentials(), "UNAUTHORIZED", 401),
        (errors.CredentialExpired(), "KEY_EXPIRED", 401),
        (errors.RateLimited(), "RATE_LIMIT_EXCEEDED", 403),
        (errors.NotPermitted(), "NO_PERMISSION", 403),
        (errors.QuotaExceeded(), "OUT_OF_QUOTA", 403),
        (errors.Uncalibrated(), "INTERNAL_ERROR", 500),
        (ValueError("secret"), "INTERNAL_ERROR", 500),
        (errors.Overloaded(), "INTERNAL_ERROR", 503),
        (errors.MediaUnavailable("a host"), "INTERNAL_ERROR", 503),
    ],
)
def test_what_a_request_can_cause(error: Exception, status: str, http: int) -> None:
    reply = refusal(error, REQUEST)
    answer = read(reply.body)
    assert (reply.status, answer["status"]) == (http, status)
    assert set(answer) <= {"status", "request_id", "reason"}
    assert "secret" not in answer.get("reason", "")
    assert "a host" not in answer.get("reason", "")
    assert ("Retry-After" in reply.headers) == (
        http == 503 or isinstance(error, errors.LimitReached)
    )


def test_the_reason_is_said() -> None:
    assert outcome_of(errors.InvalidParameter("why"))[1]["reason"] == "why"
    assert outcome_of(errors.CredentialExpired())[1]["reason"] == "The credentials have expired."


@pytest.mark.parametrize(
    "error", [errors.JobCrashed(), errors.JobCancelled(), errors.MediaNotFound()]
)
def test_what_is_not_the_clients_doing(error: errors.FaceError) -> None:
    http, answer = failed(error)
    assert (http, answer["status"]) == (500, "INTERNAL_ERROR")
    assert answer["reason"] == type(error)().message


@pytest.mark.parametrize("kind", every_error())
def test_every_end_has_an_envelope_that_tells_no_secret(kind: type[errors.FaceError]) -> None:
    reply = outcome(failed_row(kind))
    answer = read(reply.body)
    assert reply.status == {each.name: each.http for each in EVERY_STATUS}[answer["status"]]
    if answer["status"] == "INTERNAL_ERROR" and kind not in OWN_WORDS:
        assert SECRETIVE not in answer["reason"]


def test_a_path_that_is_not_there() -> None:
    assert (not_found(REQUEST).status, read(not_found(REQUEST).body)) == (
        404, {"status": "NOT_FOUND", "request_id": TID},
    )


def test_a_request_id_of_the_callers_own_is_turned_into_one() -> None:
    one, same, other = (
        read(refusal(errors.NoFace(), name).body)["request_id"]
        for name in ("my-request-17", "my-request-17", "my-request-18")
    )
    assert one == same != other
    assert (one[:3], len(one)) == ("TID", 35)


def test_every_status_has_the_documents_http_status() -> None:
    documented = [200] + [400] * 10 + [401] * 2 + [403] * 3 + [404, 500]
    assert [status.http for status in EVERY_STATUS] == documented
