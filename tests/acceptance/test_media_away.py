"""A10: the media store stops in the middle."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.storage_keys import media_hash
from tests.databases import ONE_DATABASE
from tests.face2_client import Face2Client, base64_of
from tests.servers import MinioServer
from tests.stack import Stack
from tests.waiting import TIMEOUT_S

# Seconds within which a request is refused, on a busy machine too: far below what 24 requests wait
# that each find out for themselves, one after the other.
SOON_S = 20.0


@pytest.fixture
def s3_stack(
    tmp_path: Path, edge_models: Path, new_database: dict[str, object], minio_server: MinioServer
) -> Iterator[Stack]:
    """A service with its media in MinIO, uploads included."""
    with Stack(
        tmp_path, edge_models, **new_database,
        media_url=minio_server.bucket("faces"), media_access_key=minio_server.access_key,
        media_secret_key=minio_server.secret_key, resend_after_s=1.0, row_picture_kb=0,
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def faces(test_data: Path) -> list[str]:
    folder = test_data / "photos" / "Gerhard_Schroeder"
    return [base64_of(path) for path in sorted(folder.iterdir())]


def submit(client: Face2Client, face: str, serial: int) -> requests.Response:
    data = {"image": face, "serial": serial}
    return client.call("features", data, Prefer="respond-async")


@ONE_DATABASE
@pytest.mark.parametrize("how", ["kill", "freeze"])
def test_submits_are_refused_and_accepted_jobs_finish(
    s3_stack: Stack, minio_server: MinioServer, faces: list[str], how: str
) -> None:
    s3_stack.start_shim()
    client = s3_stack.client()
    accepted = [submit(client, face, 0).json()["job_id"] for face in faces]
    assert whole(s3_stack) == len(faces)

    minio_server.kill() if how == "kill" else minio_server.freeze()
    s3_stack.start_worker()
    s3_stack.start_upkeep()
    refuse_soon(s3_stack, faces)
    s3_stack.wait_for_health(status="unavailable", media="away")
    # Jobs accepted before are kept, and polls go on.
    wait_for_tries(s3_stack, accepted)
    assert client.poll(accepted[0]).status_code == 202

    minio_server.start() if how == "kill" else minio_server.thaw()
    for job_id in accepted:
        assert client.finished(job_id).json()["code"] == 0
    again = client.signed({"image": faces[0], "serial": 99})
    until = time.monotonic() + TIMEOUT_S
    while (first := client.send("features", again)).status_code == 503:
        assert time.monotonic() < until
        time.sleep(0.1)
    repeated = client.send("features", again)  # it was accepted, once
    assert repeated.headers["x-job-id"] == first.headers["x-job-id"]
    whole(s3_stack)


def refuse_soon(stack: Stack, faces: list[str]) -> None:
    """More submits at once than the shim has threads: each is refused in time."""
    answers: list[tuple[float, requests.Response]] = []

    def one(serial: int) -> None:
        began = time.monotonic()
        response = submit(stack.client(), faces[serial % len(faces)], serial)
        answers.append((time.monotonic() - began, response))

    threads = [threading.Thread(target=one, args=(serial,)) for serial in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(threads)
    for seconds, response in answers:
        assert response.status_code == 503
        assert int(response.headers["retry-after"]) > 0
        assert response.json()["code"] == 9999
        assert "media store" in response.json()["data"]["msg"]
        assert "127.0.0.1" not in response.text
        assert seconds < SOON_S


def wait_for_tries(stack: Stack, job_ids: list[str]) -> None:
    """Wait until a worker has tried some of the jobs and given them back."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        jobs = [stack.jobs.read.find(job_id) for job_id in job_ids]
        if any(job is not None and (job.error or {}).get("code") == "media_unavailable"
               for job in jobs):
            return
        time.sleep(0.1)
    pytest.fail("no job was tried")


def whole(stack: Stack) -> int:
    """How many objects the store has; every one has the bytes that its name promises."""
    stored = list(stack.cluster.media.walk(""))
    for found in stored:
        assert len(stack.cluster.media.get(found.key)) == found.size
        assert len(media_hash(found.key)) == 64
    return len(stored)
