"""Credentials that give access to a job, and all others, which do not."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.jobs.model import NewJob
from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import Face2Client, Json
from tests.stack import Stack


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


def test_jobs_of_a_batch_are_nobodys_call(stack: Stack) -> None:
    client = stack.client()
    job, _ = stack.cluster.jobs.submit(
        NewJob(
            tenant_id=client.credentials.tenant_id, operation="bulk", dialect="", stage="bulk",
            params={"batch": "0" * 32, "items": [1]}, media=(), request_id="r", digest="d",
        )
    )
    unknown = client.poll("0" * 32)
    for response in (client.poll(job.id), client.cancel(job.id)):
        assert (response.status_code, response.content) == (404, unknown.content)
    assert stack.cluster.jobs.cancel(job.tenant_id, job.id)[1]


def test_the_same_key_and_signature_of_two_tenants_are_two_jobs(
    stack: Stack, picture: Json
) -> None:
    key = uuid.uuid4().hex
    clients = [stack.client(stack.add_tenant(f"same-key-{n}")) for n in range(2)]
    jobs = [client.submit("locate", picture, Idempotency_Key=key) for client in clients]
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


def test_a_poll_in_each_dialects_own_habit(stack: Stack, picture: Json) -> None:
    client = stack.client()
    known = client.credentials
    held = client.call("locate", picture)
    job_id = held.headers["x-job-id"]
    a: Json = {"Apid": known.apid, "Kvalue": known.kvalue}
    c = {"api_id": known.api_id, "api_secret": known.api_secret}
    signed = [client.signed({"job_id": job_id}, kind) for kind in ("SHA256", "SM2")]
    least = {"appId": known.app_id, "timestamp": str(int(time.time())), "data": {}}
    signed.append({**least, "signData": client.signature(least)})
    as_form = {**signed[0], "data": json.dumps(signed[0]["data"])}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    habits: list[dict[str, Any]] = [
        {"params": a}, {"data": a}, {"json": a}, {"data": json.dumps(a), "headers": form},
        {"files": {name: (None, str(value)) for name, value in a.items()}},
        {"params": c}, {"data": c}, {"json": c}, {"auth": tuple(c.values())},
        *({"json": each} for each in signed),
        {"data": json.dumps(signed[0]), "headers": form}, {"data": as_form},
        {"headers": {"X-API-Key": known.api_key}, "data": b"\xff{"},
    ]
    for habit in habits:
        for method in ("GET", "POST"):
            url = f"{stack.url}/jobs/{job_id}"
            sent = {**habit, "params": {**habit.get("params", {}), "wait": "1"}}
            for _ in range(2):
                polled = requests.request(method, url, **sent)
                assert (polled.status_code, polled.content) == (200, held.content), (method, habit)
        assert requests.delete(url, **habit).status_code == 409


# What each dialect answers, with HTTP 401, to a poll without credentials.
UNKNOWN_CALLERS = {"a": 9, "b": 104906, "c": "UNAUTHORIZED", "d": "INVALID_REQUEST", "e": 9801}


@pytest.mark.parametrize("letter", LETTERS)
@pytest.mark.parametrize(
    "sent",
    [{}, {"headers": {"X-API-Key": ""}}, {"headers": {"Authorization": "Bearer x"}},
     {"data": {"wait": "1"}}, {"data": b"\xff{"}, {"json": {"data": {}}},
     {"params": {"wait": "1", "x": "1"}}],
)
def test_no_credentials_at_all_are_401_in_the_dialect(
    stack: Stack, photos: Path, letter: str, sent: dict[str, Any]
) -> None:
    caller = Caller(letter, stack.url, stack.credentials)
    picture = (photos / "obama.jpg").read_bytes()
    job_id = caller.job(picture, Idempotency_Key=f"poll-{letter}").headers["x-job-id"]
    for method in ("GET", "POST", "DELETE"):
        response = requests.request(method, f"{stack.url}/jobs/{job_id}", **sent)
        assert caller.answered(response) == (401, UNKNOWN_CALLERS[letter])
        assert requests.request(method, f"{stack.url}/jobs/{'0' * 32}", **sent).status_code == 404
    response = requests.get(f"{stack.url}/jobs/{job_id}/evidence", **sent)
    assert caller.answered(response) == (401, UNKNOWN_CALLERS[letter])


def test_a_poll_with_a_large_body_is_refused(stack: Stack) -> None:
    response = requests.post(f"{stack.url}/jobs/{'0' * 32}", data=bytes(70_000))
    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")


def test_wrong_credentials_see_nothing(stack: Stack, picture: Json) -> None:
    client = stack.client()
    job_id = client.call("locate", picture).headers["x-job-id"]
    url = f"{stack.url}/jobs/{job_id}"
    app_id, secret = client.credentials.app_id, client.credentials.app_secret
    right = signed_query(client, job_id, "SHA256")
    wrong: list[dict[str, Any]] = [
        {"headers": {"X-API-Key": client.credentials.api_key[:-1]}},
        {"headers": {"X-API-Key": client.credentials.api_key + "x"}},
        {"headers": {"X-API-Key": secret}},
        {"headers": {"Authorization": "Basic !!!"}},
        {"auth": (app_id, secret[:-1])},
        {"auth": (app_id, "")},
        {"auth": ("nobody", secret)},
        {"data": {"Apid": client.credentials.apid}}, {"json": {"Kvalue": secret}},
        {"data": {"api_id": client.credentials.api_id, "api_secret": "x"}},
        {"json": {**client.signed({"job_id": job_id}), "signData": "x"}},
        {"json": client.signed({"job_id": "0" * 32})},
        {"json": client.signed({"job_id": job_id}, timestamp=int(time.time()) - 400)},
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


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_job_takes_no_other_method(stack: Stack, method: str) -> None:
    response = requests.request(method, f"{stack.url}/jobs/{'0' * 32}")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, POST, DELETE")
