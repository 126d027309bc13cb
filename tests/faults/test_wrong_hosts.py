"""A host that is configured wrongly joins a deployment that works: no accepted job fails, and the
deployment says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from pipeline.database.clock import database_time
from pipeline.deployment.processes import ProcessTable, Role
from pipeline.encryption.keyring import KEY_BYTES, encode_key
from pipeline.jobs.model import JobState
from tests.contract_clients import SearchClient, checked
from tests.databases import LAST_DATABASE, open_database
from tests.face2_client import base64_of
from tests.faults.signals import Signals
from tests.faults.test_clocks import shifted
from tests.parallel import free_port
from tests.pgbouncer import PgBouncer
from tests.servers import MinioServer
from tests.stack import Stack
from tests.waiting import eventually

# SQLite is for one host.
pytestmark = LAST_DATABASE

JOBS = 6

ROLES = {Role.SHIM, Role.WORKER, Role.INDEX, Role.UPKEEP}

WITHIN_S = 90.0  # for anything on a machine that is busy with other work


@pytest.fixture(scope="module")
def deployment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, edge_models: Path,
    backend: str,
) -> Iterator[Stack]:
    """Hosts that are configured well: a shim, a worker, an index process and upkeep."""
    with (
        open_database(request, backend) as database,
        Stack(
            tmp_path_factory.mktemp("deployment"), edge_models, hold_s=90.0, row_picture_kb=0,
            **database,
        ) as stack,
    ):
        stack.start_index()
        yield stack.start(concurrency=1)


@pytest.fixture
def signals(request: pytest.FixtureRequest, deployment: Stack) -> Signals:
    return Signals(deployment, request)


@pytest.fixture
def client(deployment: Stack, photo: str) -> SearchClient:
    """An application with one face."""
    client = SearchClient(deployment)
    client.add(photo)
    return client


@pytest.fixture(scope="module")
def photo(test_data: Path) -> str:
    return base64_of(min((test_data / "photos" / "Gerhard_Schroeder").iterdir()))


def submit(client: SearchClient, photo: str, url: str | None = None) -> list[str]:
    headers = {"X-API-Key": client.credentials.api_key, "Prefer": "respond-async"}
    data = {"img": photo}
    answers = [
        requests.post(f"{url or client.url}/v1/searchface", data=data, headers=headers, timeout=60)
        for _ in range(JOBS)
    ]
    return [str(checked(answer, 202)["job_id"]) for answer in answers]


def check_done(deployment: Stack, job_ids: Sequence[str]) -> None:
    """Each job has its result, and no attempt of any was lost."""
    jobs = deployment.cluster.wait(job_ids)
    assert {(job.state, job.error_code, job.attempts) for job in jobs} == {
        (JobState.DONE, None, 1)
    }, deployment.cluster.logs()


def test_another_master_key(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str,
    signals: Signals,
) -> None:
    """It is well-formed. A process with it does not start."""
    wrong: dict[str, Any] = {"master_key": encode_key(os.urandom(KEY_BYTES))}
    with (
        deployment.cluster.faceline("serve", port=free_port(), **wrong) as shim,
        deployment.cluster.faceline("worker", **wrong) as worker,
    ):
        job_ids = submit(client, photo)
        assert (shim.wait(WITHIN_S), worker.wait(WITHIN_S)) == (2, 2)
    check_done(deployment, job_ids)
    signals.wait(readyz="^200", logs="master key")
    Signals(deployment, request, **wrong).wait(doctor=r"!! master key(.|\n)*exit 1")


def test_another_pack(
    deployment: Stack, client: SearchClient, photo: str, signals: Signals
) -> None:
    """Another pack, a host without models, and one that takes what it has: none starts."""
    chosen: list[dict[str, object]] = [
        {"pack": "dlib"}, {"models": "/nowhere"}, {"pack": "auto", "models": "/nowhere"},
    ]
    with ExitStack() as hosts:
        workers = [
            hosts.enter_context(deployment.cluster.faceline("worker", **each)) for each in chosen
        ]
        job_ids = submit(client, photo)
        assert all(worker.wait(WITHIN_S) > 0 for worker in workers)
    check_done(deployment, job_ids)
    signals.wait(readyz="^200", logs="pack")


@pytest.mark.parametrize("ahead_s", [60, 90_000, -90_000])
def test_another_clock(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str,
    ahead_s: int,
) -> None:
    """One host with every role, whose clock is wrong. Jobs go through both."""
    cluster, port, metrics_port = deployment.cluster, free_port(), free_port()
    earlier = submit(client, photo)
    check_done(deployment, earlier)
    began, wrong = database_time(cluster.engine), shifted(ahead_s)
    with ExitStack() as host:
        host.enter_context(cluster.upkeep(wrong, metrics_port=metrics_port))
        host.enter_context(cluster.worker(environment=wrong, concurrency=1))
        host.enter_context(cluster.index(environment=wrong))
        host.enter_context(cluster.shim(wrong, port=port))
        url = f"http://127.0.0.1:{port}"
        eventually(
            lambda: wrong_clocks(deployment, began, abs(ahead_s) - 10) >= ROLES, cluster.logs(),
            within_s=WITHIN_S,
        )
        eventually(lambda: is_ready(url), cluster.logs(), within_s=WITHIN_S)
        job_ids = [*submit(client, photo), *submit(client, photo, url)]
        check_done(deployment, job_ids)
        digits = len(str(abs(ahead_s)))
        Signals(deployment, request, metrics_ports=[metrics_port]).wait(
            readyz="^200", logs="clock of the database",
            doctor=rf"!! clock .* is \d{{{digits}}} s",
            metrics=r'faceline_clock_offset_seconds{role="worker"} [1-9]',
        )
    # Nothing that was there has expired.
    check_done(deployment, earlier)
    assert client.finished(earlier[0]).status_code == 200


def is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=60).ok
    except requests.ConnectionError:
        return False


def wrong_clocks(deployment: Stack, since: float, by_s: float) -> set[Role]:
    """The roles of the processes that started after ``since`` (epoch seconds of the database) and
    say that their clock differs by more than ``by_s`` seconds."""
    running = ProcessTable(deployment.cluster.engine).alive()
    return {
        each.role for each in running
        if each.started_at >= since and abs(each.clock_offset) > by_s
    }


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_a_pooler(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str, mode: str
) -> None:
    """One host with every role behind PgBouncer, beside one that connects directly."""
    cluster, port = deployment.cluster, free_port()
    with PgBouncer(str(deployment.settings.database_url), mode) as pooler, ExitStack() as host:
        pooled: dict[str, Any] = {"database_url": pooler.url}
        host.enter_context(cluster.upkeep(**pooled))
        host.enter_context(cluster.worker(concurrency=1, **pooled))
        host.enter_context(cluster.index(**pooled))
        host.enter_context(cluster.shim(port=port, **pooled))
        url = f"http://127.0.0.1:{port}"
        signals = Signals(deployment, request, url, **pooled)
        signals.wait(readyz="^200")
        check_done(deployment, [*submit(client, photo), *submit(client, photo, url)])
        signals.wait(health="^200", doctor="ok limits +every statement and lock has its limit")


def test_a_mistyped_bucket(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str,
    signals: Signals, shared_minio: MinioServer,
) -> None:
    """A shim with it accepts nothing that a worker would not find, and makes no bucket."""
    port, metrics_port = free_port(), free_port()
    wrong: dict[str, Any] = {
        "media_url": f"{shared_minio.url}/fases", "media_access_key": shared_minio.access_key,
        "media_secret_key": shared_minio.secret_key,
    }
    with deployment.cluster.shim(port=port, metrics_port=metrics_port, **wrong):
        url = f"http://127.0.0.1:{port}"
        told = "no bucket fases"
        Signals(deployment, request, url, [metrics_port], **wrong).wait(
            readyz="^503 .*media", health="^503 .*media", logs=told, doctor=f"!! media .*{told}",
            metrics=r'faceline_part_usable{part="media"} 0',
        )
        answer = requests.post(
            f"{url}/v1/searchface", data={"img": photo}, timeout=60,
            headers={"X-API-Key": client.credentials.api_key},
        )
        assert answer.status_code == 503
    assert not shared_minio.client().bucket_exists("fases")
    signals.wait(readyz="^200")
