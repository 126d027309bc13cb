"""Clients that leave, a shim that stops, a Redis that is away: the job stays."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import requests

from tests.databases import LAST_DATABASE, ONE_DATABASE
from tests.face2_client import TIMEOUT_S, Json
from tests.stack import Stack


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
        until = time.monotonic() + TIMEOUT_S
        while idle_stack.jobs.read.by_idempotency_key(client.credentials.tenant_id, key) is None:
            assert time.monotonic() < until
            time.sleep(0.02)
    time.sleep(0.2)
    job = idle_stack.jobs.read.by_idempotency_key(client.credentials.tenant_id, key)
    assert job is not None
    assert job.state == "queued"
    client.cancel(job.id)


@ONE_DATABASE
def test_a_stopping_shim_answers_who_waits(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], picture: Json
) -> None:
    with Stack(tmp_path, edge_models, hold_s=10 * TIMEOUT_S, **new_database) as stack:
        client = stack.start_shim().client()
        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.call("locate", picture)))
        thread.start()
        until = time.monotonic() + TIMEOUT_S
        while not stack.jobs.read.counts() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.2)
        assert stack.shim is not None
        stack.shim.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive(), "its response is held on"
        assert answers[0].status_code == 202
        # The job outlives the shim: another one knows it.
        stack.start_shim()
        assert client.poll(answers[0].json()["job_id"]).status_code == 202


@LAST_DATABASE
def test_who_holds_a_cancelled_job_is_answered_at_once(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], picture: Json
) -> None:
    # Responses are held for 30 seconds.
    with Stack(tmp_path, edge_models, **new_database) as stack:
        client = stack.start_shim().client()
        key = uuid.uuid4().hex
        job_id = client.submit("locate", picture, Idempotency_Key=key)
        answers: list[requests.Response] = []

        def hold() -> None:
            answers.append(stack.client().call("locate", picture, Idempotency_Key=key))

        def look() -> None:
            answers.append(stack.client().poll(job_id, wait="30"))

        threads = [threading.Thread(target=hold), threading.Thread(target=look)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)  # by then they wait; if not, they are answered all the same
        client.cancel(job_id)
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert [answer.json()["code"] for answer in answers] == [9999, 9999]
        assert answers[0].content == answers[1].content


@LAST_DATABASE
def test_answers_come_without_redis_wake_ups(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], picture: Json
) -> None:
    """Redis carries wake-ups only: jobs that end while it is frozen are seen in SQL."""
    with Stack(tmp_path, edge_models, **new_database) as stack:
        client = stack.start_shim().client()
        job_id = client.submit("locate", picture)
        stack.redis.freeze()
        answers: list[requests.Response] = []
        thread = threading.Thread(target=lambda: answers.append(client.poll(job_id, wait="20")))
        thread.start()
        time.sleep(0.3)
        stack.jobs.cancel(client.credentials.tenant_id, job_id)
        thread.join(TIMEOUT_S)
        stack.redis.thaw()
        assert answers[0].json()["code"] == 9999


@ONE_DATABASE
def test_submits_are_kept_while_redis_is_away(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], picture: Json
) -> None:
    with Stack(tmp_path, edge_models, resend_after_s=1.0, **new_database) as stack:
        client = stack.start(concurrency=1).client()
        stack.redis.kill()
        job_id = client.submit("locate", picture)
        stack.wait_for_health(status="degraded", broker="away")
        stack.redis.start()
        answer = client.finished(job_id)
        assert answer.json()["code"] == 0
