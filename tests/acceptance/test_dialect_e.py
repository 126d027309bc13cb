"""A client written from document e alone gets the answers that the document promises."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests

from pipeline.types import Box
from tests.databases import ONE_DATABASE
from tests.face2_client import PICTURES, Face2Client, Json, base64_of, data_of
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

# insightface 2.1 calls a function that scikit-image means to remove.
pytestmark = [
    ONE_DATABASE,
    pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning"),
]


@pytest.fixture
def client(stack: Stack) -> Face2Client:
    return stack.client()


@pytest.fixture(scope="module")
def photos(test_data: Path) -> Path:
    return test_data / "photos"


@pytest.fixture(scope="module")
def face(photos: Path) -> str:
    """One face, as Base64."""
    return base64_of(min((photos / "George_W_Bush").iterdir()))


@pytest.fixture(scope="module")
def analysis(edge_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """insightface's own ``FaceAnalysis`` at 640 on the same models."""
    from insightface.app import FaceAnalysis

    folder = tmp_path_factory.mktemp("analysis")
    for name in ("det_500m.onnx", "edgeface_xs.onnx"):
        (folder / name).symlink_to(edge_models / "edge" / name)
    app = FaceAnalysis(str(folder), providers=["CPUExecutionProvider"])
    app.prepare(ctx_id=0, det_size=(640, 640))
    return app


