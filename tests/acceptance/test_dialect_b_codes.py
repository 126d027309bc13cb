"""Document b: every code of its tables and of those that were added."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.databases import ONE_DATABASE
from tests.face2_client import Json
from tests.group_client import FaceGroupClient, Sent, failed, png, succeeded
from tests.stack import Stack

pytestmark = ONE_DATABASE

MB = 1024 * 1024

GROUP = {"groupId": "1", "groupName": "员工", "groupScore": 80, "groupType": "白名单"}


@pytest.fixture
def client(stack: Stack) -> FaceGroupClient:
    """An application of its own for each test."""
    return FaceGroupClient(stack)


@pytest.fixture(scope="module")
def quiet(stack: Stack) -> FaceGroupClient:
    """An application for calls that change nothing."""
    return FaceGroupClient(stack)


def resized(picture: str, width: int, height: int, format: str = ".jpg") -> bytes:  # noqa: A002
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(picture), np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(format, cv2.resize(np.asarray(pixels), (width, height)))[1].tobytes()


def requests_on_pictures(picture: Sent, good: str) -> list[tuple[str, Json]]:
    """Each operation on pictures with one in its last place."""
    pair = {"image1": png(good), "image2": png(picture), "livenessEnabled": False}
    return [
        ("/api/faces", {"image": png(picture)}),
        ("/api/face/compare", pair),
        ("/api/face/search", {"image": png(picture), "group": ["default"]}),
    ]


def test_104200_no_face(quiet: FaceGroupClient, nobody: str, obama: str) -> None:
    for path, body in requests_on_pictures(nobody, obama):
        assert quiet.refused("POST", path, body) == (104200, "FACE_NOT_FOUND")


def test_104201_bad_quality(quiet: FaceGroupClient, test_data: Path) -> None:
    body = {"image": png(test_data / "bad" / "blur.jpg")}
    assert quiet.refused("POST", "/api/faces", body) == (104201, "BAD_QUALITY:blur")
    assert quiet.ask("GET", "/api/faces")["totalFaces"] == 0


def test_104204_the_same_picture(client: FaceGroupClient, obama: str) -> None:
    client.enrol(obama)
    body = {"image": png(obama), "name": "other"}
    assert client.refused("POST", "/api/faces", body) == (104204, "FACE_ALREADY_EXIST")


def test_104300_104302_104310_groups(client: FaceGroupClient) -> None:
    client.ask("POST", "/api/faceGroups", GROUP)
    same, named = GROUP, {**GROUP, "groupId": "2"}
    assert client.refused("POST", "/api/faceGroups", same) == (104310, "GROUP_ID_CONFLICT")
    assert client.refused("POST", "/api/faceGroups", named) == (104300, "GROUP_NAME_CONFLICT")
    for number in range(62):
        client.add_group(f"g{number}")
    one_more = {"groupId": "2", "groupName": "2"}
    assert client.refused("POST", "/api/faceGroups", one_more) == (104302, "GROUP_OVER_LIMIT")


def test_104304_a_group_in_use(idle_stack: Stack, obama: str) -> None:
    client = FaceGroupClient(idle_stack)
    client.add_group("1")
    body = {"image": png(obama), "group": ["1"]}
    job = client.call("POST", "/api/face/search", body, Prefer="respond-async").json()["job_id"]
    for key in ("default", "1"):
        refusal = client.refused("DELETE", f"/api/faceGroups/{key}", {"deleteAllFace": 1})
        assert refusal == (104304, "GROUP_BEUSED")
    client.poll(job, "DELETE")
    assert client.ask("DELETE", "/api/faceGroups/1", {"deleteAllFace": 1}) == {}


def test_104311_unknown_groups(quiet: FaceGroupClient, obama: str) -> None:
    unknown = (104311, "GROUP_ID_NOT_EXIST")
    page = "pageOffset=0&pageSize=1"
    assert quiet.refused("GET", f"/api/faceGroups/none?{page}") == unknown
    assert quiet.refused("PUT", "/api/faceGroups", {"groupId": "none"}) == unknown
    assert quiet.refused("DELETE", "/api/faceGroups/none", {"deleteAllFace": 1}) == unknown
    body = {"image": png(obama), "group": ["default", "none"]}
    assert quiet.refused("POST", "/api/face/search", body) == unknown


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/faces", {}),
        ("POST", "/api/faces", {"image": "aGk=", "name": "名" * 43}),
        ("POST", "/api/faces", {"image": "aGk=", "description": "x" * 256}),
        ("GET", "/api/faces?pageOffset=-1&pageSize=5", None),
        ("GET", "/api/faceGroups/default", None),
        ("POST", "/api/faceGroups", {"groupName": "n"}),
        ("PUT", "/api/faceGroups", {"groupId": "default", "groupScore": 101}),
        ("DELETE", "/api/faceGroups/default", {"deleteAllFace": 5}),
        ("POST", "/api/faceGroups/binding/x", {"faceGroupList": "default"}),
        ("DELETE", "/api/faceGroups/unbind/x", {}),
        ("POST", "/api/face/compare", {"image1": "aGk=", "image2": "aGk="}),
        ("POST", "/api/face/compare",
         {"image1": "aGk=", "image2": "aGk=", "livenessEnabled": "yes"}),
        ("POST", "/api/face/search", {"image": "aGk="}),
        ("POST", "/api/face/search", {"image": "aGk=", "group": ["default"], "topN": 6}),
    ],
)
def test_104900_invalid_argument(
    quiet: FaceGroupClient, method: str, path: str, body: Json | None
) -> None:
    code, message = quiet.refused(method, path, body)
    assert code == 104900
    assert message.startswith("INVALID_ARGUMENT:")


def test_104901_no_picture(quiet: FaceGroupClient, obama: str) -> None:
    webp = resized(obama, 300, 300, ".webp")
    for wrong in (b"hello", b"\xff\xd8\xff", obama[:400], webp):
        for path, body in requests_on_pictures(wrong, obama):
            code, message = quiet.refused("POST", path, body)
            assert code == 104901
            assert ("image2" in message) is path.endswith("compare")
    assert quiet.refused("POST", "/api/faces", {"image": "!"})[0] == 104901


def test_104902_size(quiet: FaceGroupClient, obama: str) -> None:
    heavy = base64.b64decode(obama).ljust(4 * MB + 1, b"\0")
    for wrong in (resized(obama, 99, 300), resized(obama, 4097, 120), resized(obama, 2161, 2161),
                  heavy):
        for path, body in requests_on_pictures(wrong, obama):
            assert quiet.refused("POST", path, body)[0] == 104902


def test_two_pictures_of_4_mb(quiet: FaceGroupClient, obama: str) -> None:
    heavy = png(base64.b64decode(obama).ljust(4 * MB, b"\0"))
    body = {"image1": heavy, "image2": heavy, "livenessEnabled": False}
    assert quiet.ask("POST", "/api/face/compare", body)["compareScore"] > 99.9


@pytest.mark.parametrize(("width", "height"), [(4096, 2160), (2160, 4096), (100, 110)])
def test_the_largest_and_the_smallest_picture(
    quiet: FaceGroupClient, obama: str, width: int, height: int
) -> None:
    # The code depends on the rest of the face, not on a size.
    response = quiet.call(
        "POST", "/api/face/search",
        {"image": png(resized(obama, width, height)), "group": ["default"]},
    )
    assert response.json()["code"] in (0, 104200)


def test_104903_104904_what_is_not_there(quiet: FaceGroupClient) -> None:
    groups = {"faceGroupList": ["default"]}
    for method, path, body in (
        ("DELETE", "/api/faces/nobody", None),
        ("GET", "/api/faces/faceToken/nobody", None),
        ("POST", "/api/faceGroups/binding/nobody", groups),
        ("DELETE", "/api/faceGroups/unbind/nobody", groups),
    ):
        assert quiet.refused(method, path, body) == (104903, "FACE_TOKEN_NOT_EXIST")
    for method in ("GET", "DELETE"):
        refusal = quiet.refused(method, "/api/faces/image/nothing")
        assert refusal == (104904, "IMAGE_ID_NOT_EXIST")


def test_104905_too_much_waits(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], obama: str
) -> None:
    with Stack(tmp_path, edge_models, max_waiting=1, **new_database) as stack:
        client = FaceGroupClient(stack.start_shim())
        body = {"image": png(obama)}
        accepted = client.call("POST", "/api/faces", body, Prefer="respond-async")
        assert accepted.status_code == 202
        response = client.call("POST", "/api/faces", body)
        assert failed(response, 503) == (104905, "RATE_LIMITED:OVERLOADED")
        assert int(response.headers["retry-after"]) > 0


def test_104906_who_asks(quiet: FaceGroupClient, obama: str) -> None:
    for key in ("", "wrong"):
        for method, path in (("GET", "/api/faces"), ("DELETE", "/api/faces/facesLib")):
            response = quiet.call(method, path, X_API_Key=key)
            assert failed(response, 401) == (104906, "UNAUTHORIZED")
        body = {"image": png(obama)}
        assert failed(quiet.call("POST", "/api/faces", body, X_API_Key=key), 401)[0] == 104906


def test_the_operators_choice(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], obama: str
) -> None:
    page = "https://app.example"
    settings = {"b_tenant": "chosen", "cors_origins": page, "hold_s": 1.0, **new_database}
    with Stack(tmp_path, edge_models, **settings) as stack:
        client = FaceGroupClient(stack.start_shim(), stack.add_tenant("chosen"))
        body = {"image": png(obama)}
        job = client.send("POST", "/api/faces", json=body, headers={"Prefer": "respond-async"})
        assert job.status_code == 202
        assert client.send("GET", "/api/faces").status_code == 200
        href = job.json()["href"]
        assert client.send("GET", href).status_code == 202
        assert client.send("GET", href, headers={"X-API-Key": "wrong"}).status_code == 404
        of_another = stack.client(client.credentials).submit("locate", {"image": png(obama)})
        assert client.send("GET", f"/jobs/{of_another}").status_code == 401
        refuse_pages_of_other_sites(client, href, page)
        assert client.send("DELETE", href).status_code == 200


def refuse_pages_of_other_sites(client: FaceGroupClient, href: str, page: str) -> None:
    """A page cannot set these headers, and needs no permission for a POST of text/plain."""
    group = json.dumps({"groupId": "planted", "groupName": "planted", "groupScore": 1})
    for headers in (
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:1"},
    ):
        planted = client.send(
            "POST", "/api/faceGroups", data=group, headers={"Content-Type": "text/plain", **headers}
        )
        assert failed(planted, 401) == (104906, "UNAUTHORIZED:CROSS_SITE")
        for method, path in (("GET", "/api/faces"), ("DELETE", "/api/faces/facesLib")):
            assert client.send(method, path, headers=headers).status_code == 401
        for method in ("GET", "DELETE"):
            assert client.send(method, href, headers=headers).status_code == 401
        basic = (client.credentials.app_id, client.credentials.app_secret)
        assert client.send("GET", href, headers=headers, auth=basic).status_code == 202
        # with a key it is its owner's request, whatever sends it
        assert client.call("GET", "/api/faces", None, **headers).status_code == 200
    groups = succeeded(client.send("GET", "/api/faceGroups"))["faceGroupList"]
    assert [each["groupId"] for each in groups] == ["default"]
    for headers in (
        {"Origin": page, "Sec-Fetch-Site": "cross-site"}, {"Origin": client.url},
        {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"},
    ):
        assert client.send("GET", "/api/faces", headers=headers).status_code == 200


def test_104999_a_cancelled_job(idle_stack: Stack, obama: str) -> None:
    client = FaceGroupClient(idle_stack)
    accepted = client.call("POST", "/api/faces", {"image": png(obama)}, Prefer="respond-async")
    job = accepted.json()["job_id"]
    client.poll(job, "DELETE")
    code, message = failed(client.poll(job), 500)
    assert code == 104999
    assert "cancelled" in message


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/faces", "GET, POST"), ("/api/faces/facesLib", "DELETE"),
        ("/api/faces/x", "DELETE"), ("/api/faces/faceToken/x", "GET"),
        ("/api/faces/image/x", "DELETE, GET"), ("/api/faceGroups", "GET, POST, PUT"),
        ("/api/faceGroups/x", "DELETE, GET"), ("/api/faceGroups/binding/x", "POST"),
        ("/api/faceGroups/unbind/x", "DELETE"), ("/api/face/compare", "POST"),
        ("/api/face/search", "POST"),
    ],
)
def test_another_method_is_refused(quiet: FaceGroupClient, path: str, allowed: str) -> None:
    response = quiet.call("PATCH", path)
    assert response.headers["allow"] == allowed
    assert failed(response, 405)[0] == 104900
