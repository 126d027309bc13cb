"""Dialect d's answers, from job rows alone."""

from __future__ import annotations

import msgspec
import pytest

from api_shim.dialects.d import envelope as d_envelope
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.types import JsonObject
from tests.unit.shim.rows import SECRETIVE, cancelled, done, every_error, failed

HTTP: dict[type[FaceError], int] = {
    errors.BadCredentials: 401, errors.CredentialExpired: 401, errors.NotPermitted: 403,
}


def read(reply: Reply) -> JsonObject:
    found: JsonObject = msgspec.json.decode(reply.body)
    return found


def hit(confidence: float) -> JsonObject:
    return {"confidence": confidence, "name": "N", "person_id": "p", "cosine": 0.0, "id": 1}


def test_added_people() -> None:
    faces = [{"name": f"ID{n}", "person_id": f"p{n}", "id": n} for n in (1, 2)]
    assert read(d_envelope.outcome(done("enrol", {"faces": faces}))) == {
        "status": "OK",
        "message": [
            {"name": "ID1", "person_id": "p1"}, {"name": "ID2", "person_id": "p2"}
        ],
    }


def test_faces_that_were_left_out() -> None:
    faces = [{"name": "ID1", "person_id": "p1", "id": 1}]
    answer = read(d_envelope.outcome(done("enrol", {"faces": faces, "left_out": 7})))
    assert answer == {
        "status": "OK", "message": [{"name": "ID1", "person_id": "p1"}], "left_out": 7
    }


def test_more_hits_than_are_listed() -> None:
    for count, similar, more in ((50, 50, None), (51, 50, True)):
        answer = read(d_envelope.outcome(done("search", {"hits": [hit(0.9)] * count})))
        assert (len(answer["message"]), answer.get("more")) == (similar, more)
    # What is not similar does not count.
    hits = [hit(0.9)] * 50 + [hit(0.5)]
    assert "more" not in read(d_envelope.outcome(done("search", {"hits": hits})))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, 100), (0.99999995, 100), (0.9999, 99), (0.959, 95), (0.81, 81), (0.95, 95)],
)
def test_a_confidence_is_rounded_down(value: float, shown: int) -> None:
    message = read(d_envelope.outcome(done("search", {"hits": [hit(value)]})))["message"]
    assert message == [{"confidence": shown, "name": "N", "person_id": "p"}]


def test_what_is_above_80_is_listed() -> None:
    hits = [hit(value) for value in (1.0, 0.9, 0.81, 0.8099, 0.8, 0.1)]
    shown = read(d_envelope.outcome(done("search", {"hits": hits})))
    assert [found["confidence"] for found in shown["message"]] == [100, 90, 81]


@pytest.mark.parametrize("hits", [[], [hit(0.8)], [hit(0.0), hit(0.0)]])
def test_nobody_is_similar(hits: list[JsonObject]) -> None:
    assert read(d_envelope.outcome(done("search", {"hits": hits}))) == {
        "status": "NO_SIMILAR_FACE", "message": "no similar face in db"
    }


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: str(kind.__name__))
def test_every_error_has_a_status_and_tells_no_secrets(kind: type[FaceError]) -> None:
    reply = d_envelope.refusal(kind(SECRETIVE))
    status = read(reply)["status"]
    words = {each.name: each.words for each in d_envelope.EVERY_STATUS}
    assert status in words.keys() - {"OK", "NO_SIMILAR_FACE"}
    away = issubclass(kind, (errors.Unavailable, errors.MediaCorrupt))
    limited = issubclass(kind, errors.LimitReached)
    assert reply.status == HTTP.get(kind, 503 if away else 429 if limited else 200)
    assert ("Retry-After" in reply.headers) is (away or limited)
    told = status == "INVALID_REQUEST" or limited
    assert ("hunter2" in read(reply)["message"]) is told
    job = d_envelope.outcome(failed(kind))
    assert (job.status, read(job)["status"]) == (200, status)
    assert read(job)["message"] == words[status]


def test_what_is_nobodys_error_is_internal() -> None:
    expected = {"status": "FAIL", "message": "please try again later"}
    assert read(d_envelope.refusal(RuntimeError(SECRETIVE))) == expected
    assert read(d_envelope.outcome(cancelled())) == expected
