"""Dialect b's answers, from job rows alone."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from api_shim.dialects.b import envelope as b_envelope
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.jobs.ending import error_json
from pipeline.jobs.model import Job, JobState
from pipeline.operations import MAX_HITS
from pipeline.types import JsonObject
from tests.unit.shim.b_caller import envelope
from tests.unit.shim.rows import done

QUALITY = {
    "size": 80.0, "blur": 22.5, "brightness": 120.0, "contrast": 50.0, "yaw": -3.6, "pitch": 4.4,
    "roll": 0.5001, "score": 0.75,
}
FOUND = {"box": [10.4, -20.6, 250.0, 80.0], "score": 0.9, "quality": QUALITY}
PICTURE = {"width": 200, "height": 100, "faces": [FOUND, {"box": [0, 0, 9, 9], "score": 0.6}]}
RESULT = {"pack": "edge", "pictures": [PICTURE]}
RECT = {"left": 10, "top": 0, "right": 200, "bottom": 80}
DETECTED = {**RECT, "roll": 1, "yaw": -4, "pitch": 4, "blurness": 22.5}

ENROLLED = {
    "id": 6, "person_id": "p", "face_token": "Y_h5kisqfVwqEYup", "name": "", "gender": "",
    "image_id": "_jreV7nZpLFJmPrm", "description": "3.png", "box": FOUND["box"],
    "face_key": "t1/faces/a",
}
EMPTY: JsonObject = {}


def hit(confidence: float, number: int = 1, **groups: float) -> JsonObject:
    return {
        **ENROLLED, "face_token": f"token{number}", "face_key": f"key{number}",
        "cosine": confidence, "confidence": confidence,
        "collections": [{"key": key, "score": score} for key, score in groups.items()],
    }


def searched(hits: list[JsonObject], top: int = 5, **more: Any) -> Job:
    result = {**RESULT, "hits": hits, **more}
    return done("search", result, collections=["default", "one"], top=top)


def ended(error: FaceError, state: JobState = JobState.FAILED) -> Job:
    row = done("search", EMPTY, collections=["default"], top=5)
    return replace(
        row, state=state, result=None, error_code=error.code, error=error_json(error)
    )


def data_of(job: Job, attached: dict[str, bytes] | None = None) -> JsonObject:
    reply = b_envelope.outcome(job, attached or {})
    assert reply.status == 200
    answer = envelope(reply)
    assert (answer["code"], answer["msg"]) == (0, "SUCCESS")
    data: JsonObject = answer["data"]
    return data


def test_an_enrolled_face() -> None:
    result = {**RESULT, "created": True, "image_id": "x", "faces": [ENROLLED]}
    assert data_of(done("enrol", result)) == {
        "id": 6, "imageId": "_jreV7nZpLFJmPrm", "faceToken": "Y_h5kisqfVwqEYup", "rect": RECT
    }


def test_a_comparison() -> None:
    result = {"pack": "edge", "pictures": [PICTURE] * 2, "cosine": 0.5, "confidence": 0.58}
    job = done("compare", result)
    assert data_of(job) == {
        "compareScore": pytest.approx(58.0),
        "detectionResult1": {**DETECTED, "blurriness": 22.5},
        "detectionResult2": DETECTED,
    }


def test_a_search() -> None:
    job = searched([hit(0.9, 1, default=80, one=80), hit(0.85, 2, default=80)])
    assert b_envelope.attachments(job) == ("key1", "key2")
    assert data_of(job, {"key1": b"one"}) == {
        "detectionResult": {**DETECTED, "quality": 0.75},
        "top1": {
            "group": [{"groupId": "default"}, {"groupId": "one"}], "searchScore": 90.0,
            "faceToken": "token1", "description": "3.png",
            "imageUrl": base64.b64encode(b"one").decode(),
        },
        # Its picture has been deleted since.
        "top2": {
            "group": [{"groupId": "default"}], "searchScore": 85.0, "faceToken": "token2",
            "description": "3.png", "imageUrl": "",
        },
        "top3": {}, "top4": {}, "top5": {},
    }


def tokens(job: Job) -> list[str]:
    data = data_of(job)
    return [data[f"top{place}"].get("faceToken", "") for place in range(1, 6)]


def test_a_hit_must_exceed_its_groups_score() -> None:
    hits = [
        hit(0.8, 1, default=80),
        hit(0.75, 2, default=80, one=70),
        hit(0.74, 3, elsewhere=0, default=80),
        hit(0.71, 4, one=70),
        hit(0.7, 5, one=70),
        hit(0.5, 6),
    ]
    assert tokens(searched(hits)) == ["token2", "token4", "", "", ""]


def test_no_more_hits_than_asked_for() -> None:
    hits = [hit(0.99, number, default=0) for number in range(1, 10)]
    assert tokens(searched(hits, top=2)) == ["token1", "token2", "", "", ""]
    assert tokens(searched(hits)) == [f"token{number}" for number in range(1, 6)]
    assert tokens(searched([])) == [""] * 5


def test_more_faces_than_were_looked_at() -> None:
    failing = [hit(0.9, number, default=95) for number in range(MAX_HITS)]
    assert data_of(searched(failing))["more"] is True
    assert "more" not in data_of(searched(failing[1:]))
    passing = [hit(0.9, number, default=80) for number in range(MAX_HITS)]
    assert "more" not in data_of(searched(passing))


def test_a_feature() -> None:
    vector = np.random.default_rng(1).standard_normal(512).astype("<f4")
    job = searched([], embedding=[float(str(value)) for value in vector])
    feature = base64.b64decode(data_of(job)["detectionResult"]["feature"])
    assert np.array_equal(np.frombuffer(feature, "<f4"), vector)


def test_equal_rows_give_equal_bytes() -> None:
    job = searched([hit(0.9, 1, default=80)])
    assert b_envelope.outcome(job, {}).body == b_envelope.outcome(job, {}).body


ERRORS: list[tuple[FaceError, int, int, str]] = [
    (errors.NoFace(), 400, 104200, "FACE_NOT_FOUND"),
    (errors.BadQuality("blur"), 400, 104201, "BAD_QUALITY:blur"),
    (errors.FaceExists(), 400, 104204, "FACE_ALREADY_EXIST"),
    (errors.CollectionNotFound(), 400, 104311, "GROUP_ID_NOT_EXIST"),
    (errors.InvalidParameter("x is wrong"), 400, 104900, "INVALID_ARGUMENT:x is wrong"),
    (errors.PictureCorrupt("cut"), 400, 104901, "IMAGE_FORMAT_INVALID:cut"),
    (errors.PictureOutOfRange("big"), 400, 104902, "IMAGE_SIZE_INVALID:big"),
    (errors.JobTimedOut(), 500, 104999,
     "INTERNAL_ERROR:The job could not be finished within its time."),
    (errors.MediaUnavailable("at 10.0.0.1"), 500, 104999,
     "INTERNAL_ERROR:The media store does not answer."),
    (errors.Uncalibrated("No table."), 500, 104999, "INTERNAL_ERROR:No table."),
    (FaceError("secret"), 500, 104999, "INTERNAL_ERROR:Internal error."),
]


@pytest.mark.parametrize(("error", "status", "code", "message"), ERRORS)
def test_failed_jobs(error: FaceError, status: int, code: int, message: str) -> None:
    reply = b_envelope.outcome(ended(error), {})
    assert reply.status == status
    assert envelope(reply) == {"code": code, "msg": message, "data": EMPTY}


def test_a_cancelled_job() -> None:
    job = ended(errors.JobCancelled(), JobState.CANCELLED)
    assert envelope(b_envelope.outcome(job, {}))["code"] == 104999
    assert b_envelope.attachments(job) == ()


def test_of_two_pictures_the_one_at_fault_is_named() -> None:
    job = replace(ended(errors.PictureCorrupt("cut", picture=1)), media=("a", "b"))
    assert envelope(b_envelope.outcome(job, {}))["msg"] == "IMAGE_FORMAT_INVALID:image2: cut"


@pytest.mark.parametrize(
    ("error", "status", "code", "again"),
    [
        (errors.Overloaded(), 503, 104905, True),
        (errors.RateLimited(retry_after_s=0.2), 429, 104905, True),
        (errors.QuotaExceeded(), 429, 104905, True),
        (errors.NotPermitted(), 401, 104906, False),
        (errors.CredentialExpired(), 401, 104906, False),
        (errors.DatabaseUnavailable("at 10.0.0.1"), 503, 104999, True),
        (errors.BadCredentials(), 401, 104906, False),
        (errors.CollectionLimit(), 400, 104302, False),
        (errors.MissingParameter("x is missing"), 400, 104900, False),
        (ValueError("secret"), 500, 104999, False),
    ],
)
def test_refusals(error: Exception, status: int, code: int, again: bool) -> None:
    reply = b_envelope.refusal(error)
    assert reply.status == status
    assert ("Retry-After" in reply.headers) is again
    answer = envelope(reply)
    assert (answer["code"], answer["data"]) == (code, EMPTY)
    assert "secret" not in answer["msg"]
    assert "10.0.0.1" not in answer["msg"]
