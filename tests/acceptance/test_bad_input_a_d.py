"""Whatever is sent to documents a and d, their own answer comes back."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest

from tests.a_calls import CALLS, with_pictures
from tests.contract_clients import ApidClient, SearchClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.stack import Stack
from tests.unit.pictures import encoded, image, png_bomb

pytestmark = ONE_DATABASE

SEED = 20260102
ROUNDS = 25

FORM = "application/x-www-form-urlencoded"
OPERATIONS = ["addface", "searchface", "delface"]

# Bits of requests, right and wrong, that random ones are made of.
PIECES = [
    b"Apid", b"Kvalue", b"Fid", b"Fimg", b"Fname", b"Threshold", b"img", b"name", b"facedb",
    b"person_id", b"=", b"&", b"%00", b"%ff", b"%", b"+", b";", b"{", b"}", b"[", b"]", b'"',
    b":", b",", b"\\ud800", b"\\u0000", b"1", b"-1", b"1e9", b"null", b"true", b"\x00", b"\xff",
    b"aGk=", b"9" * 30,
]


@pytest.fixture(scope="module")
def a(stack: Stack) -> ApidClient:
    return ApidClient(stack)


@pytest.fixture(scope="module")
def d(stack: Stack) -> SearchClient:
    return SearchClient(stack)


def bad_pictures() -> Iterator[bytes]:
    """Files that are no whole picture, and one that is without end."""
    good = encoded(image(), "png")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    yield from (
        bytes(1000), good[: len(good) // 2], good[:8], bytes(flipped), png_bomb(20_000),
        b'<svg xmlns="http://www.w3.org/2000/svg"/>', b"%PDF-1.7\n" + bytes(500),
        random.Random(SEED).randbytes(5000),
    )


def random_bodies(seed: int) -> Iterator[bytes]:
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        yield b"".join(chance.choices(PIECES, k=chance.randint(1, 30)))


@pytest.mark.parametrize("name", ["enrol", "similarity", "detection"])
def test_bad_pictures_to_a(a: ApidClient, name: str) -> None:
    good: Json = {"Fimg1": base64_of(encoded(image(), "png"))} if name == "similarity" else {}
    for picture in bad_pictures():
        method, path, fields = with_pictures(name, base64_of(picture), **good)
        assert a.code(method, path, **fields) == 4


@pytest.mark.parametrize("operation", OPERATIONS[:2])
def test_bad_pictures_to_d(d: SearchClient, operation: str) -> None:
    for picture in bad_pictures():
        assert d.status(operation, img=base64_of(picture)) == "IMAGE_INVALID_FORMAT"


@pytest.mark.parametrize("kind", [FORM, "application/json", ""])
@pytest.mark.parametrize("name", CALLS)
def test_random_bodies_to_a(a: ApidClient, name: str, kind: str) -> None:
    method, path, _ = CALLS[name]
    for body in random_bodies(SEED + len(name)):
        response = a.send(
            method, f"/api/{path}", data=body, headers={"Content-Type": kind},
            params={"x": quote_from_bytes(body)},
        )
        assert checked(response) == {"msg_code": 9}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_random_bodies_to_d(d: SearchClient, operation: str) -> None:
    headers = {"X-API-Key": d.credentials.api_key, "Content-Type": FORM}
    seen = set()
    for body in random_bodies(SEED):
        response = d.send("POST", f"/v1/{operation}", data=body, headers=headers)
        seen.add(checked(response)["status"])
    assert seen <= {"INVALID_REQUEST", "IMAGE_INVALID_FORMAT", "PERSON_ID_NOT_EXIST"}


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.5, -1, 10**30, [], {}, "", "\x00", "\ud800", "x" * 70_000]
)
def test_odd_values_in_json(a: ApidClient, value: Any) -> None:
    good: Json = {
        "Apid": a.credentials.apid, "Kvalue": a.credentials.kvalue, "Fid": 1, "Fname": "x",
        "Threshold": 0.5, "Fimg": "aGk=",
    }
    for method, path in (("PUT", "face"), ("POST", "match")):
        for name in good:
            answer = checked(a.send(method, f"/api/{path}", json={**good, name: value}))
            assert answer["msg_code"] in {2, 3, 7, 9}


@pytest.mark.parametrize("key", ["é", "x", "x" * 5000, "' or 1=1 --"])
def test_odd_keys(d: SearchClient, key: str) -> None:
    response = d.send(
        "POST", "/v1/delface", data={"person_id": "x"}, headers={"X-API-Key": key.encode("latin-1")}
    )
    assert checked(response, 401)["status"] == "INVALID_REQUEST"


def test_bodies_without_end(a: ApidClient, d: SearchClient) -> None:
    large = b"Fimg=" + b"A" * (20 * 1024 * 1024)
    headers = {"Content-Type": FORM, "X-API-Key": d.credentials.api_key}
    refusal = a.send("POST", "/api/face", data=large, headers=headers)
    assert checked(refusal) == {"msg_code": 4}
    refusal = d.send("POST", "/v1/addface", data=large, headers=headers)
    assert checked(refusal)["status"] == "IMAGE_INVALID_SIZE"
