"""Challenges of document a's ``/api/living``: from asking for one to the evidence."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from sqlalchemy import update

from pipeline.accounts.model import CHALLENGES
from pipeline.database.engine import writing
from pipeline.database.schema import challenges
from pipeline.encryption.hashing import digest
from pipeline.types import Picture
from tests.clips import encoded, pictures_of
from tests.conftest import missing
from tests.contract_clients import ApidClient, checked
from tests.face2_client import Json, base64_of
from tests.stack import Stack

UNUSABLE, REQUIRED = 12, 13

NAMES = {"blink", "mouth", "turn_left", "turn_right", "nod"}

# What a woman does in one of the shared clips, by its frames; she looks ahead at both ends.
SHOWN = {"turn_left": (60, 116), "turn_right": (113, 168), "nod": (168, 222)}


@pytest.fixture(scope="module")
def frames(test_data: Path) -> list[Picture]:
    clip = test_data.parent / "videos" / "people" / "p15.mov"
    if not clip.is_file():
        missing(f"no clip {clip}, beside FACELINE_TEST_DATA")
    return list(pictures_of(clip))


@pytest.fixture(scope="module")
def client(stack: Stack) -> ApidClient:
    return ApidClient(stack)


@pytest.fixture(scope="module")
def face(client: ApidClient, frames: list[Picture]) -> int:
    return client.enrol(portrait(frames[64]))


@pytest.fixture(scope="module")
def short(frames: list[Picture]) -> str:
    """A clip that is accepted, and shows nothing."""
    return base64_of(encoded(frames[60:72], fps=24))


def clip_of(frames: list[Picture], order: Sequence[str]) -> str:
    """The woman doing this, one after the other, in real time."""
    shown = [frame for action in order for frame in frames[slice(*SHOWN[action])]]
    return base64_of(encoded(shown, fps=24))


def ask(client: ApidClient, face: int, **fields: object) -> Json:
    answer = checked(client.call("POST", "living/challenge", Fid=face, **fields))
    assert answer["msg_code"] == 1
    return answer


def judged(client: ApidClient, face: int, asked: Json, clip: str) -> requests.Response:
    """The answer of a clip with its challenge, however long it takes."""
    held = client.call("POST", "living", Fid=face, Challenge=asked["Challenge"], Fvideo=clip)
    return held if held.status_code == 200 else client.finished(held.headers["X-Job-Id"])


def portrait(frame: Picture) -> str:
    return base64_of(cv2.imencode(".jpg", frame)[1].tobytes())


def evidence_of(client: ApidClient, held: requests.Response) -> Json:
    key = {"X-API-Key": client.credentials.api_key}
    return checked(client.send("GET", f"/jobs/{held.headers['X-Job-Id']}/evidence", headers=key))


def refusal(client: ApidClient, **fields: object) -> tuple[int, str]:
    """Code and message of a refused clip."""
    answer = checked(client.call("POST", "living", **fields))
    assert set(answer) == {"msg_code", "message"}, answer
    return answer["msg_code"], answer["message"]


def showable(client: ApidClient, face: int, **fields: object) -> Json:
    """A challenge of two actions that the woman shows."""
    while not {*(asked := ask(client, face, Actions=2, **fields))["Order"]} <= {*SHOWN}:
        pass
    return asked


def submit(client: ApidClient, key: str | None = None, **fields: object) -> requests.Response:
    """The clip as a job, without waiting for its end."""
    known = {"Apid": client.credentials.apid, "Kvalue": client.credentials.kvalue}
    headers = {"Prefer": "respond-async", **({"Idempotency-Key": key} if key else {})}
    return requests.post(
        f"{client.url}/api/living", data={**known, **fields}, headers=headers, timeout=60
    )


def test_what_is_asked_for(client: ApidClient, face: int) -> None:
    usual = ask(client, face)
    assert set(usual) == {"msg_code", "Challenge", "Order", "Seconds"}
    assert len(usual["Order"]) == 3
    assert usual["Seconds"] == 60
    for count in (2, 3, 4):
        orders = [ask(client, face, Actions=count)["Order"] for _ in range(8)]
        assert {len(order) for order in orders} == {count}
        assert {name for order in orders for name in order} <= NAMES
        assert len({tuple(order) for order in orders}) > 1
    assert len({ask(client, face)["Challenge"] for _ in range(5)}) == 5


def test_what_is_no_challenge(client: ApidClient, face: int) -> None:
    for fields in ({"Actions": 1}, {"Actions": 5}, {"Actions": "x"}, {"Mirrored": "maybe"}):
        assert client.code("POST", "living/challenge", Fid=face, **fields) == 9
    assert client.code("POST", "living/challenge") == 9
    assert client.code("POST", "living/challenge", Fid=999_999_999) == 7


def test_a_clip_that_answers(client: ApidClient, face: int, frames: list[Picture]) -> None:
    asked = showable(client, face)
    held = judged(client, face, asked, clip_of(frames, asked["Order"]))
    assert checked(held) == {"msg_code": 1, "match": True, "real": True}
    evidence = evidence_of(client, held)
    numbers = {"turn_left": 3, "turn_right": 4, "nod": 5}
    assert evidence["order"] == [numbers[name] for name in asked["Order"]]
    assert evidence["action"] is None
    seen = [one for one in evidence["happenings"] if one["counted"] and one["action"] > 2]
    assert [one["action"] for one in sorted(seen, key=lambda one: one["peak"])] == evidence["order"]
    assert all(one["new"] is None and one["depth"] > 9 for one in seen)
    assert {"yaw", "pitch"} <= set(evidence["timeline"][0])


def test_another_order_and_a_clip_played_backwards(
    client: ApidClient, face: int, frames: list[Picture]
) -> None:
    for backwards in (False, True):
        asked = showable(client, face)
        order = asked["Order"]
        shown = [frame for action in order for frame in frames[slice(*SHOWN[action])]]
        clip = (
            base64_of(encoded(shown[::-1], fps=24)) if backwards
            else clip_of(frames, order[::-1])
        )
        held = judged(client, face, asked, clip)
        assert checked(held)["real"] is False
        assert "wrong_order" in evidence_of(client, held)["reasons"]


def test_a_mirrored_clip(stack: Stack, frames: list[Picture]) -> None:
    """The client says before it knows the order that the clip will be mirrored."""
    client = ApidClient(stack)
    face = client.enrol(portrait(frames[64]))
    mirrored = [np.asarray(cv2.flip(frame, 1), np.uint8) for frame in frames]
    asked = showable(client, face, Mirrored="true")
    held = judged(client, face, asked, clip_of(mirrored, asked["Order"]))
    assert evidence_of(client, held)["reasons"] == []
    assert checked(held) == {"msg_code": 1, "match": True, "real": True}


def test_a_challenge_that_cannot_be_used(
    stack: Stack, client: ApidClient, face: int, frames: list[Picture], short: str
) -> None:
    other_face = client.enrol(portrait(frames[220]), "other")
    stranger = ApidClient(stack)
    their_face = stranger.enrol(portrait(frames[64]))
    own = ask(client, face)["Challenge"]
    assert refusal(client, Fid=face, Challenge="guessed", Fvideo=short) == (
        UNUSABLE, "The challenge is not known; ask for another one.",
    )
    assert refusal(client, Fid=other_face, Challenge=own, Fvideo=short) == (
        UNUSABLE, "The challenge was issued for another face; ask for another one.",
    )
    assert refusal(stranger, Fid=their_face, Challenge=own, Fvideo=short)[1].startswith(
        "The challenge is not known"
    )
    assert submit(client, Fid=face, Challenge=own, Fvideo=short).status_code == 202
    assert refusal(client, Fid=face, Challenge=own, Fvideo=short) == (
        UNUSABLE, "The challenge was used before; ask for another one.",
    )
    late = ask(client, face)["Challenge"]
    with writing(stack.cluster.engine) as connection:
        connection.execute(
            update(challenges).where(challenges.c.digest == digest(late))
            .values(expires_at=time.time() - 1)
        )
    assert refusal(client, Fid=face, Challenge=late, Fvideo=short) == (
        UNUSABLE, "The challenge has expired; ask for another one.",
    )


def test_errors_before_the_challenge_leave_it_free(
    client: ApidClient, face: int, short: str
) -> None:
    own = ask(client, face)["Challenge"]
    assert client.code("POST", "living", Fid=face, Challenge=own, Action=1, Fvideo=short) == 9
    assert client.code("POST", "living", Fid=face, Challenge=own, Fvideo="aGk=") == 8
    assert submit(client, Fid=face, Challenge=own, Fvideo=short).status_code == 202


def test_two_requests_at_once(client: ApidClient, face: int, short: str) -> None:
    own = ask(client, face)["Challenge"]
    barrier = threading.Barrier(4)

    def send(_: int) -> int:
        barrier.wait(30)
        return submit(client, Fid=face, Challenge=own, Fvideo=short).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(send, range(4))) == [200, 200, 200, 202]


def test_the_same_request_again_is_the_same_job(client: ApidClient, face: int, short: str) -> None:
    own = ask(client, face)["Challenge"]
    send = partial(submit, client, f"key-{own}", Fid=face, Challenge=own, Fvideo=short)
    first, again = send(), send()
    assert (first.status_code, first.json()["job_id"]) == (202, again.json()["job_id"])


def test_an_application_that_must_answer_challenges(
    stack: Stack, frames: list[Picture], short: str
) -> None:
    client = ApidClient(stack)
    name = stack.tenants.get(client.credentials.tenant_id).name
    face = client.enrol(portrait(frames[64]))
    assert submit(client, Fid=face, Fvideo=short).status_code == 202

    faceline = stack.cluster.command
    faceline("apps", "challenge", name)
    assert stack.tenants.by_name(name).settings[CHALLENGES] is True
    assert json.loads(faceline("apps", "limits", name, "--json"))["challenge"] is True
    code, message = refusal(client, Fid=face, Action=1, Fvideo=short)
    assert code == REQUIRED
    assert "/api/living/challenge" in message
    own = ask(client, face)["Challenge"]
    assert submit(client, Fid=face, Challenge=own, Fvideo=short).status_code == 202

    faceline("apps", "challenge", name, "--undo")
    assert submit(client, Fid=face, Action=1, Fvideo=short).status_code == 202
