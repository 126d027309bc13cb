"""Dialects a, b and d show one tenant the same gallery."""

from __future__ import annotations

import pytest

from tests.contract_clients import ApidClient, SearchClient, checked
from tests.group_client import FaceGroupClient
from tests.stack import Stack


class Tongues:
    """One application, spoken to through the documents a, b and d."""

    def __init__(self, stack: Stack) -> None:
        self.a = ApidClient(stack)
        self.b = FaceGroupClient(stack, self.a.credentials)
        self.d = SearchClient(stack, self.a.credentials)

    def match(self, fid: int, picture: str) -> object:
        """The answer of document a to a picture and a face: true, false, or its code when the
        face is gone."""
        answer = checked(self.a.call("POST", "match", Fid=fid, Fimg=picture))
        return answer["match"] if answer["msg_code"] == 1 else answer["msg_code"]


@pytest.fixture
def one(stack: Stack) -> Tongues:
    return Tongues(stack)


def test_added_by_d_deleted_by_b(one: Tongues, obama: str, biden: str) -> None:
    person = one.d.add(obama, name="Barack")[0]["person_id"]
    (face,) = one.b.ask("GET", "/api/faces")["face"]
    fid, token = face["id"], face["faceToken"]
    assert face["name"] == "Barack"
    assert one.b.found(obama, "default") == [token]
    assert one.a.faces()[0]["Fid"] == fid
    assert (one.match(fid, obama), one.match(fid, biden)) == (True, False)
    one.b.ask("DELETE", f"/api/faces/{token}")
    assert one.b.found(obama, "default") == []
    assert one.d.search(obama) == []
    assert one.d.status("delface", person_id=person) == "PERSON_ID_NOT_EXIST"
    assert one.match(fid, obama) == 7
    assert one.a.faces() == []


def test_added_by_b_deleted_by_a(one: Tongues, obama: str) -> None:
    one.b.add_group("staff")
    made = one.b.enrol(obama, "staff", name="Barack")
    assert [hit["name"] for hit in one.d.search(obama, facedb="staff")] == ["Barack"]
    assert [hit["name"] for hit in one.d.search(obama)] == ["Barack"]
    assert one.d.search(obama, facedb="default") == []
    assert one.match(made["id"], obama) is True
    assert checked(one.a.call("DELETE", "face", Fid=made["id"]))["msg_code"] == 1
    assert one.b.found(obama, "staff") == []
    assert one.b.refused("GET", f"/api/faces/faceToken/{made['faceToken']}")[0] == 104903
    assert one.b.refused("GET", f"/api/faces/image/{made['imageId']}")[0] == 104904
    assert one.d.search(obama) == []


def test_added_by_a_deleted_by_d(one: Tongues, obama: str, biden: str) -> None:
    fid = one.a.enrol(obama, "Barack")
    kept = one.a.enrol(biden, "Joe")
    listed = {face["id"]: face["faceToken"] for face in one.b.ask("GET", "/api/faces")["face"]}
    assert set(listed) == {fid, kept}
    one.b.add_group("staff")
    path = f"/api/faceGroups/binding/{listed[fid]}"
    one.b.ask("POST", path, {"faceGroupList": ["staff"]})
    (hit,) = one.d.search(obama, facedb="staff")
    assert one.d.status("delface", person_id=hit["person_id"]) == "OK"
    assert one.b.found(obama, "staff") == []
    assert [face["id"] for face in one.b.ask("GET", "/api/faces")["face"]] == [kept]
    assert one.match(fid, obama) == 7
    assert one.match(kept, biden) is True


def test_everything_deleted_by_b(one: Tongues, obama: str, biden: str) -> None:
    one.a.enrol(obama)
    one.d.add(biden)
    one.b.ask("DELETE", "/api/faces/facesLib")
    assert one.a.faces() == []
    assert (one.d.search(obama), one.d.search(biden)) == ([], [])


def test_the_same_picture_through_each(one: Tongues, obama: str) -> None:
    fid = one.a.enrol(obama, "Barack")
    assert one.a.enrol(obama) == fid
    body = {"image": obama}
    assert one.b.refused("POST", "/api/faces", body) == (104204, "FACE_ALREADY_EXIST")
    one.d.add(obama)
    assert one.b.ask("GET", "/api/faces")["totalFaces"] == 1
    assert len(one.b.found(obama, "default")) == 1
