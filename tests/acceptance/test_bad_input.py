"""Whatever is sent to any operation, the documented envelope comes back, and no process
grows."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from tests.databases import ONE_DATABASE
from tests.face2_client import PICTURES, Face2Client, Json, base64_of, data_of
from tests.stack import Stack
from tests.unit.pictures import encoded, image, png_bomb

pytestmark = ONE_DATABASE

SEED = 20260101

MB = 1024 * 1024

# Bytes by which a process may grow over the whole module: bodies of 12 MB are read by
# eight threads at once at most, and decoding 40 megapixels takes 120 MB for a moment.
MOST_GROWTH = 400 * MB

CODES = {0, 9001, 9002, 9800, 9801, 9802, 9901, 9902, 9903, 9904, 9999}


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[Face2Client]:
    """A client; at the end no process of the service has grown out of bounds."""
    assert stack.shim is not None
    assert stack.worker is not None
    client = stack.client()
    warm = {"image": base64_of(encoded(image(), "png"))}
    for serial in range(8):
        client.call("features", {**warm, "n": serial})
    before = memory(stack)
    yield client
    for pid, grown in memory(stack).items():
        assert grown - before.get(pid, 0) < MOST_GROWTH or pid not in before
        assert pid in before, "a process died and was replaced"


def memory(stack: Stack) -> dict[int, int]:
    """Resident bytes of the shim and of every worker process."""
    assert stack.shim is not None
    assert stack.worker is not None
    pids = [stack.shim.pid, stack.worker.pid, *stack.worker.children()]
    return {pid: psutil.Process(pid).memory_info().rss for pid in pids}


def envelope_of(response: requests.Response) -> Json:
    """The documented envelope, whatever its code."""
    assert response.status_code == 200, response.text
    envelope: Json = response.json()
    assert set(envelope) == {
        "appId", "code", "data", "encType", "signType", "success", "timestamp"
    }
    assert envelope["code"] in CODES
    assert isinstance(envelope["data"]["msg"], str)
    assert response.headers["x-request-id"] == envelope["data"]["requestId"]
    return envelope


def code_of(response: requests.Response) -> int:
    code = envelope_of(response)["code"]
    assert type(code) is int
    return code


# Pictures ----------------------------------------------------------------------


@pytest.mark.parametrize("operation", PICTURES)
def test_bad_pictures(client: Face2Client, operation: str) -> None:
    good = encoded(image(), "png")
    jpeg = encoded(image(), "jpeg")
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    cases = {
        "a thousand zeros": (bytes(1000), {9902}),
        "half a PNG": (good[: len(good) // 2], {9902}),
        "a PNG without its end": (good[:-20], {9902}),
        "half a JPEG": (jpeg[: len(jpeg) // 2], {9902}),
        "a PNG's head": (good[:8], {9902}),
        "a flipped bit": (bytes(flipped), {9902}),
        "a PNG bomb of 20,000 x 20,000": (png_bomb(20_000), {9902}),
        "a bomb of many rows": (png_bomb(12_000), {9902}),
        "an SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', {9902}),
        "a PDF": (b"%PDF-1.7\n" + bytes(500), {9902}),
        "a ZIP": (b"PK\x03\x04" + bytes(500), {9902}),
        "an M3U8 list": (b"#EXTM3U\nhttp://127.0.0.1/x", {9902}),
    }
    for name, (picture, codes) in cases.items():
        if len(picture) * 4 // 3 > 2 * MB:
            codes = {9002}
        code = code_of(client.call(operation, data_of(operation, base64_of(picture))))
        assert code in codes, name


@pytest.mark.parametrize("operation", PICTURES)
def test_a_gif_named_png_is_judged_by_its_bytes(client: Face2Client, operation: str) -> None:
    gif = base64_of(encoded(image(), "gif"))
    plain = code_of(client.call(operation, data_of(operation, gif)))
    named = f"data:image/png;base64,{gif}"
    assert code_of(client.call(operation, data_of(operation, named))) == plain
    assert plain == (0 if operation == "locate" else 9903)


@pytest.mark.parametrize("operation", PICTURES)
def test_random_bytes_as_pictures(client: Face2Client, operation: str) -> None:
    rng = random.Random(SEED)
    heads = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF", b"II*\0"]
    for _ in range(100):
        picture = rng.choice(heads) + rng.randbytes(rng.randrange(1, 400))
        code = code_of(client.call(operation, data_of(operation, base64_of(picture))))
        assert code == 9902


# Bodies ------------------------------------------------------------------------


@pytest.mark.parametrize("operation", PICTURES)
def test_bodies_that_are_no_request(client: Face2Client, operation: str) -> None:
    good = json.dumps(client.signed(data_of(operation, "aGk="))).encode()
    bodies = [
        b"", b" ", b"null", b"[]", b'"text"', b"1", b"{}", b"{", good[:-1], good[1:], good + good,
        good[: len(good) // 2], b"\xef\xbb\xbf", good.decode().encode("utf-16"),
        b"\x1f\x8b\x08\x00" + bytes(100), b'{"a":' * 100_000, b"[" * 2_000_000,
        b'{"data":' + b"[" * 31 + b"]" * 31 + b"}", b'"' * 1_000_000, b"\\" * 1_000_000,
        b'{"appId":"a","appId":"b"}', b"appId=a&data=%7B%7D&signData=x", bytes(1000),
        b'{"timestamp":1e999999999}', b'{"timestamp":' + b"9" * 60_000 + b"}", b'{"a":NaN}',
    ]
    for body in bodies:
        for media_type in ("application/json", "application/x-www-form-urlencoded", "x/\xff"):
            response = client.session.post(
                f"{client.url}/face2/{operation}", data=body,
                headers={"Content-Type": media_type.encode("latin-1")},
            )
            assert code_of(response) == 9801, body[:50]


@pytest.mark.parametrize("operation", PICTURES)
def test_fifty_megabytes(client: Face2Client, operation: str) -> None:
    url = f"{client.url}/face2/{operation}"
    assert code_of(client.session.post(url, data=bytes(50 * MB))) == 9002

    def chunks() -> Iterator[bytes]:
        yield from itertools.repeat(bytes(MB), 50)

    assert code_of(client.session.post(url, data=chunks())) == 9002
    real = data_of(operation, "A" * (25 * MB))
    assert code_of(client.call(operation, real)) == 9002


def test_a_client_that_asks_before_it_sends_is_spared_the_upload(client: Face2Client) -> None:
    place = urlsplit(client.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/face2/locate")
        connection.putheader("Content-Length", str(50 * MB))
        connection.putheader("Expect", "100-continue")
        connection.endheaders()
        answer = connection.getresponse()  # without a byte of the body
        assert json.loads(answer.read())["code"] == 9002
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("operation", PICTURES)
def test_a_thousand_random_bodies(client: Face2Client, operation: str) -> None:
    rng = random.Random(SEED)
    good = json.dumps(client.signed(data_of(operation, "aGk="))).encode()
    for number in range(1000 // len(PICTURES) + 1):
        if number % 2:
            body = rng.randbytes(rng.randrange(300))
        else:  # a request with a few wrong bytes
            damaged = bytearray(good)
            for _ in range(rng.randrange(1, 4)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            body = bytes(damaged)
        response = client.session.post(f"{client.url}/face2/{operation}", data=body)
        assert code_of(response) in (9800, 9801, 9802, 9902), body


# Fields ------------------------------------------------------------------------

VALUES: list[Any] = [
    None, True, False, 0, -1, 1.5, 10**400, "", " ", "x", "\x00", "\ud800", "中", [], [[]], {},
    {"a": {}}, ["aGk="], "A" * 100_000,
]


@pytest.mark.parametrize("operation", PICTURES)
def test_wrong_values_for_every_parameter(client: Face2Client, operation: str) -> None:
    good = client.signed(data_of(operation, "aGk="))
    for name, value in itertools.product(good, VALUES):
        response = client.send(operation, {**good, name: value})
        assert code_of(response) in (9800, 9801, 9802), (name, value)


@pytest.mark.parametrize("operation", PICTURES)
def test_wrong_values_for_every_field(client: Face2Client, operation: str) -> None:
    picture = base64_of(encoded(image(), "png"))
    fields = [*PICTURES[operation], *(["max_face_num"] if operation == "locate" else [])]
    for name, value in itertools.product(fields, VALUES):
        if value == "\ud800":
            continue  # a client cannot sign a value that is not text
        data = {**data_of(operation, picture), name: value}
        code = code_of(client.call(operation, data))
        if name == "max_face_num" and value in (None, ""):
            assert code == 0
        else:
            assert code in (9001, 9901, 9902), (name, value)


@pytest.mark.parametrize("operation", PICTURES)
def test_text_that_is_no_unicode(client: Face2Client, operation: str) -> None:
    good = client.signed(data_of(operation, "aGk="))
    response = client.send(operation, {**good, "data": {"image": "\ud800"}})
    assert code_of(response) == 9801


@pytest.mark.parametrize("operation", PICTURES)
def test_fields_nobody_asked_for_are_harmless(client: Face2Client, operation: str) -> None:
    picture = base64_of(encoded(image(), "png"))
    data = {**data_of(operation, picture), "path": "/etc/passwd", "url": "http://127.0.0.1/"}
    assert code_of(client.call(operation, data)) in (0, 9903)


def test_odd_headers_are_harmless(client: Face2Client) -> None:
    for name in ("Prefer", "Idempotency-Key", "X-API-Key", "Authorization", "X-Request-Id"):
        for value in (b"\xff\xfe", b"x" * 8000, b",;=,", b"wait=99999999999999999999"):
            response = client.session.post(
                f"{client.url}/face2/locate", data=b"{}", headers={name: value}
            )
            assert code_of(response) == 9801
            polled = requests.get(f"{client.url}/jobs/{'0' * 32}", headers={name: value})
            assert polled.status_code == 404
