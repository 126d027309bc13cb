"""Document a: every code of its table, and those that it lacks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.a_calls import CALLS, WITH_A_FACE, WITH_A_PICTURE, call_of, send, with_pictures
from tests.contract_clients import ApidClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.stack import Stack

pytestmark = ONE_DATABASE

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def client(stack: Stack) -> ApidClient:
    """An application of its own for each test."""
    return ApidClient(stack)


@pytest.fixture(scope="module")
def refused(stack: Stack) -> ApidClient:
    """An application for calls that change nothing."""
    return ApidClient(stack)


@pytest.mark.parametrize("name", CALLS)
def test_2_wrong_key(refused: ApidClient, name: str) -> None:
    for wrong in (refused.credentials.kvalue[:-1], "x", refused.credentials.app_secret):
        assert send(refused, call_of(name, Kvalue=wrong)) == 2


@pytest.mark.parametrize("name", CALLS)
def test_3_no_such_application(refused: ApidClient, name: str) -> None:
    for unknown in (0, -1, 1, refused.credentials.apid + 10**9):
        assert send(refused, call_of(name, Apid=unknown)) == 3


def test_3_a_disabled_application(stack: Stack, client: ApidClient) -> None:
    stack.tenants.set_disabled(client.credentials.tenant_id, True)
    assert client.code("GET", "face") == 3


@pytest.mark.parametrize("name", WITH_A_PICTURE)
def test_4_no_picture(client: ApidClient, obama: str, biden: str, name: str) -> None:
    face = client.enrol(biden)
    fields: Json = {"Fid": face} if name in WITH_A_FACE else {}
    if name == "similarity":
        fields["Fimg1"] = obama
    raw = (Path(__file__).read_bytes()[:2000], b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
    for wrong in ("!!!!", "a", "aGk=aGk=", *map(base64_of, raw)):
        assert send(client, with_pictures(name, wrong, **fields)) == 4
    half = obama[: len(obama) // 8 * 4]
    assert send(client, with_pictures(name, half, **fields)) == 4
    assert len(client.faces()) == 1


def test_4_too_many_pixels_together(refused: ApidClient) -> None:
    wide = np.zeros((6000, 6000, 3), np.uint8)
    picture = base64_of(cv2.imencode(".png", wide)[1].tobytes())
    fields = dict.fromkeys(("Fimg1", "Fimg2", "Fimg3"), picture)
    assert refused.code("POST", "similarity", **fields) == 4


@pytest.mark.parametrize("name", WITH_A_PICTURE)
def test_5_no_face(client: ApidClient, obama: str, nobody: str, name: str) -> None:
    fields: Json = {"Fid": client.enrol(obama)} if name in WITH_A_FACE else {}
    if name == "similarity":
        fields["Fimg1"] = obama
    assert send(client, with_pictures(name, nobody, **fields)) == 5


@pytest.mark.parametrize("name", ["enrol", "update", "similarity", "match"])
def test_6_several_faces(client: ApidClient, obama: str, two_people: str, name: str) -> None:
    fields: Json = {"Fid": client.enrol(obama)} if name in WITH_A_FACE else {}
    if name == "similarity":
        fields["Fimg1"] = obama
    assert send(client, with_pictures(name, two_people, **fields)) == 6


@pytest.mark.parametrize("name", WITH_A_FACE)
def test_7_no_such_face(client: ApidClient, obama: str, name: str) -> None:
    gone = client.enrol(obama)
    checked(client.call("DELETE", "face", Fid=gone))
    for unknown in (gone, 0, -1, 10**17):
        assert send(client, call_of(name, Fid=unknown)) == 7


@pytest.mark.parametrize("name", CALLS)
def test_9_parameters(refused: ApidClient, name: str) -> None:
    method, path, fields = call_of(name)
    required = {"Apid", "Kvalue", *fields}.difference({"Fname"})
    if name == "update":
        required.remove("Fimg")
    for missing in required:
        for empty in (None, ""):
            assert refused.code(method, path, **{**fields, missing: empty}) == 9
    for number in {"Apid", "Fid"} & {"Apid", *fields}:
        for wrong in ("x", "1.5", "", "1" * 19):
            assert refused.code(method, path, **{**fields, number: wrong}) == 9


@pytest.mark.parametrize("threshold", ["-0.01", "1.01", "nan", "x", "0,5"])
def test_9_threshold(refused: ApidClient, threshold: str) -> None:
    assert send(refused, call_of("match", Threshold=threshold)) == 9


@pytest.mark.parametrize("numbers", [(), (1,), (1, 3), (2, 3), (0, 1, 2, 4)])
def test_9_numbers_with_a_gap(refused: ApidClient, numbers: tuple[int, ...]) -> None:
    fields = {f"Fimg{number}": "aGk=" for number in numbers}
    assert refused.code("POST", "similarity", **fields) == 9


@pytest.mark.parametrize(
    "options",
    [
        {}, {"data": b"{"}, {"json": []}, {"data": b"\xff\xfe"}, {"params": {"Apid": "x"}},
        {"data": b"Apid=1&Apid=2", "headers": {"content-type": FORM}},
    ],
)
def test_9_no_parameters_at_all(refused: ApidClient, options: Json) -> None:
    assert checked(refused.send("GET", "/api/face", **options)) == {"msg_code": 9}


def test_10_overloaded(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], obama: str
) -> None:
    with Stack(tmp_path, edge_models, max_waiting=1, hold_s=0.1, **new_database) as stack:
        client = ApidClient(stack.start_shim())
        assert client.call("POST", "detection", Fimg=obama).status_code == 202
        response = client.call("POST", "detection", Fimg=obama)
        assert checked(response, 503) == {"msg_code": 10}
        assert int(response.headers["retry-after"]) > 0


def test_99_a_cancelled_job(idle_stack: Stack, obama: str) -> None:
    client = ApidClient(idle_stack)
    job = checked(client.call("POST", "detection", Fimg=obama), 202)["job_id"]
    assert client.poll(job, "DELETE").status_code == 200
    assert checked(client.poll(job)) == {"msg_code": 99}


def test_checks_come_in_their_order(client: ApidClient, obama: str) -> None:
    face = client.enrol(obama)
    fields: Json = {
        "Apid": "x", "Kvalue": "x", "Fid": 10**17, "Fimg": "!", "Threshold": "0.5",
    }
    right: Json = {
        "Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue, "Fid": face,
        "Fimg": obama,
    }
    seen = []
    steps: list[Json] = [{}, {"Apid": 1}, *({name: value} for name, value in right.items())]
    for step in steps:
        fields.update(step)
        answer = checked(client.send("GET", "/api/match", data=fields))
        seen.append(answer["msg_code"])
    assert seen == [9, 3, 2, 7, 4, 1]
