"""The service on PostgreSQL and MinIO, and on a PostgreSQL that goes away."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.face2_client import base64_of
from tests.servers import MinioServer, PostgresServer
from tests.stack import Stack
from tests.waiting import TIMEOUT_S


@pytest.fixture
def face(test_data: Path) -> str:
    return base64_of(min((test_data / "photos" / "Donald_Rumsfeld").iterdir()))


@pytest.fixture
def production(
    tmp_path: Path, edge_models: Path, postgres_url: str, minio_server: MinioServer
) -> Iterator[Stack]:
    with Stack(
        tmp_path, edge_models, database_url=postgres_url,
        media_url=minio_server.bucket("faces"), media_access_key=minio_server.access_key,
        media_secret_key=minio_server.secret_key,
    ) as stack:
        yield stack


def test_the_same_answers_on_other_stores(production: Stack, face: str) -> None:
    client = production.start(concurrency=1).client()
    held = client.call("features", {"image": face})
    assert len(held.json()["data"]["features"]) == 512
    assert client.poll(held.headers["x-job-id"]).content == held.content
    signed = client.signed({"image": face, "n": 1})
    once, twice = (client.send("locate", signed) for _ in range(2))
    assert once.json()["code"] == 0
    assert (twice.content, twice.headers["x-job-id"]) == (once.content, once.headers["x-job-id"])
    assert client.send("features", signed).json()["code"] == 9801
    key = uuid.uuid4().hex
    again = [
        client.call("locate", {"image": face, "n": 2}, Idempotency_Key=key) for _ in range(2)
    ]
    assert again[0].content == again[1].content
    stranger = production.client(production.add_tenant("stranger"))
    assert stranger.poll(held.headers["x-job-id"]).status_code == 404
    for odd in ("' or 1=1 --", "\x00", "x" * 10_000):
        answer = client.call("locate", {"image": face}, X_Request_Id="odd-00001")
        assert answer.status_code == 200
        refused = client.send("locate", client.signed({"image": face}, appId=odd))
        assert refused.json()["code"] == 9800


def test_a_database_that_goes_away(
    production: Stack, postgres_server: PostgresServer, face: str
) -> None:
    client = production.start_shim().client()
    kept = client.call("locate", {"image": face}, Prefer="respond-async").json()["job_id"]
    postgres_server.stop()
    try:
        began = time.monotonic()
        refused = client.call("locate", {"image": face, "n": 1})
        assert time.monotonic() - began < TIMEOUT_S
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["code"] == 9999
        assert "database" in refused.json()["data"]["msg"]
        polled = client.poll(kept)
        assert (polled.status_code, polled.json()["code"]) == (503, "database_unavailable")
        production.wait_for_health(status="unavailable", database="away")
        for text in (refused.text, polled.text):
            assert "127.0.0.1" not in text
            assert "select" not in text.lower()
    finally:
        postgres_server.start()
    production.start_worker(concurrency=1)
    until = time.monotonic() + TIMEOUT_S
    while (answer := client.poll(kept, wait="10")).status_code != 200:
        assert time.monotonic() < until, answer.text
    assert answer.json()["code"] == 0
