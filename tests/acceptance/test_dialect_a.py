"""Document a: its samples, its records and jobs, and whose faces they are."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path

import pytest

from tests.a_calls import WITH_A_FACE, WITH_A_PICTURE, call_of, send
from tests.contract_clients import ApidClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.stack import Stack


@pytest.fixture
def client(stack: Stack) -> ApidClient:
    """An application of its own for each test."""
    return ApidClient(stack)


# The samples of the document ----------------------------------------------------


def test_the_samples_in_their_order(
    client: ApidClient, photos: Path, obama: str, biden: str
) -> None:
    added = checked(client.call("POST", "face", Fimg=obama, Fname="name"))
    face = added["Fid"]
    assert added == {"msg_code": 1, "Fid": face, "Fname": "name"}
    assert type(face) is int
    listed = checked(client.call("GET", "face"))
    apid = client.credentials.apid
    assert listed == {"msg_code": 1, "faces": [{"Fid": face, "Fname": "name", "Apid": apid}]}
    assert checked(client.call("GET", "singleface", Fid=face)) == added
    other = base64_of(photos / "obama-1080p.jpg")
    match = client.call("GET", "match", Fid=face, Fimg=other, Threshold=0.7)
    assert checked(match) == {"msg_code": 1, "match": True}
    assert match.headers["x-job-id"]
    changed = checked(client.call("PUT", "face", Fid=face, Fimg=biden, Fname="new_name"))
    assert changed == {"msg_code": 1, "Fid": face, "Fname": "new_name"}
    gone = checked(client.call("DELETE", "face", Fid=face))
    assert gone == changed
    assert client.faces() == []


def test_similarities_with_the_first_picture(
    client: ApidClient, photos: Path, obama: str, biden: str
) -> None:
    pictures = [obama, obama, base64_of(photos / "obama-1080p.jpg"), biden]
    fields = {f"Fimg{number}": picture for number, picture in enumerate(pictures, 1)}
    answer = checked(client.call("POST", "similarity", **fields))
    assert set(answer) == {"msg_code", "similarity"}
    assert answer["msg_code"] == 1
    same, like, unlike = answer["similarity"]
    assert same == 1 > like > 0.6 > unlike >= 0


def test_a_detection_lists_top_right_bottom_left(client: ApidClient, photos: Path) -> None:
    group = base64_of(photos / "group_t1.jpg")
    answer = checked(client.call("POST", "detection", Fimg=group))
    assert set(answer) == {"msg_code", "location"}
    assert len(answer["location"]) == 6
    for row in answer["location"]:
        top, right, bottom, left = row
        assert all(type(side) is int for side in row)
        assert 0 <= top < bottom
        assert 0 <= left < right
    areas = [(right - left) * (bottom - top) for top, right, bottom, left in answer["location"]]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize(
    ("picture", "threshold", "match"),
    [("obama", None, True), ("obama", "1", True), ("obama", "0", False), ("biden", None, False),
     ("biden", "0.6", False), ("obama", "0.001", True)],
)
def test_a_match_is_below_the_threshold(
    client: ApidClient, photos: Path, obama: str, picture: str, threshold: str | None, match: bool
) -> None:
    face = client.enrol(obama)
    probe = base64_of(photos / f"{picture}.jpg")
    for method in ("GET", "POST"):
        answer = checked(client.call(method, "match", Fid=face, Fimg=probe, Threshold=threshold))
        assert answer == {"msg_code": 1, "match": match}


# Names, pictures and records ------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"Fname": ""}])
def test_a_face_without_a_name_is_named_by_the_time(
    client: ApidClient, obama: str, fields: Json
) -> None:
    before = time.time()
    answer = checked(client.call("POST", "face", Fimg=obama, **fields))
    assert re.fullmatch("[0-9]{17}", answer["Fname"])
    earliest, latest = (time.strftime("%Y%m%d%H%M%S", time.gmtime(at)) for at in (
        before - 2, time.time() + 2))
    assert earliest <= answer["Fname"][:14] <= latest
    assert client.faces()[0]["Fname"] == answer["Fname"]


@pytest.mark.parametrize("name", ["张三 \"é\" \\ 🙂", "x" * 255, " "])
def test_a_name_is_kept_as_it_is(client: ApidClient, obama: str, name: str) -> None:
    face = client.enrol(obama, name)
    assert checked(client.call("GET", "singleface", Fid=face))["Fname"] == name
    assert checked(client.call("PUT", "face", Fid=face, Fname="other"))["Fname"] == "other"
    assert checked(client.call("PUT", "face", Fid=face, Fname=name))["Fname"] == name


def test_the_same_picture_is_one_face_for_each_name(
    client: ApidClient, obama: str, biden: str
) -> None:
    first, again = client.enrol(obama, "first"), client.enrol(obama, "again")
    other = client.enrol(biden, "first")
    assert len({first, again, other}) == 3
    assert client.enrol(obama, "first") == first
    assert client.enrol(obama, "again") == again
    assert client.enrol(obama, "") == first  # a name that the client did not choose
    assert [(face["Fid"], face["Fname"]) for face in client.faces()] == [
        (first, "first"), (again, "again"), (other, "first")
    ]
    assert checked(client.call("DELETE", "face", Fid=first))["Fname"] == "first"
    assert checked(client.call("GET", "match", Fid=again, Fimg=obama))["match"] is True
    assert client.enrol(obama, "again") == again


def test_an_update_changes_what_is_given(client: ApidClient, obama: str, biden: str) -> None:
    face = client.enrol(obama, "name")
    expected = {"msg_code": 1, "Fid": face, "Fname": "name"}
    renamed = client.call("PUT", "face", Fid=face)
    assert checked(renamed) == expected
    assert "x-job-id" not in renamed.headers
    replaced = client.call("PUT", "face", Fid=face, Fimg=biden, Fname="")
    assert checked(replaced) == expected
    assert replaced.headers["x-job-id"]
    for picture, match in ((biden, True), (obama, False)):
        answer = checked(client.call("GET", "match", Fid=face, Fimg=picture))
        assert answer["match"] is match


def test_records_alone_need_no_job(client: ApidClient, obama: str) -> None:
    face = client.enrol(obama)
    for method, path, fields in (
        ("GET", "face", {}), ("GET", "singleface", {"Fid": face}),
        ("PUT", "face", {"Fid": face, "Fname": "x"}), ("DELETE", "face", {"Fid": face}),
    ):
        response = client.call(method, path, **fields)
        assert checked(response)["msg_code"] == 1
        assert "x-job-id" not in response.headers


@pytest.mark.parametrize("way", ["query", "json", "strings"])
def test_parameters_may_stand_elsewhere(client: ApidClient, obama: str, way: str) -> None:
    face = client.enrol(obama, "name")
    credentials = client.credentials
    fields: Json = {"Apid": credentials.apid, "Kvalue": credentials.kvalue, "Fid": face}
    options: Json = {
        "query": {"params": fields}, "json": {"json": fields},
        "strings": {"json": {name: str(value) for name, value in fields.items()}},
    }[way]
    answer = checked(client.send("GET", "/api/singleface", **options))
    assert answer == {"msg_code": 1, "Fid": face, "Fname": "name"}


def test_a_picture_in_json_with_a_head(client: ApidClient, obama: str) -> None:
    credentials = client.credentials
    body = {"Apid": credentials.apid, "Kvalue": credentials.kvalue,
            "Fimg": f"data:image/png;base64,{obama}"}
    answer = checked(client.send("POST", "/api/detection", json=body))
    assert len(answer["location"]) == 1


# Jobs -------------------------------------------------------------------------------


def test_a_job_is_polled_with_apid_and_kvalue(client: ApidClient, obama: str) -> None:
    fields = {"Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue}
    accepted = client.send(
        "POST", "/api/detection", data={**fields, "Fimg": obama},
        headers={"Prefer": "respond-async"},
    )
    job = checked(accepted, 202)["job_id"]
    held = client.finished(job)
    polled = client.send("GET", f"/jobs/{job}", params=fields)
    assert polled.content == held.content
    assert checked(polled)["msg_code"] == 1
    for wrong in ({"Kvalue": "x"}, {"Apid": 1}, {"Apid": "x"}, {"Kvalue": ""}):
        refusal = client.send("GET", f"/jobs/{job}", params={**fields, **wrong})
        assert refusal.status_code == 404


def test_an_idempotency_key_gives_the_first_answer(client: ApidClient, obama: str) -> None:
    fields = {"Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue}
    key = {"Idempotency-Key": uuid.uuid4().hex}
    form = {**fields, "Fimg": obama}
    first, second = (
        client.send("POST", "/api/face", data=form, headers=key) for _ in range(2)
    )
    assert first.headers["x-job-id"] == second.headers["x-job-id"]
    assert first.content == second.content
    other = client.send("POST", "/api/face", data={**form, "Fname": "other"}, headers=key)
    assert checked(other) == {"msg_code": 9}


# On both: congruence/test_gallery_races.py.
@ONE_DATABASE
def test_a_job_does_not_bring_a_deleted_face_back(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], obama: str, biden: str
) -> None:
    with Stack(tmp_path, edge_models, **new_database) as stack:
        client = ApidClient(stack.start())
        face = client.enrol(obama)
        assert stack.worker is not None
        assert stack.worker.stop() == 0
        fields = {"Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue}
        jobs = [
            checked(client.send(
                method, f"/api/{path}", data={**fields, "Fid": face, "Fimg": biden},
                headers={"Prefer": "respond-async"},
            ), 202)["job_id"]
            for method, path in (("PUT", "face"), ("POST", "match"))
        ]
        assert checked(client.call("DELETE", "face", Fid=face))["msg_code"] == 1
        stack.start_worker()
        assert [checked(client.finished(job)) for job in jobs] == [{"msg_code": 7}] * 2
        assert client.faces() == []


# Others -----------------------------------------------------------------------------


def test_another_application_sees_nothing(stack: Stack, client: ApidClient, obama: str) -> None:
    other = ApidClient(stack)
    face = client.enrol(obama, "mine")
    assert other.faces() == []
    for name in WITH_A_FACE:
        assert send(other, call_of(name, Fid=face, **(
            {"Fimg": obama} if name in WITH_A_PICTURE else {}))) == 7
    assert other.enrol(obama, "theirs") != face
    assert [(item["Fid"], item["Fname"]) for item in client.faces()] == [(face, "mine")]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "face", "DELETE, GET, POST, PUT"), ("POST", "singleface", "GET"),
        ("GET", "similarity", "POST"), ("GET", "detection", "POST"), ("GET", "living", "POST"),
        ("PUT", "match", "GET, POST"),
    ],
)
def test_another_method_is_refused(
    client: ApidClient, method: str, path: str, allowed: str
) -> None:
    response = client.send(method, f"/api/{path}")
    assert response.headers["allow"] == allowed
    assert set(checked(response, 405)) == {"code", "message"}
