"""Every status of document c, provoked."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.accounts.kinds import ID_AND_SECRET
from pipeline.metering.limits import Limit, Permissions
from tests.databases import ONE_DATABASE
from tests.linkface_client import PATH, LinkfaceClient, failed
from tests.stack import Stack

pytestmark = ONE_DATABASE

GB18030 = "\u4eba".encode("gb18030")


@pytest.fixture(scope="module")
def c(stack: Stack) -> LinkfaceClient:
    return LinkfaceClient(stack)


@pytest.fixture(scope="session")
def face(photos: Path) -> Path:
    return min((photos / "Ariel_Sharon").iterdir())


def blank(width: int, height: int, file_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 200, np.uint8)).save(file, file_format)
    return file.getvalue()


def test_encoding_error(c: LinkfaceClient, face: Path) -> None:
    known = b"&".join(f"{name}={value}".encode() for name, value in c.known.items())
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    ways: list[dict[str, Any]] = [
        {"data": known + b"&image_one_id=" + GB18030, "headers": form},
        {"data": known + b"&image_one_id=%C8%CB", "headers": form},
        {"files": {"image_one_id": (None, GB18030), "image_two_file": face.read_bytes()}},
        {"data": b'{"api_id": "' + GB18030 + b'"}',
         "headers": {"Content-Type": "application/json"}},
    ]
    for way in ways:
        assert failed(c.send("POST", PATH, **way)) == ("ENCODING_ERROR", None)
    assert failed(c.send("POST", f"{PATH}?api_id=%C8%CB")) == ("ENCODING_ERROR", None)


def test_image_file_size_too_big(c: LinkfaceClient, face: Path) -> None:
    fitting = face.read_bytes().ljust(5 * 1024 * 1024, b"\0")
    assert c.compare(face, fitting)["max_confidence"] > 0.99
    assert c.refused(face, fitting + b"\0") == ("IMAGE_FILE_SIZE_TOO_BIG", "image_two")
    assert c.refused(b"\0" * (13 * 1024 * 1024), face) == ("IMAGE_FILE_SIZE_TOO_BIG", None)


@pytest.mark.parametrize("named", ["0" * 32, "x", "x" * 65, "\u4eba", "%00", "../1"])
def test_image_id_not_exist(c: LinkfaceClient, face: Path, named: str) -> None:
    assert c.refused(face, image_two_id=named) == ("IMAGE_ID_NOT_EXIST", "image_two")
    assert c.refused(None, face, image_one_id=named) == ("IMAGE_ID_NOT_EXIST", "image_one")


def test_no_face_detected(c: LinkfaceClient, face: Path, test_data: Path) -> None:
    nobody = test_data / "bad" / "no_face.png"
    assert c.refused(face, nobody) == ("NO_FACE_DETECTED", "image_two")
    assert c.refused(nobody, face) == ("NO_FACE_DETECTED", "image_one")
    turned = {"image_one_auto_rotate": "true"}
    assert c.refused(nobody, face, **turned) == ("NO_FACE_DETECTED", "image_one")


def test_too_many_faces(c: LinkfaceClient, face: Path, photos: Path) -> None:
    six = photos / "group_t1.jpg"
    assert c.refused(six, face) == ("TOO_MANY_FACES", "image_one")
    assert c.refused(face, six) == ("TOO_MANY_FACES", "image_two")


def test_corrupt_image(c: LinkfaceClient, face: Path) -> None:
    cut = face.read_bytes()[:4000]
    for broken in (b"", b"no picture", cut, b"\x89PNG\r\n\x1a\n"):
        assert c.refused(face, broken) == ("CORRUPT_IMAGE", "image_two")


def test_invalid_image_format_or_size(c: LinkfaceClient, face: Path) -> None:
    webp = blank(64, 64, "WEBP")
    for picture in (webp, blank(8, 64), blank(64, 8), blank(4001, 9), blank(9, 4001)):
        assert c.refused(picture, face) == ("INVALID_IMAGE_FORMAT_OR_SIZE", "image_one")
    # The smallest and the largest that are taken hold no face.
    for picture in (blank(9, 9), blank(4000, 9)):
        assert c.refused(picture, face) == ("NO_FACE_DETECTED", "image_one")


@pytest.mark.parametrize(
    ("fields", "image"),
    [
        ({}, "image_two"),
        ({"image_two_id": "", "image_two_url": ""}, "image_two"),
        ({"image_two_id": "a", "image_two_url": "http://a.example/"}, "image_two"),
        ({"image_one_id": "a", "image_two_id": "a"}, "image_one"),
        ({"image_two_url": "http://a.example/"}, "image_two"),
        ({"image_two_id": "a", "image_two_auto_rotate": "yes"}, "image_two"),
    ],
)
def test_invalid_argument(
    c: LinkfaceClient, face: Path, fields: dict[str, str], image: str
) -> None:
    response = c.call(face, **fields)
    assert failed(response) == ("INVALID_ARGUMENT", image)
    assert image in response.json()["reason"]


def test_bodies_that_cannot_be_read(c: LinkfaceClient) -> None:
    for body, kind in (
        (b"x", "text/plain"), (b"x", "multipart/form-data"), (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"--a\r\n", "multipart/form-data; boundary=a"),
        (b"api_id=1&api_id=2", "application/x-www-form-urlencoded"),
    ):
        response = c.send("POST", PATH, data=body, headers={"Content-Type": kind})
        assert failed(response) == ("INVALID_ARGUMENT", None)
        assert response.json()["reason"]


def test_unauthorized(stack: Stack, c: LinkfaceClient, face: Path) -> None:
    for wrong in (
        {"api_id": ""}, {"api_secret": ""}, {"api_secret": "wrong"}, {"api_id": "0" * 32},
        {"api_id": c.credentials.app_id}, {"api_id": "\u4eba"}, {"api_id": "\x00"},
        {"api_secret": LinkfaceClient(stack).credentials.api_secret},
    ):
        assert c.refused(face, face, http=401, **wrong) == ("UNAUTHORIZED", None)
    left = LinkfaceClient(stack)
    stack.tenants.set_disabled(left.credentials.tenant_id, disabled=True)
    assert left.refused(face, face, http=401) == ("UNAUTHORIZED", None)


def test_key_expired(stack: Stack, face: Path) -> None:
    """Of an old secret too; a caller with a wrong one does not learn that the key existed."""
    client = LinkfaceClient(stack)
    tenant_id = client.credentials.tenant_id
    stack.tenants.credentials.retire(tenant_id, ID_AND_SECRET.name, 0.05, keep="none")
    response = client.call(face, face)
    while response.status_code == 200:
        response = client.call(face, face)
    assert failed(response, 401) == ("KEY_EXPIRED", None)
    assert response.json()["reason"]
    assert client.refused(face, face, http=401, api_secret="wrong") == ("UNAUTHORIZED", None)


def test_a_rotated_secret(stack: Stack, face: Path) -> None:
    client = LinkfaceClient(stack)
    known = client.credentials
    fresh = stack.tenants.credentials.rotate(known.tenant_id, ID_AND_SECRET, known.api_id, 3600)
    assert (fresh.public_id, fresh.secret == known.api_secret) == (known.api_id, False)
    for secret in (known.api_secret, fresh.secret):
        assert client.compare(face, face, api_secret=secret)
    stack.tenants.credentials.rotate(known.tenant_id, ID_AND_SECRET, known.api_id, 0)
    assert client.refused(face, face, http=401) == ("UNAUTHORIZED", None)


@pytest.mark.parametrize(
    "path", ["/identity", "/identity/", "/identity/x", "/identity/x/", "//identity//a/b"]
)
def test_not_found(c: LinkfaceClient, path: str) -> None:
    for method in ("GET", "POST"):
        assert failed(c.send(method, path), 404) == ("NOT_FOUND", None)


def test_another_method_is_refused(c: LinkfaceClient) -> None:
    response = c.send("GET", PATH, params=c.known)
    assert failed(response, 405) == ("INVALID_ARGUMENT", None)
    assert response.headers["allow"] == "POST"


def test_internal_error_is_for_a_job_that_was_cancelled(idle_stack: Stack, face: Path) -> None:
    client = LinkfaceClient(idle_stack)
    job_id = client.call(face, face, headers={"Prefer": "respond-async"}).json()["job_id"]
    assert client.poll(job_id, "DELETE").status_code == 200
    response = client.poll(job_id)
    assert failed(response, 500) == ("INTERNAL_ERROR", None)
    assert response.json()["reason"] == "The job was cancelled."


def test_rate_limit_exceeded(stack: Stack, face: Path) -> None:
    client = LinkfaceClient(stack)
    stack.tenants.set_limits(
        client.credentials.tenant_id, {"matrix": Limit(per_second=0.01, burst=1)}
    )
    client.compare(face, face)
    response = client.call(face, face)
    assert failed(response, 403) == ("RATE_LIMIT_EXCEEDED", None)
    assert int(response.headers["retry-after"]) >= 1


def test_out_of_quota(stack: Stack, face: Path) -> None:
    client = LinkfaceClient(stack)
    stack.tenants.set_limits(client.credentials.tenant_id, {"*": Limit(daily=1)})
    client.compare(face, face)
    assert client.refused(face, face, http=403) == ("OUT_OF_QUOTA", None)


def test_no_permission(stack: Stack, face: Path) -> None:
    client = LinkfaceClient(stack)
    stack.tenants.set_permissions(client.credentials.tenant_id, Permissions().deny("matrix"))
    assert client.refused(face, face, http=403) == ("NO_PERMISSION", None)


def test_others_pictures_do_not_exist(stack: Stack, c: LinkfaceClient, photos: Path) -> None:
    mine = c.compare(photos / "biden.jpg", photos / "biden.jpg")["image_one"]["image_one_id"]
    other = LinkfaceClient(stack)
    assert other.refused(photos / "biden.jpg", image_two_id=mine) == (
        "IMAGE_ID_NOT_EXIST", "image_two",
    )