def check_envelope(response: requests.Response, app_id: str, code: int) -> Json:
    """The ``data`` of an envelope that is exactly as documented."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    envelope: Json = response.json()
    assert envelope["code"] == code, envelope
    assert set(envelope) == {
        "appId", "code", "data", "encType", "signType", "success", "timestamp"
    }
    assert type(envelope["code"]) is int
    assert type(envelope["timestamp"]) is int
    assert abs(envelope["timestamp"] - time.time()) < 60
    assert (envelope["encType"], envelope["signType"]) == ("plain", "plain")
    assert envelope["success"] is (code == 0)
    assert envelope["appId"] == app_id
    data: Json = envelope["data"]
    assert data["requestId"]
    assert (data["msg"] == "success") if code == 0 else (data["msg"] not in ("", "success"))
    if code != 0:
        assert set(data) == {"msg", "requestId"}
    return data


def refused(response: requests.Response, client: Face2Client, code: int) -> str:
    """The ``msg`` of a refusal with HTTP status 200."""
    assert response.status_code == 200
    return str(check_envelope(response, client.credentials.app_id, code)["msg"])


# Valid requests -----------------------------------------------------------------


@pytest.mark.parametrize("sign_type", ["SHA256", "SM2"])
def test_locate_finds_six_faces(
    client: Face2Client, photos: Path, analysis: Any, sign_type: str
) -> None:
    photo = photos / "group_t1.jpg"
    response = client.call(
        "locate", {"image": base64_of(photo), "max_face_num": 100}, sign_type=sign_type
    )
    data = check_envelope(response, client.credentials.app_id, 0)
    assert set(data) == {"face_num", "locations", "msg", "requestId"}
    truth = [Box(*map(float, face.bbox)) for face in analysis.get(cv2.imread(str(photo)))]
    assert data["face_num"] == len(data["locations"]) == len(truth) == 6
    rows = [(left, top, right, bottom) for top, right, bottom, left in data["locations"]]
    assert all(type(side) is int for row in rows for side in row)
    for row in rows:
        assert max(Box(*row).overlap(other) for other in truth) > 0.9
    areas = [(right - left) * (bottom - top) for left, top, right, bottom in rows]
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize("most", [None, 1, 2, 6, 10**17])
def test_locate_gives_the_largest_faces(
    client: Face2Client, photos: Path, most: int | None
) -> None:
    image = base64_of(photos / "group_t1.jpg")
    given = data_of("locate", image) | ({} if most is None else {"max_face_num": most})
    data = check_envelope(client.call("locate", given), client.credentials.app_id, 0)
    assert data["face_num"] == len(data["locations"]) == min(most or 1, 6)


def test_locate_without_a_face_is_no_error(client: Face2Client, test_data: Path) -> None:
    response = client.call("locate", {"image": base64_of(test_data / "bad" / "no_face.png")})
    data = check_envelope(response, client.credentials.app_id, 0)
    assert (data["face_num"], data["locations"]) == (0, [])


def test_a_tenant_can_have_the_order_of_the_printed_example(stack: Stack, photos: Path) -> None:
    image = data_of("locate", base64_of(photos / "obama.jpg"))
    usual = stack.client().call("locate", image).json()["data"]["locations"]
    other = stack.client(stack.add_tenant("left-top", {"e_locations": "left_top"}))
    top, right, bottom, left = usual[0]
    assert other.call("locate", image).json()["data"]["locations"] == [[left, top, right, bottom]]


@pytest.mark.parametrize(
    ("other", "same"), [("obama-1080p.jpg", True), ("biden.jpg", False), ("obama.jpg", True)]
)
def test_verify_tells_people_apart(
    client: Face2Client, photos: Path, other: str, same: bool
) -> None:
    pair = {
        "image1": base64_of(photos / "obama.jpg"), "image2": base64_of(photos / other),
    }
    data = check_envelope(client.call("verify", pair), client.credentials.app_id, 0)
    assert set(data) == {"is_match", "msg", "requestId", "score"}
    assert data["is_match"] is same
    assert (data["score"] < 0.6) is same
    assert 0 <= data["score"] <= 1
    if other == "obama.jpg":
        assert data["score"] < 0.001


def test_features_are_those_of_the_model(
    client: Face2Client, photos: Path, analysis: Any
) -> None:
    photo = photos / "obama.jpg"
    data = check_envelope(
        client.call("features", {"image": base64_of(photo)}), client.credentials.app_id, 0
    )
    assert set(data) == {"features", "msg", "requestId"}
    vector = np.array(data["features"])
    assert vector.shape == (512,)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5
    truth = analysis.get(cv2.imread(str(photo)))[0].normed_embedding
    assert float(vector @ truth) > 0.999


@pytest.mark.parametrize("form", ["head", "breaks", "unpadded"])
def test_base64_in_every_usual_form(client: Face2Client, photos: Path, form: str) -> None:
    plain = base64_of(photos / "biden.jpg")
    text = {
        "head": f"data:image/jpeg;base64,{plain}",
        "breaks": "\r\n".join(plain[at : at + 76] for at in range(0, len(plain), 76)),
        "unpadded": plain.rstrip("="),
    }[form]
    data = check_envelope(
        client.call("locate", data_of("locate", text)), client.credentials.app_id, 0
    )
    assert data["face_num"] == 1


def test_numbers_and_text_are_signed_as_they_were_sent(client: Face2Client, face: str) -> None:
    data = {"image": face, "备注": "中文 \"/\\ é\n", "z": [1.50, 1e22, -0.0, 12345678901234567890],
            "a": {"c": None, "b": [True, {"y": 1, "x": 2}]}}
    for ascii_only in (True, False):
        parameters = client.signed(data, version=f"1.{ascii_only}")
        response = client.session.post(
            f"{client.url}/face2/locate",
            data=json.dumps(parameters, ensure_ascii=ascii_only).encode(),
        )
        check_envelope(response, client.credentials.app_id, 0)


def test_a_form_may_carry_the_parameters(client: Face2Client, face: str) -> None:
    parameters = client.signed(data_of("locate", face))
    parameters["data"] = json.dumps(parameters["data"])
    response = client.session.post(f"{client.url}/face2/locate", data=parameters)
    check_envelope(response, client.credentials.app_id, 0)


# Every code --------------------------------------------------------------------


@pytest.mark.parametrize("operation", PICTURES)
@pytest.mark.parametrize("sign_type", ["SHA256", "SM2"])
def test_9800_wrong_signature(client: Face2Client, operation: str, sign_type: str) -> None:
    good = client.signed(data_of(operation, "aGk="), sign_type)
    other = client.signed({}, sign_type)["signData"]
    for parameters in (
        {**good, "signData": other},
        {**good, "signData": "no Base64"},
        {**good, "version": "2"},
        {**good, "data": data_of(operation, "aGk")},
    ):
        refused(client.send(operation, parameters), client, 9800)


def test_9800_unknown_application(client: Face2Client) -> None:
    stranger = client.signed({"image": "aGk="}, appId="0" * 32)
    check_envelope(client.send("locate", stranger), "0" * 32, 9800)
    odd = client.signed({"image": "aGk="}, appId="' or 1=1 --\x00")
    check_envelope(client.send("locate", odd), "", 9800)


def test_9800_disabled_tenant(stack: Stack) -> None:
    credentials = stack.add_tenant("disabled")
    stack.tenants.set_disabled(credentials.tenant_id, True)
    client = stack.client(credentials)
    refused(client.call("locate", {"image": "aGk="}), client, 9800)


@pytest.mark.parametrize("operation", PICTURES)
@pytest.mark.parametrize(
    "name", ["appId", "signType", "signData", "encType", "timestamp", "data"]
)
def test_9801_parameters(client: Face2Client, operation: str, name: str) -> None:
    good = client.signed(data_of(operation, "aGk="))
    missing = {key: value for key, value in good.items() if key != name}
    app_id = "" if name == "appId" else client.credentials.app_id
    wrong = [{**good, name: ["x"]}, {**good, name: True}]
    if name not in ("signType", "encType"):
        wrong += [missing, {**good, name: None}]
    for parameters in wrong:
        message = check_envelope(client.send(operation, parameters), app_id, 9801)["msg"]
        assert name in message


@pytest.mark.parametrize("changed", [{"signType": "MD5"}, {"encType": "aes"}])
def test_9801_unknown_algorithms(client: Face2Client, changed: Json) -> None:
    parameters = {**client.signed({"image": "aGk="}), **changed}
    refused(client.send("locate", parameters), client, 9801)


def test_a_refused_request_may_be_sent_again(client: Face2Client, face: str) -> None:
    parameters = client.signed({"image": face, "max_face_num": 0})
    for _ in range(2):
        refused(client.send("locate", parameters), client, 9001)


@pytest.mark.parametrize("away", [-302, 302, -10**9, 10**12])
def test_9802_time(client: Face2Client, away: int) -> None:
    parameters = client.signed({"image": "aGk="}, timestamp=int(time.time()) + away)
    refused(client.send("locate", parameters), client, 9802)


@pytest.mark.parametrize("away", [-290, 290])
def test_a_clock_may_be_a_little_wrong(client: Face2Client, face: str, away: int) -> None:
    parameters = client.signed(data_of("locate", face), timestamp=int(time.time()) + away)
    check_envelope(client.send("locate", parameters), client.credentials.app_id, 0)


@pytest.mark.parametrize("operation", PICTURES)
def test_9001_missing_picture(client: Face2Client, face: str, operation: str) -> None:
    for name in PICTURES[operation]:
        good = data_of(operation, face)
        missing = {key: value for key, value in good.items() if key != name}
        empty = [{**good, name: value} for value in (None, "", "\n", "data:;base64,")]
        for data in (missing, *empty):
            assert name in refused(client.call(operation, data), client, 9001)


@pytest.mark.parametrize("most", [0, -1, 1.5, "x", True, [], {}])
def test_9001_wrong_face_limit(client: Face2Client, face: str, most: Any) -> None:
    data = {"image": face, "max_face_num": most}
    assert "max_face_num" in refused(client.call("locate", data), client, 9001)


@pytest.mark.parametrize("operation", PICTURES)
def test_9002_too_large(client: Face2Client, operation: str) -> None:
    most = 2 * 1024 * 1024
    refused(client.call(operation, data_of(operation, "A" * (most + 1))), client, 9002)
    # As long as may be, but no picture:
    refused(client.call(operation, data_of(operation, "A" * most)), client, 9902)


@pytest.mark.parametrize("operation", PICTURES)
@pytest.mark.parametrize("value", [1, 1.5, True, ["aGk="], {"a": "b"}, "!!!!", "a", "aGk=aGk="])
def test_9901_no_base64(client: Face2Client, operation: str, value: Any) -> None:
    for name in PICTURES[operation]:
        data = {**data_of(operation, "aGk="), name: value}
        assert name in refused(client.call(operation, data), client, 9901)


@pytest.mark.parametrize("operation", PICTURES)
def test_9902_no_picture(client: Face2Client, face: str, operation: str) -> None:
    half = base64.b64decode(face)
    for wrong in (b"hello", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", half[: len(half) // 2]):
        data = {**data_of(operation, face), PICTURES[operation][-1]: base64_of(wrong)}
        message = refused(client.call(operation, data), client, 9902)
        assert ("image2" in message) is (operation == "verify")


@pytest.mark.parametrize("operation", ["verify", "features"])
def test_9903_no_face(client: Face2Client, face: str, test_data: Path, operation: str) -> None:
    nobody = base64_of(test_data / "bad" / "no_face.png")
    data = {**data_of(operation, face), PICTURES[operation][-1]: nobody}
    message = refused(client.call(operation, data), client, 9903)
    assert ("image2" in message) is (operation == "verify")


def test_9904_overloaded(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], face: str
) -> None:
    with Stack(tmp_path, edge_models, max_waiting=1, **new_database) as stack:
        client = stack.start_shim().client()
        data = {"image": face}
        first = client.call("locate", data, Prefer="respond-async")
        assert first.status_code == 202
        parameters = client.signed(data, version="2")
        response = client.send("locate", parameters)
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        check_envelope(response, client.credentials.app_id, 9904)
        # The refusal has not used the signature up.
        client.cancel(first.json()["job_id"])
        until = time.monotonic() + TIMEOUT_S
        while response.status_code == 503 and time.monotonic() < until:
            response = client.send("locate", parameters, Prefer="respond-async")
        assert response.status_code == 202


def test_9999_a_cancelled_job(idle_stack: Stack, face: str) -> None:
    client = idle_stack.client()
    accepted = client.call("features", {"image": face}, Prefer="respond-async").json()
    client.cancel(accepted["job_id"])
    assert "cancelled" in refused(client.poll(accepted["job_id"]), client, 9999)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_refused(client: Face2Client, method: str) -> None:
    response = client.session.request(method, f"{client.url}/face2/locate")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    check_envelope(response, "", 9801)


def test_another_path_is_not_found(client: Face2Client) -> None:
    for path in ("/", "/face2", "/face2/locate/x", "/face2/other", "/FACE2/LOCATE"):
        response = client.session.post(f"{client.url}{path}", json={})
        assert response.status_code == 404
        assert response.json()["code"] == "not_found"
        assert response.headers["x-request-id"]
