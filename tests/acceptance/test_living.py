"""Document a's ``/api/living``, and the evidence behind its answers."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from sqlalchemy import update

from pipeline.database.engine import writing
from pipeline.database.schema import vectors
from pipeline.errors import PackMismatch
from pipeline.types import Picture
from tests.clips import encoded
from tests.conftest import missing
from tests.contract_clients import ApidClient, checked
from tests.databases import ONE_DATABASE
from tests.face2_client import Json, base64_of
from tests.group_client import FaceGroupClient
from tests.living_clips import on_canvas
from tests.presentations.people import Material
from tests.presentations.portraits import read
from tests.stack import Stack

pytestmark = ONE_DATABASE


@pytest.fixture(scope="module")
def material(test_data: Path) -> Material:
    videos = test_data.parent / "videos"
    if not (videos / "mouth_open.mp4").is_file():
        missing(f"no test video in {videos}, beside FACELINE_TEST_DATA")
    return Material(test_data, videos)


@pytest.fixture(scope="module")
def client(stack: Stack) -> ApidClient:
    return ApidClient(stack)


@pytest.fixture(scope="module")
def enrolled(client: ApidClient, material: Material) -> int:
    """The man of the video, from one of its frames."""
    return client.enrol(base64_of(jpeg(material.live(50, 51)[0])))


@pytest.fixture(scope="module")
def blink(material: Material) -> str:
    return base64_of(encoded(material.live(28, 62)))


def jpeg(picture: Picture) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def living(client: ApidClient, **fields: object) -> Json:
    return checked(client.call("POST", "living", **fields))


def test_the_documents_sample(
    stack: Stack, client: ApidClient, enrolled: int, blink: str
) -> None:
    """As it is printed, but for host and credentials."""
    Apid, password = client.credentials.apid, client.credentials.kvalue
    face_id, base64_encoding = enrolled, blink
    request_data = {
        'Fid': face_id, 'Action': 1, 'Fvideo': base64_encoding, 'Apid': Apid,
        'Kvalue': password, 'Threshold': 0.7,
    }
    with requests.Session() as session:
        session.trust_env = False
        r = session.post(f'{stack.url}/api/living', data=request_data, timeout=90)

    assert r.json() == {"msg_code": 1, "match": True, "real": True}


def test_another_action_is_not_real(
    client: ApidClient, enrolled: int, blink: str, material: Material
) -> None:
    assert living(client, Fid=enrolled, Action=2, Fvideo=blink)["real"] is False
    mouth = base64_of(encoded(material.live(66, 112), kind="webm"))
    assert living(client, Fid=enrolled, Action=2, Fvideo=mouth) == {
        "msg_code": 1, "match": True, "real": True,
    }
    assert living(client, Fid=enrolled, Fvideo=mouth)["real"] is False


def test_someone_else_does_not_match(client: ApidClient, obama: str, blink: str) -> None:
    other = client.enrol(obama)
    assert living(client, Fid=other, Action=1, Fvideo=blink)["match"] is False


def test_the_poll_gives_the_same_and_evidence_says_why(
    stack: Stack, client: ApidClient, enrolled: int, blink: str
) -> None:
    held = client.call("POST", "living", Fid=enrolled, Action=2, Fvideo=blink)
    job = held.headers["X-Job-Id"]
    assert client.finished(job).content == held.content
    key = {"X-API-Key": client.credentials.api_key}
    evidence = checked(client.send("GET", f"/jobs/{job}/evidence", headers=key))
    assert evidence["reasons"] == ["wrong_action"]
    [counted] = [one for one in evidence["happenings"] if one["counted"]]
    assert counted["action"] == 1
    assert 8 <= counted["peak"] <= 14  # the blink is at 37 to 41 of the video, 28 is 0
    assert len(evidence["timeline"]) >= 15
    assert {"index", "time", "lids", "mouth", "identity", "distance", "passive"} <= set(
        evidence["timeline"][0]
    )
    other = {"X-API-Key": ApidClient(stack).credentials.api_key}
    assert client.send("GET", f"/jobs/{job}/evidence", headers=other).status_code == 404


def test_a_job_on_pictures_leaves_no_evidence(client: ApidClient, obama: str) -> None:
    job = client.call("POST", "detection", Fimg=obama).headers["X-Job-Id"]
    key = {"X-API-Key": client.credentials.api_key}
    assert client.send("GET", f"/jobs/{job}/evidence", headers=key).status_code == 404


def test_livenessScore_of_document_b(stack: Stack, test_data: Path) -> None:
    client = FaceGroupClient(stack)
    live, paper, screen = (
        read(test_data / f"spoof/image_{name}.jpg") for name in ("T1", "F1", "F2")
    )
    for one, other in ((live, paper), (live, screen)):
        data = client.ask("POST", "/api/face/compare", {
            "image1": base64_of(jpeg(one)), "image2": base64_of(jpeg(other)),
            "livenessEnabled": True,
        })
        assert data["detectionResult1"]["livenessScore"] > 90
        assert data["detectionResult2"]["livenessScore"] < 40
    found = client.ask("POST", "/api/face/search", {
        "image": base64_of(jpeg(screen)), "group": ["default"], "livenessEnabled": True,
    })
    assert found["detectionResult"]["livenessScore"] < 40


def test_a_clip_is_taken_once(client: ApidClient, material: Material) -> None:
    """The same file, and the same motion re-encoded, scaled down, reversed, or a second and a
    half of it; but not another clip of the same person in the same room."""
    face = client.enrol(base64_of(jpeg(material.live(60, 61)[0])))
    play = material.live(66, 190)
    first = base64_of(encoded(play))
    assert living(client, Fid=face, Action=2, Fvideo=first)["real"] is True
    other = material.live(196, 283)
    assert living(client, Fid=face, Action=2, Fvideo=base64_of(encoded(other)))["real"] is True
    small = [cv2.resize(one, (320, 180), interpolation=cv2.INTER_AREA) for one in play]
    for again in (
        first, base64_of(encoded(play, kind="webm")),
        base64_of(encoded((np.asarray(one, np.uint8) for one in small), kind="avi")),
        base64_of(encoded(play[::-1])), base64_of(encoded(play[:46][::-1])),
    ):
        held = client.call("POST", "living", Fid=face, Action=2, Fvideo=again)
        assert checked(held) == {"msg_code": 1, "match": True, "real": False}
        key = {"X-API-Key": client.credentials.api_key}
        job = held.headers["X-Job-Id"]
        evidence = checked(client.send("GET", f"/jobs/{job}/evidence", headers=key))
        assert evidence["reasons"] == ["replay"]


# Codes -------------------------------------------------------------------------


def test_a_clip_whose_stamps_begin_late(client: ApidClient, material: Material) -> None:
    """For a face of its own: a recording is accepted once for each."""
    face = client.enrol(base64_of(jpeg(material.live(51, 52)[0])))
    late = encoded(material.live(28, 62), kind="webm", times=[3600 + n / 30 for n in range(34)])
    answer = living(client, Fid=face, Fvideo=base64_of(late))
    assert answer == {"msg_code": 1, "match": True, "real": True}


def test_8_no_clip(client: ApidClient, enrolled: int, blink: str, obama: str) -> None:
    clip = base64.b64decode(blink)
    for data in (b"x" * 3000, clip[:2000], b"\0\0\0\x18ftypisom" + bytes(500)):
        assert client.code("POST", "living", Fid=enrolled, Fvideo=base64_of(data)) == 8
    for text in ("!!!!", "a", obama):
        assert client.code("POST", "living", Fid=enrolled, Fvideo=text) == 8


def test_8_too_large_or_too_long(
    client: ApidClient, enrolled: int, material: Material
) -> None:
    heavy = base64_of(b"\0\0\0\x18ftypisom" + random.Random(1).randbytes(21 * 1024 * 1024))
    assert client.code("POST", "living", Fid=enrolled, Fvideo=heavy) == 8
    long = base64_of(encoded(material.live(60, 76) * 2, fps=1))
    assert client.code("POST", "living", Fid=enrolled, Fvideo=long) == 8


def test_5_and_6(
    client: ApidClient, enrolled: int, test_data: Path, photos: Path
) -> None:
    chance = np.random.default_rng(3)
    for code, path in ((5, test_data / "bad/no_face.png"), (6, photos / "two_people.jpg")):
        clip = encoded([on_canvas(read(path), chance)] * 12)
        assert client.code("POST", "living", Fid=enrolled, Fvideo=base64_of(clip)) == code


def test_2_3_7_9(client: ApidClient, enrolled: int, blink: str) -> None:
    good = {"Fid": enrolled, "Action": 1, "Fvideo": blink}
    assert client.code("POST", "living", **{**good, "Kvalue": "wrong"}) == 2
    assert client.code("POST", "living", **{**good, "Apid": 10**9}) == 3
    assert client.code("POST", "living", **{**good, "Fid": 10**9}) == 7
    for wrong in (
        {"Action": 3}, {"Action": 0}, {"Action": "x"}, {"Threshold": 1.5}, {"Fvideo": ""},
        {"Fvideo": None}, {"Fid": None},
    ):
        assert client.code("POST", "living", **{**good, **wrong}) == 9


def test_99_a_face_of_another_pack(
    stack: Stack, client: ApidClient, material: Material, blink: str
) -> None:
    """The service cannot compare, though clip and face are good: held and polled alike."""
    face = client.enrol(base64_of(jpeg(material.live(55, 56)[0])))
    with writing(stack.cluster.engine) as connection:
        other = update(vectors).where(vectors.c.face_id == face).values(pack="another")
        connection.execute(other)
    held = client.call("POST", "living", Fid=face, Action=1, Fvideo=blink)

    assert checked(held) == {"msg_code": 99}
    job = held.headers["X-Job-Id"]
    assert stack.jobs.read.get(client.credentials.tenant_id, job).error_code == PackMismatch.code
    assert client.finished(job).content == held.content


def test_mutated_clips_end_in_a_verdict_or_8(
    client: ApidClient, enrolled: int, blink: str
) -> None:
    clip, chance = base64.b64decode(blink), random.Random(9)
    for _ in range(3):
        mutant = bytearray(clip)
        for _ in range(chance.choice((3, 30, 300))):
            mutant[chance.randrange(len(mutant))] = chance.randrange(256)
        answer = living(client, Fid=enrolled, Fvideo=base64_of(bytes(mutant)))
        assert answer["msg_code"] in (1, 5, 6, 8)
