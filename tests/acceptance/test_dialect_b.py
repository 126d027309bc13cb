"""Document b: its samples with a real picture, its fields, whose faces they are."""

from __future__ import annotations

import base64
import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
import requests
from sqlalchemy import update

from pipeline.database.schema import images
from pipeline.types import Picture
from tests.face2_client import Json
from tests.group_client import FaceGroupClient, Sent, failed, png, succeeded
from tests.stack import Stack
from tests.unit.shim.b_caller import UNSAFE_IDS

RECT = {"left", "top", "right", "bottom"}
DETECTED = {*RECT, "roll", "yaw", "pitch", "blurness"}
GROUP = {"groupId": "1", "groupName": "员工", "groupScore": 80, "groupType": "白名单"}


@pytest.fixture
def client(stack: Stack) -> FaceGroupClient:
    """An application of its own for each test."""
    return FaceGroupClient(stack)


def pixels_of(file: bytes) -> Picture:
    """Pixels (height, width, 3)."""
    return np.asarray(cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def is_a_box(found: Json, width: int, height: int) -> None:
    assert all(type(found[side]) is int for side in RECT)
    assert 0 <= found["left"] < found["right"] <= width
    assert 0 <= found["top"] < found["bottom"] <= height


def is_detected(found: Json, *more: str) -> None:
    """3.1's and 3.2's detection result, with its types."""
    assert set(found) == {*DETECTED, *more}
    is_a_box(found, 10_000, 10_000)
    assert all(type(found[angle]) is int for angle in ("roll", "yaw", "pitch"))
    assert all(abs(found[angle]) < 45 for angle in ("roll", "yaw", "pitch"))
    assert type(found["blurness"]) is float
    assert 0 < found["blurness"] <= 100


# The samples of the document ------------------------------------------------------


def test_1_1_enrolment(client: FaceGroupClient, obama: str) -> None:
    sample = {
        "image": png(obama), "description": "8.png", "imageMd5": "", "name": "", "gender": ""
    }
    data = client.ask("POST", "/api/faces", sample)
    assert set(data) == {"id", "imageId", "faceToken", "rect"}
    assert type(data["id"]) is int
    file = base64.b64decode(obama)
    digest = hashlib.md5(file, usedforsecurity=False).digest()
    assert data["imageId"] == base64.urlsafe_b64encode(digest).decode()
    assert len(data["imageId"]) == len(data["faceToken"]) == 24
    assert set(data["rect"]) == RECT
    height, width = pixels_of(file).shape[:2]
    is_a_box(data["rect"], width, height)


def test_1_2_to_1_6_one_face_from_all_sides(client: FaceGroupClient, obama: str) -> None:
    made = client.enrol(obama, "default", description="3_best.jpg", name="张三", gender="male")
    told = {"description": "3_best.jpg", "name": "张三", "gender": "male"}
    listed = client.ask("GET", "/api/faces?pageOffset=0&pageSize=10")
    names = {key: made[key] for key in ("id", "imageId", "faceToken")}
    assert listed == {
        "totalFaces": 1, "face": [{**names, **told, "imgeld": made["imageId"]}]
    }
    one = client.ask("GET", f"/api/faces/faceToken/{made['faceToken']}")
    crop = base64.b64decode(one.pop("image"))
    assert one == {
        "imageId": made["imageId"], **told, "rect": made["rect"],
        "faceGroupList": [{"groupId": "default"}],
    }
    assert min(pixels_of(crop).shape[:2]) > 50
    image = client.ask("GET", f"/api/faces/image/{made['imageId']}")
    assert image == {"image": obama, "faceToken": [made["faceToken"]]}


def test_1_3_a_face_goes_and_its_picture_stays(client: FaceGroupClient, obama: str) -> None:
    made = client.enrol(obama, "default", description="3.png")
    assert client.ask("DELETE", f"/api/faces/{made['faceToken']}") == {}
    (listed,) = client.ask("GET", "/api/faces?pageOffset=0&pageSize=10")["face"]
    assert (listed["faceToken"], listed["description"]) == ("", "3.png")
    assert client.ask("GET", f"/api/faces/image/{made['imageId']}")["faceToken"] == []
    assert client.found(obama, "default") == []
    # Its imageId is still there.
    again = {"image": png(obama)}
    assert client.refused("POST", "/api/faces", again) == (104204, "FACE_ALREADY_EXIST")


def test_1_4_a_picture_goes_with_its_face(client: FaceGroupClient, obama: str) -> None:
    made = client.enrol(obama, "default")
    assert client.ask("DELETE", f"/api/faces/image/{made['imageId']}") == {}
    assert client.ask("GET", "/api/faces")["totalFaces"] == 0
    assert client.found(obama, "default") == []
    assert client.enrol(obama)["faceToken"] != made["faceToken"]


def test_1_6_everything_goes(client: FaceGroupClient, obama: str, biden: str) -> None:
    client.add_group("1")
    for picture in (obama, biden):
        client.enrol(picture, "1", "default")
    assert client.ask("DELETE", "/api/faces/facesLib") == {}
    assert client.ask("GET", "/api/faces") == {"totalFaces": 0, "face": []}
    assert client.found(obama, "1", "default") == []
    groups = client.ask("GET", "/api/faceGroups")["faceGroupList"]
    assert [group["groupFaces"] for group in groups] == [0, 0]


def test_2_groups_in_the_order_of_the_document(client: FaceGroupClient, obama: str) -> None:
    assert client.ask("POST", "/api/faceGroups", GROUP) == {}
    made = client.enrol(obama, "default", "1", gender="female")
    counted = {**GROUP, "groupFaces": 1}
    usual = {"groupId": "default", "groupName": "", "groupScore": 80, "groupType": ""}
    listed = client.ask("GET", "/api/faceGroups")["faceGroupList"]
    assert listed == [{**usual, "groupFaces": 1}, counted]
    faces = client.ask("GET", "/api/faceGroups/default?pageOffset=0&pageSize=10")
    assert faces == {
        "totalFaces": 1,
        "face": [
            {
                "imgId": made["imageId"], "imageId": made["imageId"],
                "faceToken": made["faceToken"], "description": "", "name": "",
                "gender": "female",
            }
        ],
    }
    named = {"faceGroupList": ["default", "123", "456"]}
    unknown = [{"groupId": key, "errorMsg": "GROUP_ID_NOT_EXIST"} for key in ("123", "456")]
    report = {"totalCnt": 3, "successCnt": 1, "failCnt": 2, "failInfo": unknown}
    for method, path in (("POST", "binding"), ("DELETE", "unbind")):
        rebound = client.ask(method, f"/api/faceGroups/{path}/{made['faceToken']}", named)
        assert rebound == report
    change = {"groupId": "1", "groupName": "1222", "groupScore": 80, "groupType": "1"}
    assert client.ask("PUT", "/api/faceGroups", change) == {}
    assert client.ask("DELETE", "/api/faceGroups/1", {"deleteAllFace": 4}) == {}
    assert client.ask("GET", "/api/faces")["totalFaces"] == 0
    assert len(client.ask("GET", "/api/faceGroups")["faceGroupList"]) == 1


def test_3_1_comparison(
    client: FaceGroupClient, photos: Path, obama: str, biden: str
) -> None:
    scores = {}
    pairs: dict[str, Sent] = {"same": obama, "alike": photos / "obama-1080p.jpg", "other": biden}
    for name, other in pairs.items():
        sample = {"image1": png(obama), "image2": png(other), "livenessEnabled": False}
        data = client.ask("POST", "/api/face/compare", sample)
        assert set(data) == {"compareScore", "detectionResult1", "detectionResult2"}
        assert type(data["compareScore"]) is float
        is_detected(data["detectionResult1"], "blurriness")
        is_detected(data["detectionResult2"])
        scores[name] = data["compareScore"]
    assert scores["same"] == 100 > scores["alike"] > 60 > scores["other"] >= 0


def test_3_2_search(client: FaceGroupClient, photos: Path, obama: str, biden: str) -> None:
    for key in ("group1", "group2"):
        client.add_group(key, score=70)
    made = client.enrol(obama, "group1", "default", description="3.png")
    client.enrol(biden, "group2")
    sample = {
        "image": png(photos / "obama-1080p.jpg"), "group": ["group1", "group2"], "topN": 5,
        "livenessEnabled": False, "featureUpload": False,
    }
    data = client.ask("POST", "/api/face/search", sample)
    assert list(data) == ["detectionResult", "top1", "top2", "top3", "top4", "top5"]
    is_detected(data["detectionResult"], "quality")
    assert type(data["detectionResult"]["quality"]) is float
    assert 0 < data["detectionResult"]["quality"] <= 1
    best = data["top1"]
    crop = client.ask("GET", f"/api/faces/faceToken/{made['faceToken']}")["image"]
    assert 70 < best.pop("searchScore") <= 100
    assert best == {
        "group": [{"groupId": "default"}, {"groupId": "group1"}],
        "faceToken": made["faceToken"], "description": "3.png", "imageUrl": crop,
    }
    assert [data[f"top{place}"] for place in range(2, 6)] == [{}] * 4


# Promises of the tables ----------------------------------------------------------


def test_a_feature_on_request(client: FaceGroupClient, obama: str) -> None:
    made = client.enrol(obama, "default")
    data = client.search(obama, "default", featureUpload=True)
    feature = np.frombuffer(base64.b64decode(data["detectionResult"]["feature"]), "<f4")
    assert feature.shape == (512,)
    assert abs(float(np.linalg.norm(feature)) - 1) < 1e-5
    assert data["top1"]["faceToken"] == made["faceToken"]
    assert data["top1"]["searchScore"] > 99.9


def test_a_group_decides_who_is_found(client: FaceGroupClient, obama: str, biden: str) -> None:
    strict, easy = client.add_group("strict", 100), client.add_group("easy", 0)
    one = client.enrol(obama, strict, easy)["faceToken"]
    other = client.enrol(biden, easy)["faceToken"]
    assert client.found(obama, easy) == [one, other]
    assert client.found(obama, easy, topN=1) == [one]
    assert client.found(biden, strict) == []
    assert client.found(obama, "default") == []
    client.ask("PUT", "/api/faceGroups", {"groupId": easy, "groupScore": 80})
    assert client.found(obama, easy, "default") == [one]


def test_hits_stand_best_first(client: FaceGroupClient, photos: Path) -> None:
    group = client.add_group("all", 0)
    people = sorted((photos / "Colin_Powell").iterdir())[:6]
    for picture in people:
        client.enrol(picture, group)
    data = client.search(people[0], group)
    scores = [data[f"top{place}"]["searchScore"] for place in range(1, 6)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 99.9


def test_the_callers_own_image_id(client: FaceGroupClient, obama: str) -> None:
    own = client.ask("POST", "/api/faces", {"image": png(obama), "imageMd5": "own:id 1"})
    assert own["imageId"] == "own:id 1"
    assert client.ask("GET", "/api/faces/image/own%3Aid%201")["faceToken"] == [own["faceToken"]]
    same = {"image": png(obama), "imageMd5": "own:id 1"}
    assert client.refused("POST", "/api/faces", same)[0] == 104204


def test_no_new_id_can_wipe_the_library(client: FaceGroupClient, obama: str, biden: str) -> None:
    """Clients that resolve dot segments would send the path of "../facesLib" as that of 1.6."""
    client.enrol(biden)
    for key in UNSAFE_IDS:
        picture = {"image": png(obama), "imageMd5": key}
        assert client.refused("POST", "/api/faces", picture)[0] == 104900
        group = {"groupId": key, "groupName": "name"}
        assert client.refused("POST", "/api/faceGroups", group)[0] == 104900
    assert client.ask("GET", "/api/faces")["totalFaces"] == 1
    assert len(client.ask("GET", "/api/faceGroups")["faceGroupList"]) == 1


@pytest.mark.parametrize("name", ["../facesLib", "x//y/"])
def test_a_picture_from_before_that_rule_stays_reachable(
    client: FaceGroupClient, stack: Stack, obama: str, name: str
) -> None:
    made = client.enrol(obama, imageMd5="own id")
    with stack.cluster.engine.begin() as connection:
        connection.execute(
            update(images).where(images.c.image_id == "own id").values(image_id=name)
        )
    path = f"/api/faces/image/{quote(name, safe='')}"
    assert client.ask("GET", path)["faceToken"] == [made["faceToken"]]
    client.ask("DELETE", path)
    assert client.ask("GET", "/api/faces")["totalFaces"] == 0


def test_numbers_and_flags_as_texts(client: FaceGroupClient, obama: str) -> None:
    client.ask("POST", "/api/faceGroups", {
        "groupId": "staff", "groupName": "Staff", "groupScore": "75",
    })
    client.enrol(obama, "staff")
    searched = client.search(
        obama, "staff", topN="1", livenessEnabled="true", featureUpload="false"
    )
    assert "livenessScore" in searched["detectionResult"]
    assert "feature" not in searched["detectionResult"]
    assert searched["top1"]
    page = client.ask("GET", "/api/faceGroups/staff?pageOffset=0&pageSize=10")
    assert page["totalFaces"] == 1
    client.ask("DELETE", "/api/faceGroups/staff", {"deleteAllFace": "1"})


def test_four_ways_to_delete_a_group(client: FaceGroupClient, photos: Path) -> None:
    people = sorted((photos / "Colin_Powell").iterdir())[:2]
    for way, kept in ((1, 2), (3, 1), (4, 1), (2, 0)):
        client.ask("DELETE", "/api/faces/facesLib")
        group = client.add_group(f"way{way}", 0)
        alone = client.enrol(people[0], group)["faceToken"]
        shared = client.enrol(people[1], group, "default")["faceToken"]
        assert set(client.found(people[0], group)) == {alone, shared}
        client.ask("DELETE", f"/api/faceGroups/{group}", {"deleteAllFace": way})
        listed = client.ask("GET", "/api/faces")["face"]
        assert len([face for face in listed if face["faceToken"]]) == kept
        in_default = client.ask("GET", "/api/faceGroups/default?pageOffset=0&pageSize=9")
        assert in_default["totalFaces"] == (0 if way == 2 else 1)


def test_an_answer_to_be_asked_for_later(client: FaceGroupClient, obama: str) -> None:
    made = client.enrol(obama, "default")
    body = {"image": png(obama), "group": ["default"]}
    accepted = client.call("POST", "/api/face/search", body, Prefer="respond-async")
    assert accepted.status_code == 202
    polled = client.finished(accepted.json()["job_id"])
    assert succeeded(polled)["top1"]["faceToken"] == made["faceToken"]
    assert succeeded(polled)["top1"]["imageUrl"] != ""
    assert client.finished(accepted.json()["job_id"]).content == polled.content
    # A deleted face is not named again.
    client.ask("DELETE", f"/api/faces/{made['faceToken']}")
    assert failed(client.finished(accepted.json()["job_id"]))[0] == 104903


def test_a_repeated_request_is_the_same_job(client: FaceGroupClient, obama: str) -> None:
    body = {"image": png(obama)}
    first, second = (
        client.call("POST", "/api/faces", body, Idempotency_Key="k1") for _ in range(2)
    )
    assert succeeded(first) == succeeded(second)
    assert first.headers["x-job-id"] == second.headers["x-job-id"]
    changed = client.call("POST", "/api/faces", {**body, "name": "x"}, Idempotency_Key="k1")
    assert failed(changed)[0] == 104900


# The owners of faces ---------------------------------------------------------------


def test_two_tenants_never_see_each_other(
    client: FaceGroupClient, stack: Stack, obama: str
) -> None:
    client.add_group("1", 0)
    made = client.enrol(obama, "1", "default")
    other = FaceGroupClient(stack)
    binding = {"faceGroupList": ["default"]}
    calls: list[tuple[str, str, Any, int]] = [
        ("DELETE", f"/api/faces/{made['faceToken']}", None, 104903),
        ("GET", f"/api/faces/faceToken/{made['faceToken']}", None, 104903),
        ("GET", f"/api/faces/image/{made['imageId']}", None, 104904),
        ("DELETE", f"/api/faces/image/{made['imageId']}", None, 104904),
        ("DELETE", "/api/faceGroups/1", {"deleteAllFace": 2}, 104311),
        ("GET", "/api/faceGroups/1?pageOffset=0&pageSize=1", None, 104311),
        ("PUT", "/api/faceGroups", {"groupId": "1"}, 104311),
        ("POST", f"/api/faceGroups/binding/{made['faceToken']}", binding, 104903),
        ("DELETE", f"/api/faceGroups/unbind/{made['faceToken']}", binding, 104903),
        ("POST", "/api/face/search", {"image": png(obama), "group": ["1"]}, 104311),
    ]
    for method, path, body, code in calls:
        assert other.refused(method, path, body)[0] == code
    other.add_group("1", 0)
    assert other.found(obama, "1", "default") == []
    assert other.ask("GET", "/api/faces")["totalFaces"] == 0
    other.ask("DELETE", "/api/faces/facesLib")
    assert client.found(obama, "1") == [made["faceToken"]]
    job = client.call("POST", "/api/face/search", {"image": png(obama), "group": ["1"]},
                      Prefer="respond-async").json()["job_id"]
    client.finished(job)
    assert other.poll(job).status_code == 404


# Twice, and in other clothes ----------------------------------------------------------


def test_one_of_two_at_once_is_enrolled(client: FaceGroupClient, biden: str) -> None:
    def enrol(_: int) -> requests.Response:
        return client.call("POST", "/api/faces", {"image": png(biden)})

    with ThreadPoolExecutor(4) as pool:
        codes = sorted(response.json()["code"] for response in pool.map(enrol, range(4)))
    assert codes == [0, 104204, 104204, 104204]
    assert client.ask("GET", "/api/faces")["totalFaces"] == 1


@pytest.mark.parametrize("format", [".jpg", ".png", ".bmp"])
def test_every_format(client: FaceGroupClient, biden: str, format: str) -> None:  # noqa: A002
    small = cv2.resize(pixels_of(base64.b64decode(biden)), None, fx=0.5, fy=0.5)
    file = cv2.imencode(format, small)[1].tobytes()
    made = client.enrol(file, "default")
    assert client.found(file, "default") == [made["faceToken"]]
    # A head is no part of the picture.
    plain = base64.b64encode(file).decode().rstrip("=")
    body = {"image": plain, "group": ["default"]}
    assert client.ask("POST", "/api/face/search", body)["top1"]["searchScore"] > 99.9


def test_a_turned_picture(client: FaceGroupClient, biden: str) -> None:
    """EXIF says that the top is at the right; boxes are those of the upright picture."""
    upright = pixels_of(base64.b64decode(biden))
    lying = cv2.imencode(".jpg", cv2.rotate(upright, cv2.ROTATE_90_COUNTERCLOCKWISE))[1].tobytes()
    tag = b"Exif\0\0" + struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    turned = lying[:2] + b"\xff\xe1" + struct.pack(">H", len(tag) + 2) + tag + lying[2:]
    straight, made = client.enrol(cv2.imencode(".png", upright)[1].tobytes()), client.enrol(turned)
    for side in RECT:
        assert abs(straight["rect"][side] - made["rect"][side]) <= 5
    one = client.ask("GET", f"/api/faces/faceToken/{made['faceToken']}")
    assert one["rect"] == made["rect"]
