"""Dialect e's answers, from job rows alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from api_shim.dialects import error_messages
from api_shim.dialects.e import envelope as e_envelope
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.jobs.model import Job, JobState
from pipeline.types import JsonObject
from tests.unit.shim import rows
from tests.unit.shim.rows import SECRETIVE, every_error

ROW = replace(
    rows.ROW, dialect="e",
    params={"app_id": "A1", "max_face_num": 9, "locations": "top_right"},
)

BOXES = [[10.4, 20.6, 50.5, 80.0], [-5.0, -7.0, 300.0, 12.0]]


def located(**changed: Any) -> Job:
    faces = [{"box": box, "score": 0.9} for box in BOXES]
    result: JsonObject = {"pictures": [{"width": 200, "height": 100, "faces": faces}]}
    return replace(ROW, result=result, params={**ROW.params, **changed})


def read(reply: Reply) -> JsonObject:
    found: JsonObject = msgspec.json.decode(reply.body)
    return found


def test_the_envelope() -> None:
    reply = e_envelope.outcome(located())
    assert reply.status == 200
    assert read(reply) == {
        "appId": "A1", "code": 0, "success": True, "encType": "plain", "signType": "plain",
        "timestamp": 1001,
        "data": {
            "face_num": 2, "locations": [[21, 50, 80, 10], [0, 200, 12, 0]], "msg": "success",
            "requestId": "r-1",
        },
    }


def test_equal_rows_give_equal_bytes() -> None:
    assert e_envelope.outcome(located()).body == e_envelope.outcome(located()).body


def test_the_order_of_the_printed_example() -> None:
    data = read(e_envelope.outcome(located(locations="left_top")))["data"]
    assert data["locations"] == [[10, 21, 50, 80], [0, 0, 200, 12]]


@pytest.mark.parametrize(("most", "given"), [(1, 1), (2, 2), (3, 2)])
def test_no_more_faces_than_asked_for(most: int, given: int) -> None:
    data = read(e_envelope.outcome(located(max_face_num=most)))["data"]
    assert data["face_num"] == len(data["locations"]) == given


@pytest.mark.parametrize(
    ("distance", "match"), [(0.0, True), (0.5999, True), (0.6, False), (1.0, False)]
)
def test_a_match_is_a_distance_below_the_threshold(distance: float, match: bool) -> None:
    row = replace(ROW, operation="verify", result={"distance": distance, "pictures": []})
    data = read(e_envelope.outcome(row))["data"]
    assert (data["is_match"], data["score"]) == (match, distance)


@pytest.mark.parametrize(
    ("cosine", "score", "match"), [(1.0, 0.0, True), (0.28, 0.36, True), (-1.0, 1.0, False)]
)
def test_the_vendors_score(cosine: float, score: float, match: bool) -> None:
    row = replace(
        ROW, operation="verify", params={**ROW.params, "score": "cosine"},
        result={"distance": 0.7, "cosine": cosine, "pictures": []},
    )
    data = read(e_envelope.outcome(row))["data"]
    assert data["score"] == pytest.approx(score)
    assert data["is_match"] is match


@pytest.mark.parametrize("score", [0.3649, 0.3651])
def test_the_vendors_match_is_below_its_threshold(score: float) -> None:
    row = replace(
        ROW, operation="verify", params={**ROW.params, "score": "cosine"},
        result={"distance": 0.1, "cosine": 1 - 2 * score, "pictures": []},
    )
    assert read(e_envelope.outcome(row))["data"]["is_match"] is (score < 0.365)


def test_a_face_that_is_missing_can_be_no_match() -> None:
    row = replace(
        ROW, operation="verify", state=JobState.FAILED, media=("k", "k"), error_code="no_face",
        params={**ROW.params, "no_face": "no_match"},
        error={"code": "no_face", "message": "No face.", "picture": 0},
    )
    envelope = read(e_envelope.outcome(row))
    assert (envelope["code"], envelope["success"]) == (0, True)
    assert envelope["data"] == {
        "is_match": False, "score": 0.0, "msg": "success", "requestId": "r-1"
    }
    other = replace(row, error_code="picture_corrupt", error={"code": "picture_corrupt",
                    "message": "Damaged.", "picture": 0})
    assert read(e_envelope.outcome(other))["code"] == 9902


ERRORS = [*every_error(), errors.BadQuality]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: str(kind.__name__))
def test_every_error_has_a_code_and_tells_no_secrets(kind: type[FaceError]) -> None:
    reply = e_envelope.refusal("A1", kind(SECRETIVE), "r-1", 5.0)
    envelope = read(reply)
    assert envelope["code"] in {*e_envelope.CODES.values(), 9999}
    assert envelope["data"]["msg"]
    if envelope["code"] == 9999 and kind.code not in error_messages.SHOWN_MESSAGES:
        assert "hunter2" not in envelope["data"]["msg"]
    away = issubclass(kind, (errors.Unavailable, errors.MediaCorrupt))
    assert reply.status == (503 if away else 200)
    later = issubclass(kind, errors.LimitReached) or reply.status == 503
    assert ("Retry-After" in reply.headers) is later


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: str(kind.__name__))
def test_every_failed_job_has_a_code(kind: type[FaceError]) -> None:
    row = replace(
        ROW, state=JobState.FAILED, error_code=kind.code,
        error={"code": kind.code, "message": SECRETIVE, "picture": None},
    )
    reply = e_envelope.outcome(row)
    assert reply.status == 200
    assert read(reply)["success"] is False
    if read(reply)["code"] == 9999 and kind.code not in error_messages.SHOWN_MESSAGES:
        assert "hunter2" not in reply.body.decode()


def test_an_unexpected_exception_is_internal() -> None:
    envelope = read(e_envelope.refusal("", RuntimeError(SECRETIVE), "r-1", 5.0))
    assert (envelope["code"], envelope["data"]["msg"]) == (9999, "Internal error.")


@pytest.mark.parametrize(("pictures", "named"), [(1, False), (2, True)])
def test_one_of_two_pictures_is_named(pictures: int, named: bool) -> None:
    row = replace(
        ROW, state=JobState.FAILED, media=("k",) * pictures, error_code="no_face",
        error={"code": "no_face", "message": "No face.", "picture": 0},
    )
    message = read(e_envelope.outcome(row))["data"]["msg"]
    assert message == ("image1: No face." if named else "No face.")


def test_a_cancelled_row_without_words() -> None:
    row = replace(ROW, state=JobState.CANCELLED, error_code="job_cancelled", error=None)
    envelope = read(e_envelope.outcome(row))
    assert (envelope["code"], envelope["data"]["msg"]) == (9999, "The job was cancelled.")
