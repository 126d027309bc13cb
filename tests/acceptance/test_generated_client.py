"""A client that a public generator made from the description calls each dialect for real."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.databases import ONE_DATABASE
from tests.face2_client import Credentials, Face2Client, base64_of
from tests.generated_client import GeneratedClient
from tests.group_client import png
from tests.stack import Stack

pytestmark = ONE_DATABASE


@pytest.fixture(scope="module")
def credentials(stack: Stack) -> Credentials:
    return stack.add_tenant("generated client")


@pytest.fixture(scope="module")
def client(
    stack: Stack, credentials: Credentials, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GeneratedClient]:
    folder = tmp_path_factory.mktemp("generated")
    with contextlib.closing(GeneratedClient(folder, stack.url, credentials.api_key)) as client:
        yield client


@pytest.fixture(scope="module")
def picture(photos: Path) -> bytes:
    return (photos / "obama.jpg").read_bytes()


def test_a(client: GeneratedClient, credentials: Credentials, picture: bytes) -> None:
    answer = client.call("a_locate", {
        "Apid": credentials.apid, "Kvalue": credentials.kvalue,
        "Fimg": base64_of(picture),
    }, "form")
    assert (answer.status, answer.content["msg_code"]) == (200, 1)
    assert len(answer.content["location"]) == 1


def test_b(client: GeneratedClient, picture: bytes) -> None:
    answer = client.call("b_enrol", {"image": png(picture)})
    assert answer.status == 200
    assert answer.content["data"]["faceToken"]


def test_c_with_a_file(client: GeneratedClient, credentials: Credentials, picture: bytes) -> None:
    answer = client.call("c_matrix", {
        "api_id": credentials.api_id, "api_secret": credentials.api_secret,
        "image_one_file": picture, "image_two_file": picture,
    }, "multipart")
    assert answer.status == 200
    assert answer.content["max_confidence"] > 0.9


def test_d(client: GeneratedClient, photos: Path) -> None:
    img = base64_of(photos / "biden.jpg")
    answer = client.call("d_enrol", {"img": img, "name": "ada"}, "form")
    assert answer.status == 200
    assert [person["name"] for person in answer.content["message"]] == ["ada"]


def test_e(client: GeneratedClient, stack: Stack, credentials: Credentials, picture: bytes
) -> None:
    signed = Face2Client(stack.url, credentials).signed({"image": base64_of(picture)})
    answer = client.call("e_locate", signed)
    assert answer.status == 200
    assert answer.content["data"]["face_num"] == 1
