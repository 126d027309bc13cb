"""A host that is configured wrongly joins a deployment that works: no accepted job fails, and the
deployment says what is wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

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
from tests.parallel import free_port
from tests.programs import find_faketime
from tests.stack import Stack

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


@pytest.mark.parametrize("command", ["serve", "worker"])
def test_another_master_key(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str,
    signals: Signals, command: str,
) -> None:
    """It is well-formed. A process with it does not start."""
    wrong = {"master_key": encode_key(os.urandom(KEY_BYTES))}
    with deployment.cluster.faceline(command, port=free_port(), **wrong) as process:
        job_ids = submit(client, photo)
        assert process.wait(60) > 0
    check_done(deployment, job_ids)
    signals.wait(readyz="^200", logs="master key")
    Signals(deployment, request, **wrong).wait(doctor=r"!! master key(.|\n)*exit 1")


# "-25h": results seem to be older than they are to everybody else, or younger.
@pytest.mark.parametrize("offset", ["+25h", "-25h", "+60s"])
def test_another_clock(
    request: pytest.FixtureRequest, deployment: Stack, client: SearchClient, photo: str,
    signals: Signals, offset: str,
) -> None:
    """One host with every role, whose clock is wrong. Jobs go through both."""
    cluster, port = deployment.cluster, free_port()
    earlier = submit(client, photo)
    check_done(deployment, earlier)
    began = database_time(cluster.engine)
    wrong = {
        "LD_PRELOAD": str(find_faketime()), "FAKETIME": offset, "DONT_FAKE_MONOTONIC": "1",
    }
    with ExitStack() as host:
        host.enter_context(cluster.upkeep(wrong))
        host.enter_context(cluster.worker(environment=wrong, concurrency=1))
        host.enter_context(cluster.index(environment=wrong))
        host.enter_context(cluster.shim(wrong, port=port))
        url = f"http://127.0.0.1:{port}"
        Signals(deployment, request, url).wait(readyz="^200")
        wait_for_wrong_clocks(deployment, began)
        job_ids = [*submit(client, photo), *submit(client, photo, url)]
        check_done(deployment, job_ids)
        by_workers = {step["worker"] for job_id in job_ids for step in cluster.job(job_id).trace}
        assert len(by_workers) > 2, "the wrong host has done nothing"
        signals.wait(readyz="^200", doctor=r"!! processes +the clock of (.|\n)*exit 1")
    # Nothing that was there has expired.
    check_done(deployment, earlier)
    assert client.finished(earlier[0]).status_code == 200


def wait_for_wrong_clocks(deployment: Stack, since: float) -> None:
    """Wait until a process of each role that started ``since`` then (epoch seconds of the
    database) says that its clock differs by more than half a minute."""
    table, until = ProcessTable(deployment.cluster.engine), time.monotonic() + WITHIN_S
    while {
        each.role for each in table.alive()
        if each.started_at >= since and abs(each.clock_offset) > 30
    } < ROLES:
        assert time.monotonic() < until, deployment.cluster.logs()
        time.sleep(0.2)
