"""Held and polled responses: asynchronous calls, long polls, cancelling, repetition."""

from __future__ import annotations

import base64
import itertools
import json
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.face2_client import Face2Client, Json, base64_of
from tests.stack import Stack

ASYNC = {"Prefer": "respond-async"}
SERIAL = itertools.count()

# Far more than any of these waits needs on a busy machine.
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def face(test_data: Path) -> str:
    return base64_of(min((test_data / "photos" / "Colin_Powell").iterdir()))


@pytest.fixture
def picture(face: str) -> Json:
    """The data of a call that no other test makes in the same second."""
    return {"image": face, "serial": next(SERIAL)}


def finished(client: Face2Client, job_id: str) -> requests.Response:
    """The answer of a job, long-polled to its end."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        response = client.poll(job_id, wait="10")
        if response.status_code != 202:
            return response
    pytest.fail("the job has not ended")


def submitted(client: Face2Client, picture: Json, **headers: str) -> str:
    response = client.call("locate", picture, **ASYNC, **headers)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


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
    nobody = {"image": base64_of(test_data / "bad" / "no_face.png"), "serial": next(SERIAL)}
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
    answer = finished(client, body["job_id"])
    assert answer.status_code == 200
    assert len(answer.json()["data"]["features"]) == 512


def test_a_long_poll_returns_when_the_job_ends(stack: Stack, picture: Json) -> None:
    client = stack.client()
    job_id = submitted(client, picture)
    answer = client.poll(job_id, wait="25")
    assert answer.status_code == 200
    assert answer.json()["data"]["face_num"] == 1


# While a job waits -------------------------------------------------------------


def test_a_waiting_job_tells_stage_and_position(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    first = submitted(client, picture)
    second = submitted(client, {**picture, "n": 2})
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
    job_id = submitted(client, picture)
    for wait in ("0", "0.2", "3600", "1e1"):  # capped by the two seconds of this stack
        assert client.poll(job_id, wait=wait).status_code == 202
    client.cancel(job_id)


@pytest.mark.parametrize("wait", ["-1", "soon", "nan", "inf", "", "1e999", "0x1"])
def test_a_wrong_wait_is_refused(stack: Stack, picture: Json, wait: str) -> None:
    client = stack.client()
    job_id = submitted(client, picture)
    response = client.poll(job_id, wait=wait)
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_parameter"


# Cancelling --------------------------------------------------------------------


def test_cancelling(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    job_id = submitted(client, picture)
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


def test_who_holds_a_cancelled_job_is_answered_at_once(
    stack: Stack, idle_stack: Stack, picture: Json
) -> None:
    client = idle_stack.client()
    answers: list[requests.Response] = []
    key = uuid.uuid4().hex
    job_id = submitted(client, picture, Idempotency_Key=key)

    def hold() -> None:
        answers.append(idle_stack.client().call("locate", picture, Idempotency_Key=key))

    def look() -> None:
        answers.append(idle_stack.client().poll(job_id, wait="2"))

    threads = [threading.Thread(target=hold), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    client.cancel(job_id)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert [answer.json()["code"] for answer in answers] == [9999, 9999]
    assert answers[0].content == answers[1].content


# Repetition --------------------------------------------------------------------


def test_an_idempotency_key_returns_the_first_job(stack: Stack, picture: Json) -> None:
    client = stack.client()
    key = uuid.uuid4().hex
    first = client.call("locate", picture, Idempotency_Key=key)
    assert first.json()["code"] == 0
    # Signed anew at another second, or the very same request: both get the first answer.
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


def test_many_repetitions_at_once_make_one_job(stack: Stack, picture: Json) -> None:
    key = uuid.uuid4().hex
    parameters = stack.client().signed(picture)
    answers: list[requests.Response] = []

    def submit() -> None:
        answers.append(stack.client().send("locate", parameters, Idempotency_Key=key))

    at_once([submit] * 8)
    assert len({answer.headers.get("x-job-id") for answer in answers}) == 1
    assert len({answer.content for answer in answers}) == 1


def test_many_replays_at_once_are_accepted_once(stack: Stack, picture: Json) -> None:
    parameters = stack.client().signed(picture)
    answers: list[Json] = []
    at_once([lambda: answers.append(stack.client().send("locate", parameters).json())] * 8)
    assert sorted(answer["code"] for answer in answers) == [0] + [9801] * 7


def at_once(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)


# Whose job it is ---------------------------------------------------------------


def test_other_tenants_see_nothing(stack: Stack, picture: Json) -> None:
    mine = stack.client()
    other = stack.client(stack.add_tenant("other"))
    held = mine.call("locate", picture)
    job_id = held.headers["x-job-id"]
    unknown = other.poll("0" * 32)
    for response in (other.poll(job_id), other.cancel(job_id), other.poll(job_id, wait="1")):
        assert (response.status_code, response.content) == (404, unknown.content)
        assert "x-job-id" not in response.headers
    assert mine.poll(job_id).content == held.content


def test_the_same_key_and_signature_of_two_tenants_are_two_jobs(
    stack: Stack, picture: Json
) -> None:
    key = uuid.uuid4().hex
    jobs = [
        submitted(stack.client(stack.add_tenant(f"same-key-{n}")), picture, Idempotency_Key=key)
        for n in range(2)
    ]
    assert jobs[0] != jobs[1]


def test_every_kind_of_credential_polls(stack: Stack, picture: Json) -> None:
    client = stack.client()
    credentials = client.credentials
    held = client.call("locate", picture)
    url = f"{stack.url}/jobs/{held.headers['x-job-id']}"
    assert requests.get(url, headers={"X-API-Key": credentials.api_key}).content == held.content
    basic = (credentials.app_id, credentials.app_secret)
    assert requests.get(url, auth=basic).content == held.content
    for sign_type in ("SHA256", "SM2"):
        query = signed_query(client, held.headers["x-job-id"], sign_type)
        for _ in range(2):  # a poll changes nothing: the same one may come again
            assert requests.get(url, params={**query, "wait": "1"}).content == held.content


def test_wrong_credentials_see_nothing(stack: Stack, picture: Json) -> None:
    client = stack.client()
    job_id = client.call("locate", picture).headers["x-job-id"]
    url = f"{stack.url}/jobs/{job_id}"
    app_id, secret = client.credentials.app_id, client.credentials.app_secret
    right = signed_query(client, job_id, "SHA256")
    wrong: list[dict[str, Any]] = [
        {},
        {"headers": {"X-API-Key": ""}},
        {"headers": {"X-API-Key": client.credentials.api_key[:-1]}},
        {"headers": {"X-API-Key": client.credentials.api_key + "x"}},
        {"headers": {"X-API-Key": secret}},
        {"headers": {"Authorization": "Basic !!!"}},
        {"headers": {"Authorization": f"Bearer {client.credentials.api_key}"}},
        {"auth": (app_id, secret[:-1])},
        {"auth": (app_id, "")},
        {"auth": ("nobody", secret)},
        {"params": {**right, "signData": "x"}},
        {"params": {**right, "timestamp": str(int(right["timestamp"]) + 1)}},
        {"params": {**right, "data": "{}"}},
        {"params": {**right, "data": "x"}},
        {"params": {**right, "wait": "1", "more": "1"}},
        {"params": signed_query(client, "0" * 32, "SHA256")},
        {"params": {key: value for key, value in right.items() if key != "version"}},
    ]
    for credentials in wrong:
        for method in ("GET", "DELETE"):
            response = requests.request(method, url, **credentials)
            assert response.status_code == 404, credentials
            assert response.json()["code"] == "job_not_found"


def signed_query(client: Face2Client, job_id: str, sign_type: str) -> dict[str, str]:
    """The parameters of a poll, signed as those of a call are."""
    parameters = client.signed({"job_id": job_id}, sign_type)
    data = json.dumps(parameters["data"], separators=(",", ":"))
    return {**{name: str(value) for name, value in parameters.items()}, "data": data}


@pytest.mark.parametrize("job_id", ["x", "0" * 32, "%00", "..%2Fhealth", "0" * 5000, "é"])
def test_there_is_no_such_job(stack: Stack, job_id: str) -> None:
    response = stack.client().poll(job_id)
    assert (response.status_code, response.json()["code"] in ("job_not_found", "not_found")) == (
        404, True
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_a_job_takes_get_and_delete_only(stack: Stack, method: str) -> None:
    response = requests.request(method, f"{stack.url}/jobs/{'0' * 32}")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, DELETE")


# Clients that leave, services that stop ------------------------------------------


def test_a_client_that_leaves_does_not_end_its_job(idle_stack: Stack, picture: Json) -> None:
    client = idle_stack.client()
    key = uuid.uuid4().hex
    body = json.dumps(client.signed(picture)).encode()
    place = urlsplit(client.url)
    with socket.create_connection((place.hostname, place.port or 80)) as connection:
        connection.sendall(
            b"POST /face2/locate HTTP/1.1\r\nHost: x\r\nIdempotency-Key: " + key.encode()
            + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
        )
        until = time.monotonic() + PATIENCE_S
        while idle_stack.jobs.by_idempotency_key(client.credentials.tenant_id, key) is None:
            assert time.monotonic() < until
            time.sleep(0.02)
    time.sleep(0.2)
    job = idle_stack.jobs.by_idempotency_key(client.credentials.tenant_id, key)
    assert job is not None
    assert job.state == "queued"
    client.cancel(job.id)


def test_a_stopping_shim_answers_who_waits(
    tmp_path: Path, edge_models: Path, picture: Json
) -> None:
    with Stack(tmp_path, edge_models) as stack:  # responses are held for 30 seconds
        client = stack.start_shim().client()
        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.call("locate", picture)))
        thread.start()
        until = time.monotonic() + PATIENCE_S
        while not stack.jobs.counts() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        assert stack.shim is not None
        stopped_at = time.monotonic()
        stack.shim.stop()
        thread.join(PATIENCE_S)
        assert time.monotonic() - stopped_at < 15
        assert answers[0].status_code == 202
        # The job outlives the shim: another one knows it.
        stack.start_shim()
        assert client.poll(answers[0].json()["job_id"]).status_code == 202


def test_answers_come_without_redis_wake_ups(
    tmp_path: Path, edge_models: Path, picture: Json
) -> None:
    """Redis carries wake-ups only: jobs that end while it is frozen are seen in SQL."""
    with Stack(tmp_path, edge_models) as stack:
        client = stack.start_shim().client()
        job_id = submitted(client, picture)
        stack.redis.freeze()
        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.poll(job_id, wait="20")))
        thread.start()
        time.sleep(0.3)
        stack.jobs.cancel(client.credentials.tenant_id, job_id)
        thread.join(PATIENCE_S)
        stack.redis.thaw()
        assert answers[0].json()["code"] == 9999


def test_submits_are_kept_while_redis_is_away(
    tmp_path: Path, edge_models: Path, picture: Json
) -> None:
    with Stack(tmp_path, edge_models, resend_after_s=1.0) as stack:
        client = stack.start(concurrency=1).client()
        stack.redis.kill()
        job_id = submitted(client, picture)
        until = time.monotonic() + PATIENCE_S
        while (stack.health() or {}).get("broker") != "away":
            assert time.monotonic() < until
            time.sleep(0.1)
        assert (stack.health() or {})["status"] == "degraded"
        stack.redis.start()
        answer = finished(client, job_id)
        assert answer.json()["code"] == 0


def test_request_ids(stack: Stack, picture: Json) -> None:
    client = stack.client()
    own = client.call("locate", picture)
    assert own.headers["x-request-id"] == own.json()["data"]["requestId"]
    given = client.call("locate", {**picture, "n": 2}, X_Request_Id="my-request.0001")
    assert given.headers["x-request-id"] == given.json()["data"]["requestId"] == "my-request.0001"
    for odd in ("short", "x" * 65, "a b c d e f g", base64.b64encode(b"+" * 9).decode() + "=/"):
        answer = requests.get(f"{stack.url}/health", headers={"X-Request-Id": odd})
        assert answer.headers["x-request-id"] != odd
