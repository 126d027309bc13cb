"""Held and polled responses: asynchronous calls, long polls, cancelling, repetition."""

from __future__ import annotations

import base64
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.face2_client import TIMEOUT_S, Json, base64_of, data_of
from tests.stack import Stack

ASYNC = {"Prefer": "respond-async"}


# Held and polled ---------------------------------------------------------------


@pytest.mark.parametrize("operation", ["locate", "features"])
def test_held_and_polled_answers_are_the_same_bytes(
    stack: Stack, picture: Json, operation: str
) -> None:
    client = stack.client()
    held = client.call(operation, picture)
    assert held.status_code == 200
    job_id = held.headers["x-job-id"]
    for _ in range(2):
        polled = client.poll(job_id)
        assert (polled.status_code, polled.content) == (held.status_code, held.content)
        assert polled.headers["content-type"] == held.headers["content-type"]
        assert polled.headers["x-job-id"] == job_id


def test_a_failed_job_is_polled_as_it_was_held(stack: Stack, test_data: Path) -> None:
    client = stack.client()
    nobody = data_of("features", base64_of(test_data / "bad" / "no_face.png"))
    held = client.call("features", nobody)
    assert held.json()["code"] == 9903
    assert client.poll(held.headers["x-job-id"]).content == held.content


def test_an_asynchronous_call(stack: Stack, picture: Json) -> None:
    client = stack.client()
    response = client.call("features", picture, **ASYNC)
    assert response.status_code == 202
    body = response.json()
    assert set(body) == {"job_id", "status", "href"}
    assert body["status"] == "queued"
    assert response.headers["location"] == body["href"] == f"/jobs/{body['job_id']}"
    assert int(response.headers["retry-after"]) >= 1
    assert response.headers["preference-applied"] == "respond-async"
    assert response.headers["x-job-id"] == body["job_id"]
    answer = client.finished(body["job_id"])
    assert answer.status_code == 200
    assert len(answer.json()["data"]["features"]) == 512


def test_a_long_poll_returns_when_the_job_ends(stack: Stack, picture: Json) -> None:
    client = stack.client()
    job_id = client.submit("locate", picture)
    answer = client.poll(job_id, wait="25")
    assert answer.status_code == 200
    assert answer.json()["data"]["face_num"] == 1


# While a job waits -------------------------------------------------------------


def test_a_waiting_job_tells_stage_and_position(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    first = client.submit("locate", picture)
    second = client.submit("locate", {**picture, "n": 2})
    positions = []
    for job_id in (first, second):
        response = client.poll(job_id)
        assert response.status_code == 202
        body = response.json()
        assert set(body) == {"job_id", "status", "stage", "position", "href"}
        assert (body["job_id"], body["status"], body["stage"]) == (job_id, "queued", "decode")
        assert response.headers["location"] == body["href"] == f"/jobs/{job_id}"
        assert int(response.headers["retry-after"]) >= 1
        positions.append(body["position"])
    assert positions[1] == positions[0] + 1
    for job_id in (first, second):
        client.cancel(job_id)


@pytest.mark.parametrize("prefer", ["", "wait=0", "WAIT=1, handling=lenient", 'wait="1"; x'])
def test_a_response_is_not_held_for_ever(
    idle_stack: Stack, picture: Json, prefer: str
) -> None:
    client = idle_stack.client()
    response = client.call("locate", picture, Prefer=prefer)
    assert response.status_code == 202
    assert set(response.json()) == {"job_id", "status", "href"}
    client.cancel(response.json()["job_id"])


def test_a_long_poll_gives_up(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    job_id = client.submit("locate", picture)
    for wait in ("0", "0.2", "3600", "1e1"):  # capped by the one second of this stack
        assert client.poll(job_id, wait=wait).status_code == 202
    client.cancel(job_id)


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "inf", "", "1e999", "0x1"])
def test_a_wrong_wait_is_refused(stack: Stack, picture: Json, wait: str) -> None:
    client = stack.client()
    job_id = client.submit("locate", picture)
    response = client.poll(job_id, wait=wait)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_parameter"


# Cancelling --------------------------------------------------------------------


