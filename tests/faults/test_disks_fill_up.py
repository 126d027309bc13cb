"""The disk of a store fills up under a service at work: no accepted job fails, signals say so,
and everything goes on when there is room."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.jobs.model import JobState
from tests.contract_clients import SearchClient
from tests.face2_client import base64_of
from tests.faults.signals import Signals
from tests.parallel import free_port
from tests.servers import MinioServer, PostgresServer
from tests.small_disk import SmallDisk, small_disk
from tests.stack import Stack

JOBS = 12

NO_SPACE = "no space left"

Store = Callable[[Path], AbstractContextManager[tuple[SmallDisk, dict[str, Any]]]]


@contextmanager
def directory(folder: Path) -> Iterator[tuple[SmallDisk, dict[str, Any]]]:
    with small_disk(folder / "disk") as disk:
        yield disk, {"media_url": f"file://{disk.path}/media"}


@contextmanager
def sqlite(folder: Path) -> Iterator[tuple[SmallDisk, dict[str, Any]]]:
    with small_disk(folder / "disk") as disk:
        yield disk, {"database_url": f"sqlite:///{disk.path}/faceline.db"}


@contextmanager
def minio(_: Path) -> Iterator[tuple[SmallDisk, dict[str, Any]]]:
    server = MinioServer()
    server.drive.mkdir()
    with small_disk(server.drive, 64) as disk, server:
        yield disk, {
            "media_url": server.bucket("full"), "media_access_key": server.access_key,
            "media_secret_key": server.secret_key,
        }


@contextmanager
def postgresql(_: Path) -> Iterator[tuple[SmallDisk, dict[str, Any]]]:
    server = PostgresServer()
    with small_disk(server.directory, 160) as disk, server:
        yield disk, {"database_url": server.url}


@pytest.fixture
def photo(test_data: Path) -> str:
    return base64_of(min((test_data / "photos" / "Gerhard_Schroeder").iterdir()))


@pytest.mark.parametrize("store", [directory, sqlite, minio, postgresql])
def test_accepted_jobs_outlast_a_full_disk(
    request: pytest.FixtureRequest, tmp_path: Path, edge_models: Path, photo: str, store: Store
) -> None:
    part = "media" if store in (directory, minio) else "database"
    with (
        store(tmp_path) as (disk, settings),
        Stack(tmp_path, edge_models, row_picture_kb=0, **settings) as stack,
    ):
        port = free_port()
        stack.start_shim(metrics_port=port)
        stack.start_upkeep()
        client = SearchClient(stack)
        accepted = [submit(client, photo) for _ in range(JOBS)]
        stack.start_worker(concurrency=1)
        wait_for_one(stack, accepted)
        disk.fill()
        tells = rf'^503 .*"{part}": ?"{NO_SPACE}"'
        Signals(stack, request, metrics_ports=[port]).wait(
            readyz=tells, health=tells, logs=NO_SPACE, doctor=f"!! {part}.*{NO_SPACE}",
            metrics=rf'faceline_part_usable{{part="{part}"}} 0',
        )
        disk.make_room()
        jobs = stack.cluster.wait(accepted)
        assert {(job.state, job.error_code) for job in jobs} == {(JobState.DONE, None)}
        Signals(stack, request).wait(readyz="^200", health="^200")


def submit(client: SearchClient, photo: str) -> str:
    headers = {"X-API-Key": client.credentials.api_key, "Prefer": "respond-async"}
    response = client.send("POST", "/v1/addface", data={"img": photo}, headers=headers)
    assert response.status_code == 202, response.text
    return str(response.json()["job_id"])


def wait_for_one(stack: Stack, job_ids: list[str]) -> None:
    until = time.monotonic() + 90
    while not any(stack.cluster.job(job_id).ended for job_id in job_ids):
        assert time.monotonic() < until, stack.cluster.logs()
        time.sleep(0.01)
