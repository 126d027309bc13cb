"""The processes of `faceline up`: few while nobody asks, more for a batch, few again."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from tests.local_service import LocalService
from tests.waiting import TIMEOUT_S, eventually

PHOTOS = 4

# With one core: supervisor, Redis, shim, index with upkeep, the worker's parent and process, the
# fork server and a decoder.
MOST_PROCESSES = 8


@pytest.fixture
def machine(tmp_path: Path, edge_models: Path) -> Iterator[LocalService]:
    machine = LocalService(
        tmp_path, edge_models, pack="edge", port=0, bulk_idle_s=1.0, detection_sizes="64"
    )
    yield machine
    machine.close()


def test_batches_have_a_worker_while_there_are_any(
    machine: LocalService, tmp_path: Path, test_data: Path
) -> None:
    people = sorted((test_data / "lfw_aligned").iterdir())[:PHOTOS]
    for person in people:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        shutil.copy(min(person.glob("*.jpg")), tmp_path / "people" / person.name)
    process = machine.begin("up")
    eventually(lambda: machine.running() is not None or process.poll() is not None, "it serves")
    assert process.poll() is None, machine.said()
    supervisor = psutil.Process(process.pid)
    assert 1 + len(supervisor.children(recursive=True)) <= MOST_PROCESSES
    assert not bulk_runs(machine)

    thumbnail = tmp_path / "people" / "@eaDir" / "1.jpg" / "SYNOPHOTO_THUMB_M.jpg"
    thumbnail.parent.mkdir(parents=True)
    shutil.copy(min(people[0].glob("*.jpg")), thumbnail)
    enrolled = machine.faceline("enroll", str(tmp_path / "people"), "--json")

    assert enrolled.returncode == 0, enrolled.stderr
    told = json.loads(enrolled.stdout)
    assert (told["items"], told["enrolled"], told["skipped"]) == (PHOTOS, PHOTOS, 1)
    assert bulk_runs(machine)
    assert found_in_default(machine, min(people[0].glob("*.jpg"))) > 99
    eventually(lambda: not bulk_runs(machine), "the worker of batches ends")
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 0, machine.said()
    assert machine.processes() == {}


def found_in_default(machine: LocalService, photo: Path) -> float:
    """The score of the best hit of document b's search in the group ``default``."""
    running = machine.running()
    assert running is not None
    key = json.loads((machine.data_dir / "demo.json").read_text())["api_key"]
    picture = base64.b64encode(photo.read_bytes()).decode()
    answer = requests.post(
        f"{running.url}/api/face/search", json={"image": picture, "group": ["default"]},
        headers={"X-API-Key": key}, timeout=TIMEOUT_S,
    ).json()
    score: float = answer["data"]["top1"]["searchScore"]
    return score


def bulk_runs(machine: LocalService) -> bool:
    return any("--stages bulk" in command for command in machine.processes().values())
