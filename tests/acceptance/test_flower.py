"""Flower shows workers and their tasks when events are switched on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.databases import ONE_DATABASE
from tests.parallel import free_port
from tests.processes import start
from tests.stack import MakeCluster
from tests.waiting import eventually

pytestmark = ONE_DATABASE


@pytest.fixture
def flower(redis_server: Any, tmp_path: Path) -> Iterator[str]:
    """The address of a real Flower on the broker."""
    port = free_port()
    with (tmp_path / "flower.txt").open("wb") as log:
        process = start(
            [
                sys.executable, "-m", "celery", f"--broker={redis_server.url}", "flower",
                "--address=127.0.0.1", f"--port={port}",
            ],
            env={**os.environ, "FLOWER_UNAUTHENTICATED_API": "true"}, cwd=tmp_path,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        eventually(lambda: process.poll() is not None or answers(url), "Flower answers")
        assert process.poll() is None, (tmp_path / "flower.txt").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(60)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthcheck", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def workers(url: str) -> list[Any]:
    """The workers that Flower takes for running."""
    return [row for row in read(url, "/workers?json=1")["data"] if row["status"]]


def tasks(url: str) -> list[Any]:
    return list(read(url, "/api/tasks").values())


def read(url: str, path: str) -> Any:
    answer = requests.get(f"{url}{path}", timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_flower_shows_workers_and_tasks(
    flower: str, make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    cluster = make_cluster(celery_events=True)
    with cluster.worker(), cluster.upkeep():
        eventually(lambda: workers(flower), "Flower shows the worker", 60.0)
        job = cluster.submit("locate", tiny_pictures[0])
        eventually(
            lambda: [each["state"] for each in tasks(flower)] == ["SUCCESS"],
            "Flower shows the task", 60.0,
        )

    (task,) = tasks(flower)
    assert task["name"] == "faceline.decode"
    assert job in task["args"]


def test_a_worker_without_the_setting_sends_nothing(
    flower: str, make_cluster: MakeCluster, tiny_pictures: list[bytes]
) -> None:
    cluster = make_cluster()
    with cluster.worker(), cluster.upkeep(), cluster.index(celery_events=True):
        eventually(lambda: workers(flower), "Flower shows the other worker", 60.0)
        cluster.wait([cluster.submit("locate", tiny_pictures[0])])
        # Another heartbeat of the other: what was sent before it has arrived.
        seen = workers(flower)[0]["heartbeats"]
        eventually(lambda: workers(flower)[0]["heartbeats"] != seen, within_s=60.0)

        assert len(workers(flower)) == 1
        assert tasks(flower) == []
