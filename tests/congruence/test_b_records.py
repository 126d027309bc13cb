"""Dialect b on records alone: lists, single faces, groups, on both databases."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine, update

from pipeline.database.schema import collections
from pipeline.gallery.collections import MAX_COLLECTIONS
from pipeline.types import JsonObject
from tests.gallery_factory import TenantGallery
from tests.job_factory import Queue, add_tenant
from tests.unit.shim.b_caller import UNSAFE_IDS, Caller

GROUP = {"groupId": "1", "groupName": "员工", "groupScore": 80, "groupType": "白名单"}


@pytest.fixture
def b(gallery: TenantGallery) -> Caller:
    return Caller(gallery.engine, gallery.media, gallery.tenant)


def texts(**values: object) -> dict[str, object]:
    return {"description": "", "name": "", "gender": "", **values}


# 1: faces ----------------------------------------------------------------------


def test_a_list_has_the_documented_items(b: Caller, gallery: TenantGallery) -> None:
    one = gallery.add("one", description="3.png", name="张三", gender="male")
    two = gallery.add("two")
    assert b.ask("GET", "/api/faces?pageOffset=0&pageSize=10") == {
        "totalFaces": 2,
        "face": [
            {
                "id": one.id, "imgeld": "id-one", "imageId": "id-one",
                "faceToken": one.face_token, "description": "3.png", "name": "张三",
                "gender": "male",
            },
            {
                "id": two.id, "imgeld": "id-two", "imageId": "id-two",
                "faceToken": two.face_token, **texts(),
            },
        ],
    }


def test_pages_count_items(b: Caller, gallery: TenantGallery) -> None:
    ids = [gallery.add(word).id for word in "abcde"]
    for offset, size in ((0, 2), (1, 3), (4, 1000), (5, 1), (10**15, 1)):
        data = b.ask("GET", f"/api/faces?pageOffset={offset}&pageSize={size}")
        assert data["totalFaces"] == 5
        assert [face["id"] for face in data["face"]] == ids[offset : offset + size]
    assert len(b.ask("GET", "/api/faces")["face"]) == 5


@pytest.mark.parametrize("path", ["/api/faces", "/api/faceGroups/default"])
@pytest.mark.parametrize(
    "query",
    [
        "pageOffset=-1&pageSize=1", "pageOffset=0&pageSize=0", "pageOffset=0&pageSize=1001",
        "pageOffset=x&pageSize=1", "pageOffset=0&pageSize=1.5", "pageOffset=&pageSize=1",
        "pageOffset=0&pageSize=1&pageSize=2", "pageOffset=0&pageSize=%FF",
        f"pageOffset={10**15 + 1}&pageSize=1",
    ],
)
def test_wrong_pages(b: Caller, path: str, query: str) -> None:
    code, message = b.refused("GET", f"{path}?{query}")
    assert code == 104900
    assert message.startswith("INVALID_ARGUMENT:")


def test_a_groups_page_must_be_named(b: Caller) -> None:
    for query in ("", "?pageOffset=0", "?pageSize=10"):
        assert b.refused("GET", f"/api/faceGroups/default{query}")[0] == 104900


def test_one_face(b: Caller, gallery: TenantGallery) -> None:
    face = gallery.add("one", description="3.png", name="n", gender="g", collections=("default",))
    assert b.ask("GET", f"/api/faces/faceToken/{face.face_token}") == {
        "imageId": "id-one", "description": "3.png", "name": "n", "gender": "g",
        "rect": {"left": 2, "top": 2, "right": 30, "bottom": 40},
        "faceGroupList": [{"groupId": "default"}],
        "image": base64.b64encode(b"one-0").decode(),
    }


def test_an_original(b: Caller, gallery: TenantGallery) -> None:
    face = gallery.add("one")
    assert b.ask("GET", "/api/faces/image/id-one") == {
        "image": base64.b64encode(b"one").decode(), "faceToken": [face.face_token],
    }


def test_a_deleted_face_leaves_its_picture(b: Caller, gallery: TenantGallery) -> None:
    face = gallery.add("one", description="3.png", name="n", collections=("default",))
    assert b.ask("DELETE", f"/api/faces/{face.face_token}") == {}
    assert b.ask("GET", "/api/faces")["face"] == [
        {
            "id": face.id, "imgeld": "id-one", "imageId": "id-one", "faceToken": "",
            **texts(description="3.png"),
        }
    ]
    assert b.ask("GET", "/api/faces/image/id-one")["faceToken"] == []
    assert b.refused("DELETE", f"/api/faces/{face.face_token}")[0] == 104903
    assert b.ask("GET", "/api/faceGroups")["faceGroupList"][0]["groupFaces"] == 0


def test_a_deleted_picture_takes_its_face_along(b: Caller, gallery: TenantGallery) -> None:
    face = gallery.add("one")
    assert b.ask("DELETE", "/api/faces/image/id-one") == {}
    assert b.ask("GET", "/api/faces") == {"totalFaces": 0, "face": []}
    assert b.refused("GET", f"/api/faces/faceToken/{face.face_token}")[0] == 104903
    assert b.refused("GET", "/api/faces/image/id-one")[0] == 104904
    assert gallery.objects() == set()


def test_everything_deleted(b: Caller, gallery: TenantGallery) -> None:
    gallery.groups.create(gallery.tenant, "1", "One")
    for word in "abc":
        gallery.add(word, collections=("1", "default"))
    assert b.ask("DELETE", "/api/faces/facesLib") == {}
    assert b.ask("GET", "/api/faces") == {"totalFaces": 0, "face": []}
    groups = b.ask("GET", "/api/faceGroups")["faceGroupList"]
    assert [(group["groupId"], group["groupFaces"]) for group in groups] == [
        ("default", 0), ("1", 0)
    ]
    assert gallery.objects() == set()


@pytest.mark.parametrize("name", ["a b", "ä/ö%", "'; --", "..%", *UNSAFE_IDS])
def test_any_image_id_can_be_named(b: Caller, gallery: TenantGallery, name: str) -> None:
    face = gallery.add("one", image_id=name)
    path = f"/api/faces/image/{quote(name, safe='')}"
    assert b.ask("GET", path)["faceToken"] == [face.face_token]
    assert b.ask("DELETE", path) == {}


@pytest.mark.parametrize("odd", ["nobody", "%00", "%0A", "x" * 300, "' or 1=1 --"])
def test_what_does_not_exist(b: Caller, gallery: TenantGallery, odd: str) -> None:
    gallery.add("one")
    for method, path, code in (
        ("DELETE", f"/api/faces/{odd}", 104903),
        ("GET", f"/api/faces/faceToken/{odd}", 104903),
        ("GET", f"/api/faces/image/{odd}", 104904),
        ("DELETE", f"/api/faces/image/{odd}", 104904),
        ("GET", f"/api/faceGroups/{odd}?pageOffset=0&pageSize=1", 104311),
    ):
        names = {
            104903: "FACE_TOKEN_NOT_EXIST", 104904: "IMAGE_ID_NOT_EXIST",
            104311: "GROUP_ID_NOT_EXIST",
        }
        assert b.refused(method, path) == (code, names[code])
    assert b.refused("DELETE", f"/api/faceGroups/{odd}", {"deleteAllFace": 1})[0] == 104311
    binding = {"faceGroupList": ["default"]}
    assert b.refused("POST", f"/api/faceGroups/binding/{odd}", binding)[0] == 104903
    assert b.refused("DELETE", f"/api/faceGroups/unbind/{odd}", binding)[0] == 104903


# 2: groups ---------------------------------------------------------------------


def test_groups_as_documented(b: Caller, gallery: TenantGallery) -> None:
    assert b.ask("POST", "/api/faceGroups", GROUP) == {}
    gallery.add("one", collections=("1",))
    assert b.ask("GET", "/api/faceGroups") == {
        "faceGroupList": [
            {
                "groupId": "default", "groupType": "", "groupScore": 80, "groupName": "",
                "groupFaces": 0,
            },
            {
                "groupId": "1", "groupType": "白名单", "groupScore": 80, "groupName": "员工",
                "groupFaces": 1,
            },
        ]
    }


def test_a_group_has_usual_values(b: Caller) -> None:
    b.ask("POST", "/api/faceGroups", {"groupId": "x" * 32, "groupName": "名" * 42})
    assert b.ask("GET", "/api/faceGroups")["faceGroupList"][1] == {
        "groupId": "x" * 32, "groupType": "", "groupScore": 80, "groupName": "名" * 42,
        "groupFaces": 0,
    }


def test_group_conflicts(b: Caller) -> None:
    b.ask("POST", "/api/faceGroups", GROUP)
    cases: list[tuple[JsonObject, tuple[int, str]]] = [
        ({}, (104310, "GROUP_ID_CONFLICT")),
        ({"groupName": "other"}, (104310, "GROUP_ID_CONFLICT")),
        ({"groupId": "default"}, (104310, "GROUP_ID_CONFLICT")),
        ({"groupId": "2"}, (104300, "GROUP_NAME_CONFLICT")),
    ]
    for changed, refusal in cases:
        assert b.refused("POST", "/api/faceGroups", {**GROUP, **changed}) == refusal


def test_at_most_64_groups(b: Caller) -> None:
    for number in range(MAX_COLLECTIONS - 1):
        b.ask("POST", "/api/faceGroups", {"groupId": f"g{number}", "groupName": f"n{number}"})
    refusal = b.refused("POST", "/api/faceGroups", GROUP)
    assert refusal == (104302, "GROUP_OVER_LIMIT")
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 64


@pytest.mark.parametrize(
    "changed",
    [
        {"groupId": None}, {"groupId": ""}, {"groupId": 1}, {"groupId": "x" * 33},
        {"groupId": "名" * 11}, {"groupId": "a\n"},
        {"groupName": None}, {"groupName": ""}, {"groupName": "n" * 129}, {"groupName": "\0"},
        {"groupName": ["x"]}, {"groupType": "t" * 129}, {"groupType": "名" * 43},
        {"groupType": 5}, {"groupScore": -1}, {"groupScore": 101}, {"groupScore": 80.5},
        {"groupScore": "80.5"}, {"groupScore": "101"}, {"groupScore": "eighty"},
        {"groupScore": True}, {"groupName": "\ud800"},
        *({"groupId": key} for key in UNSAFE_IDS),
    ],
)
def test_wrong_groups(b: Caller, changed: dict[str, Any]) -> None:
    code, message = b.refused("POST", "/api/faceGroups", {**GROUP, **changed})
    assert code == 104900
    assert message.startswith("INVALID_ARGUMENT:")
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 1


def test_a_group_is_changed(b: Caller) -> None:
    b.ask("POST", "/api/faceGroups", GROUP)
    b.ask("POST", "/api/faceGroups", {"groupId": "2", "groupName": "other"})
    change = {"groupId": "1", "groupName": "1222", "groupScore": 0, "groupType": "1"}
    assert b.ask("PUT", "/api/faceGroups", change) == {}
    assert b.ask("PUT", "/api/faceGroups", {"groupId": "1"}) == {}
    assert b.ask("PUT", "/api/faceGroups", {"groupId": "1", "groupType": ""}) == {}
    assert b.ask("GET", "/api/faceGroups")["faceGroupList"][1] == {
        "groupId": "1", "groupType": "", "groupScore": 0, "groupName": "1222", "groupFaces": 0
    }
    for key, name, refusal in (
        ("3", "x", (104311, "GROUP_ID_NOT_EXIST")), ("1", "other", (104300, "GROUP_NAME_CONFLICT"))
    ):
        body = {"groupId": key, "groupName": name}
        assert b.refused("PUT", "/api/faceGroups", body) == refusal
    for wrong in ({}, {"groupId": "1", "groupScore": 101}, {"groupId": "1", "groupName": 1}):
        assert b.refused("PUT", "/api/faceGroups", wrong)[0] == 104900


def test_a_score_may_be_a_text(b: Caller) -> None:
    assert b.ask("POST", "/api/faceGroups", {**GROUP, "groupScore": "75"}) == {}
    assert b.ask("GET", "/api/faceGroups")["faceGroupList"][1]["groupScore"] == 75
    assert b.ask("PUT", "/api/faceGroups", {"groupId": "1", "groupScore": "60"}) == {}
    assert b.ask("GET", "/api/faceGroups")["faceGroupList"][1]["groupScore"] == 60
    assert b.ask("DELETE", "/api/faceGroups/1", {"deleteAllFace": "1"}) == {}
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 1


@pytest.mark.parametrize("key", ["plain", "a b", "ö..", "...", "50%", "a%20b", "名:1", ".hidden"])
def test_other_ids_are_taken(b: Caller, key: str) -> None:
    b.ask("POST", "/api/faceGroups", {**GROUP, "groupId": key})
    page = b.ask("GET", f"/api/faceGroups/{quote(key, safe='')}?pageOffset=0&pageSize=1")
    assert page["totalFaces"] == 0


@pytest.mark.parametrize("key", UNSAFE_IDS)
def test_a_group_from_before_the_rule_stays_reachable(
    b: Caller, gallery: TenantGallery, key: str
) -> None:
    b.ask("POST", "/api/faceGroups", GROUP)
    with gallery.engine.begin() as connection:
        connection.execute(update(collections).where(collections.c.key == "1").values(key=key))
    face = gallery.add("one")
    token, path = face.face_token, f"/api/faceGroups/{quote(key, safe='')}"
    groups = {"faceGroupList": [key]}
    assert b.ask("POST", f"/api/faceGroups/binding/{token}", groups)["failCnt"] == 0
    assert b.ask("PUT", "/api/faceGroups", {"groupId": key, "groupScore": 70}) == {}
    assert b.ask("GET", f"{path}?pageOffset=0&pageSize=1")["totalFaces"] == 1
    assert b.ask("DELETE", f"/api/faceGroups/unbind/{token}", groups)["failCnt"] == 0
    assert b.ask("DELETE", path, {"deleteAllFace": 1}) == {}
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 1


def test_a_groups_faces(b: Caller, gallery: TenantGallery) -> None:
    gallery.groups.create(gallery.tenant, "a b%ö", "Name")
    faces = [gallery.add(word, collections=("a b%ö",)) for word in "abc"]
    gallery.add("d")
    page = b.ask("GET", "/api/faceGroups/a%20b%25%C3%B6?pageOffset=1&pageSize=2")
    assert page == {
        "totalFaces": 3,
        "face": [
            {
                "imgId": f"id-{word}", "imageId": f"id-{word}", "faceToken": face.face_token,
                **texts(),
            }
            for word, face in zip("bc", faces[1:], strict=True)
        ],
    }


def test_binding_reports(b: Caller, gallery: TenantGallery) -> None:
    face = gallery.add("one")
    named = {"faceGroupList": ["123", "default", "456", "default", "x" * 33, "\0"]}
    unknown = [
        {"groupId": key, "errorMsg": "GROUP_ID_NOT_EXIST"}
        for key in ("123", "456", "x" * 33, "\0")
    ]
    report = {"totalCnt": 5, "successCnt": 1, "failCnt": 4, "failInfo": unknown}
    for method, path, groups in (
        ("POST", "binding", ["default"]), ("POST", "binding", ["default"]),
        ("DELETE", "unbind", []), ("DELETE", "unbind", []),
    ):
        assert b.ask(method, f"/api/faceGroups/{path}/{face.face_token}", named) == report
        assert gallery.groups_of(face) == groups


@pytest.mark.parametrize("groups", [None, "default", [], [1], [None], ["x"] * 257, ["\ud800"]])
def test_wrong_bindings(b: Caller, gallery: TenantGallery, groups: Any) -> None:
    face = gallery.add("one")
    for method, path in (("POST", "binding"), ("DELETE", "unbind")):
        refusal = b.refused(
            method, f"/api/faceGroups/{path}/{face.face_token}", {"faceGroupList": groups}
        )
        assert refusal[0] == 104900


@pytest.mark.parametrize(
    ("way", "listed", "bound", "stays"),
    [
        (1, [("own", True), ("shared", True)], ["default"], False),
        (2, [("own", False), ("shared", False)], [], False),
        (3, [("own", False), ("shared", True)], ["default"], True),
        (4, [("shared", True)], ["default"], False),
    ],
)
def test_a_group_goes_in_four_ways(
    b: Caller, gallery: TenantGallery, way: int, listed: list[tuple[str, bool]], bound: list[str],
    stays: bool,
) -> None:
    gallery.groups.create(gallery.tenant, "1", "One")
    gallery.add("own", collections=("1",))
    shared = gallery.add("shared", collections=("1", "default"))
    assert b.ask("DELETE", "/api/faceGroups/1", {"deleteAllFace": way}) == {}
    faces = b.ask("GET", "/api/faces")["face"]
    assert [(face["imageId"][3:], bool(face["faceToken"])) for face in faces] == listed
    assert gallery.groups_of(shared) == bound
    groups = b.ask("GET", "/api/faceGroups")["faceGroupList"]
    assert ("1" in [group["groupId"] for group in groups]) is stays


@pytest.mark.parametrize("body", [{}, {"deleteAllFace": 0}, {"deleteAllFace": 5},
                                  {"deleteAllFace": "5"}, {"deleteAllFace": True}, [], "x", None])
def test_a_wrong_way_deletes_nothing(b: Caller, body: Any) -> None:
    b.ask("POST", "/api/faceGroups", GROUP)
    assert b.refused("DELETE", "/api/faceGroups/1", body)[0] == 104900
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 2


def test_groups_that_are_in_use(b: Caller, gallery: TenantGallery) -> None:
    b.ask("POST", "/api/faceGroups", GROUP)
    job = Queue(gallery.engine, gallery.tenant, gallery.clock).add(params={"collections": ["1"]})
    for way in (1, 2, 4):
        for key in ("default", "1"):
            refusal = b.refused("DELETE", f"/api/faceGroups/{key}", {"deleteAllFace": way})
            assert refusal == (104304, "GROUP_BEUSED")
    assert b.ask("DELETE", "/api/faceGroups/default", {"deleteAllFace": 3}) == {}
    b.records.jobs.cancel(gallery.tenant, job.id)
    assert b.ask("DELETE", "/api/faceGroups/1", {"deleteAllFace": 1}) == {}


# Callers ----------------------------------------------------------------------


def test_two_tenants_never_see_each_other(
    b: Caller, gallery: TenantGallery, engine: Engine
) -> None:
    face = gallery.add("one", collections=("default",))
    b.ask("POST", "/api/faceGroups", GROUP)
    other = Caller(engine, gallery.media, add_tenant(engine, "other"))
    binding = {"faceGroupList": ["default"]}
    for method, path, body, code in (
        ("DELETE", f"/api/faces/{face.face_token}", None, 104903),
        ("GET", f"/api/faces/faceToken/{face.face_token}", None, 104903),
        ("GET", "/api/faces/image/id-one", None, 104904),
        ("DELETE", "/api/faces/image/id-one", None, 104904),
        ("DELETE", "/api/faceGroups/1", {"deleteAllFace": 4}, 104311),
        ("GET", "/api/faceGroups/1?pageOffset=0&pageSize=1", None, 104311),
        ("PUT", "/api/faceGroups", {"groupId": "1"}, 104311),
        ("POST", f"/api/faceGroups/binding/{face.face_token}", binding, 104903),
        ("DELETE", f"/api/faceGroups/unbind/{face.face_token}", binding, 104903),
    ):
        assert other.refused(method, path, body)[0] == code
    assert other.ask("GET", "/api/faces") == {"totalFaces": 0, "face": []}
    other.ask("DELETE", "/api/faces/facesLib")
    other.ask("POST", "/api/faceGroups", GROUP)
    other.ask("DELETE", "/api/faceGroups/default", {"deleteAllFace": 3})
    assert b.ask("GET", f"/api/faces/faceToken/{face.face_token}")["faceGroupList"]
    assert len(b.ask("GET", "/api/faceGroups")["faceGroupList"]) == 2


@pytest.mark.parametrize("key", ["", "wrong", "x" * 5000, "ä\x00"])
def test_without_a_key(b: Caller, key: str) -> None:
    refusal = b.refused("GET", "/api/faces", status=401, **{"x-api-key": key})
    assert refusal == (104906, "UNAUTHORIZED")


def test_the_operator_can_choose_a_tenant(gallery: TenantGallery) -> None:
    gallery.add("one")
    b = Caller(gallery.engine, gallery.media, gallery.tenant, usual_tenant="tenant")
    assert b.ask("GET", "/api/faces", **{"x-api-key": ""})["totalFaces"] == 1
    assert b.refused("GET", "/api/faces", status=401, **{"x-api-key": "wrong"})[0] == 104906
    b.records.tenants.set_disabled(gallery.tenant, True)
    assert b.refused("GET", "/api/faces", status=401, **{"x-api-key": ""})[0] == 104906
    nobody = Caller(gallery.engine, gallery.media, gallery.tenant, usual_tenant="nobody")
    assert nobody.refused("GET", "/api/faces", status=401, **{"x-api-key": ""})[0] == 104906
