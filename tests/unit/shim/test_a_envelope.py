"""Dialect a's answers, from job rows and records alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from api_shim.dialects.a import envelope as a_envelope
from api_shim.requests import Reply
from pipeline import errors
from pipeline.errors import FaceError
from pipeline.gallery.records import ListedFace
from pipeline.types import JsonObject
from tests.unit.shim.rows import SECRETIVE, cancelled, done, every_error, failed

KNOWN = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 99}


def read(reply: Reply) -> JsonObject:
    found: JsonObject = msgspec.json.decode(reply.body)
    return found


def test_rows_of_a_location_are_top_right_bottom_left() -> None:
    faces = [{"box": box} for box in ([10.4, 20.6, 50.5, 80.0], [-5.0, -7.0, 300.0, 12.0])]
    row = done("locate", {"pictures": [{"width": 200, "height": 100, "faces": faces}]})
    assert read(a_envelope.outcome(row)) == {
        "msg_code": 1, "location": [[21, 50, 80, 10], [0, 200, 12, 0]]
    }


@pytest.mark.parametrize(
    ("distance", "threshold", "match"),
    [(0.0, 0.6, True), (0.6, 0.6, False), (0.65, 0.7, True), (0.0, 0.0, False)],
)
def test_a_match_is_a_distance_below_the_threshold(
    distance: float, threshold: float, match: bool
) -> None:
    row = done("match", {"distance": distance}, threshold=threshold)
    assert read(a_envelope.outcome(row)) == {"msg_code": 1, "match": match}


def test_similarities() -> None:
    row = done("similarity", {"confidences": [0.25, 1.0], "cosines": [0.1, 1.0]})
    assert read(a_envelope.outcome(row)) == {"msg_code": 1, "similarity": [0.25, 1.0]}


@pytest.mark.parametrize(
    ("operation", "result"),
    [
        ("enrol", {"created": False, "faces": [{"id": 20, "name": "name", "person_id": "x"}]}),
        ("replace", {"face": {"id": 20, "name": "name", "person_id": "x"}}),
    ],
)
def test_a_face(operation: str, result: JsonObject) -> None:
    expected = {"msg_code": 1, "Fid": 20, "Fname": "name"}
    assert read(a_envelope.outcome(done(operation, result))) == expected
    record: Any = SimpleNamespace(id=20, name="name")
    assert read(a_envelope.face(record)) == expected


@pytest.mark.parametrize("portions", [[], [[]], [[1]], [[1, 2], [3]], [[1], [], [2]]])
def test_a_list_in_portions(portions: list[list[int]]) -> None:
    listed = [[ListedFace(n, "i", "t", "d", f"n{n}\"", "g") for n in part] for part in portions]
    numbers = [n for part in portions for n in part]
    assert read(a_envelope.faces(listed, 7)) == {
        "msg_code": 1, "faces": [{"Fid": n, "Fname": f"n{n}\"", "Apid": 7} for n in numbers]
    }


@pytest.mark.parametrize("kind", every_error(), ids=lambda kind: str(kind.__name__))
def test_every_error_has_a_code(kind: type[FaceError]) -> None:
    reply = a_envelope.refusal(kind(SECRETIVE))
    telling = (errors.ChallengeRequired, errors.MediaFull, errors.DatabaseFull)
    explained = {"message"} if kind in telling else set()
    assert set(read(reply)) == {"msg_code", *explained}
    assert read(reply)["msg_code"] in KNOWN
    away = issubclass(kind, (errors.Unavailable, errors.MediaCorrupt))
    assert reply.status == (503 if away else 200)
    later = issubclass(kind, errors.LimitReached) or reply.status == 503
    assert ("Retry-After" in reply.headers) is later
    job = a_envelope.outcome(failed(kind))
    assert (job.status, read(job)) == (200, read(reply))


def test_what_is_nobodys_error_is_internal() -> None:
    assert read(a_envelope.refusal(RuntimeError(SECRETIVE))) == {"msg_code": 99}
    assert read(a_envelope.outcome(cancelled())) == {"msg_code": 99}