def test_cancelling(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    job_id = client.submit("locate", picture)
    response = client.cancel(job_id)
    assert response.status_code == 200
    assert response.json() == {"job_id": job_id, "status": "cancelled", "href": f"/jobs/{job_id}"}
    answer = client.poll(job_id)
    assert (answer.status_code, answer.json()["code"]) == (200, 9999)
    again = client.cancel(job_id)
    assert (again.status_code, again.json()["code"]) == (409, "job_ended")


def test_a_finished_job_cannot_be_cancelled(stack: Stack, picture: Json) -> None:
    client = stack.client()
    held = client.call("locate", picture)
    job_id = held.headers["x-job-id"]
    assert client.cancel(job_id).status_code == 409
    assert client.poll(job_id).content == held.content


# Repetition --------------------------------------------------------------------


def test_an_idempotency_key_returns_the_first_job(stack: Stack, picture: Json) -> None:
    client = stack.client()
    key = uuid.uuid4().hex
    first = client.call("locate", picture, Idempotency_Key=key)
    assert first.json()["code"] == 0
    # Signed again at another second, or the very same request: both get the first answer.
    later = client.signed(picture, timestamp=int(time.time()) - 1)
    again = client.send("locate", later, Idempotency_Key=key)
    twice = client.send("locate", later, Idempotency_Key=key)
    for answer in (again, twice):
        assert answer.headers["x-job-id"] == first.headers["x-job-id"]
        assert answer.content == first.content


def test_an_idempotency_key_belongs_to_one_request(
    stack: Stack, picture: Json, test_data: Path
) -> None:
    client = stack.client()
    key = uuid.uuid4().hex
    assert client.call("locate", picture, Idempotency_Key=key).json()["code"] == 0
    other = {**picture, "image": base64_of(test_data / "photos" / "biden.jpg")}
    conflicts = [
        client.call("locate", other, Idempotency_Key=key),
        client.call("locate", {**picture, "max_face_num": 2}, Idempotency_Key=key),
        client.call("features", picture, Idempotency_Key=key),
    ]
    for answer in conflicts:
        assert answer.json()["code"] == 9801
        assert "Idempotency-Key" in answer.json()["data"]["msg"]


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_an_odd_idempotency_key_is_refused(stack: Stack, picture: Json, key: str) -> None:
    answer = stack.client().call("locate", picture, Idempotency_Key=key)
    assert answer.json()["code"] == 9801


@pytest.mark.parametrize("keyed", [True, False])
def test_many_repetitions_at_once_make_one_job(
    stack: Stack, picture: Json, *, keyed: bool
) -> None:
    """By an idempotency key, or by the signature alone."""
    headers = {"Idempotency_Key": uuid.uuid4().hex} if keyed else {}
    parameters = stack.client().signed(picture)
    answers: list[requests.Response] = []

    def submit() -> None:
        answers.append(stack.client().send("locate", parameters, **headers))

    at_once([submit] * 8)
    assert len({answer.headers.get("x-job-id") for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1


def test_many_replays_at_once_are_accepted_once(stack: Stack, picture: Json) -> None:
    client = stack.client(stack.add_tenant("no-replays", {"e_repeats": "refuse"}))
    parameters = client.signed(picture)
    answers: list[Json] = []
    at_once([lambda: answers.append(client.send("locate", parameters).json())] * 8)
    assert sorted(answer["code"] for answer in answers) == [0] + [9801] * 7


def at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)


def test_request_ids(stack: Stack, picture: Json) -> None:
    client = stack.client()
    own = client.call("locate", picture)
    assert own.headers["x-request-id"] == own.json()["data"]["requestId"]
    given = client.call("locate", {**picture, "n": 2}, X_Request_Id="my-request.0001")
    assert given.headers["x-request-id"] == given.json()["data"]["requestId"] == "my-request.0001"
    for odd in ("short", "x" * 65, "a b c d e f g", base64.b64encode(b"+" * 9).decode() + "=/"):
        answer = requests.get(f"{stack.url}/health", headers={"X-Request-Id": odd})
        assert answer.headers["x-request-id"] != odd
