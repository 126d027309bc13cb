"""``faceline up``: it shows itself, serves, heals, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import faceline_client
import pytest

from infra.local.demo import demo_photo
from infra.local.stack import PROCESSES
from tests.client_wheel import InstalledClient
from tests.local_service import LocalService
from tests.waiting import TIMEOUT_S, eventually


@pytest.fixture
def up(tmp_path: Path) -> Iterator[LocalService]:
    """Without a pack but dlib's."""
    up = LocalService(tmp_path, tmp_path / "no-models", port=0)
    yield up
    up.close()


def start(up: LocalService, *arguments: str) -> subprocess.Popen[bytes]:
    """`faceline up ARGUMENTS`; returns when it serves."""
    process = up.begin("up", *arguments)
    eventually(lambda: up.running() is not None or process.poll() is not None, "it serves")
    assert process.poll() is None, up.said()
    return process


def pid_of(up: LocalService, words: str) -> int | None:
    """The parent of those processes whose command has ``words``."""
    return min((pid for pid, line in up.processes().items() if words in line), default=None)


def test_the_demonstration_shows_six_faces_and_stops(up: LocalService) -> None:
    ended = up.faceline("up", "--demo", "--once")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"code": 0' in ended.stdout
    boxes = re.findall(r"\[ \d+, \d+, \d+, \d+ \]", ended.stdout)
    assert len(boxes) == 6
    assert (up.data_dir / "demo.png").stat().st_size > 100_000
    assert stat_mode(up.data_dir / "demo.json") == 0o600
    assert up.processes() == {}


def test_it_serves_heals_and_stops_at_ctrl_c(up: LocalService, tmp_path: Path) -> None:
    up.environment |= {"FACELINE_FETCH_URLS": "true", "FACELINE_FETCH_CONCURRENCY": "1"}
    process = start(up, "--demo")
    eventually(lambda: "Ctrl-C stops" in up.said(), "it has shown itself")

    call_by_command(up)
    call_by_shell(up)
    call_by_the_installed_client(up, tmp_path)
    assert re.search(r"^\S*faceline --data-dir \S+ call locate \S+$", up.said(), re.MULTILINE)
    refuse_a_second(up)
    for words in ("redis-server", *(" ".join(command) for command in PROCESSES.values())):
        heal(up, words)
    call_by_command(up)

    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT_S) == 0, up.said()
    assert up.processes() == {}
    assert up.running() is None


def call_by_command(up: LocalService) -> None:
    answers = []

    def succeeds() -> bool:
        done = up.faceline("call", "locate", str(demo_photo()))
        answers.append(done.stdout)
        return done.returncode == 0

    eventually(succeeds, "a call succeeds")
    assert json.loads(answers[-1])["data"]["face_num"] == 6


def call_by_shell(up: LocalService) -> None:
    """Run the printed line in a shell."""
    if shutil.which("curl") is None:
        return
    (line,) = re.findall(r"^APP_ID=.*$", up.said(), re.MULTILINE)
    time.sleep(1.1)  # a signature of the same second would be the same, and refused

    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout)["data"]["face_num"] == 6


def call_by_the_installed_client(up: LocalService, folder: Path) -> None:
    """Build the Python client, install it into an empty environment, run its first example."""
    client, running = InstalledClient(folder), up.running()
    assert running is not None
    kept = json.loads((up.data_dir / "demo.json").read_text())
    known = {"FACE_APID": str(kept["apid"]), "FACE_KVALUE": kept["kvalue"]}
    target = folder / "boxes.png"

    said = client.run(
        client.examples / "boxes.py", demo_photo(), target, env={"FACE_URL": running.url, **known}
    )
    where = client.run("-c", WHERE, env={}).split()

    assert len(said.splitlines()) == 6
    assert target.stat().st_size > 100_000
    assert Path(where[0]).is_relative_to(client.home)
    assert where[1:] == ["typed", "alone", faceline_client.__version__]


WHERE = """
import importlib.metadata, importlib.util, pathlib
import faceline_client
place = pathlib.Path(faceline_client.__file__).parent
print(place)
print("typed" if (place / "py.typed").exists() else "untyped")
print("beside the service" if importlib.util.find_spec("pipeline") else "alone")
print(importlib.metadata.version("faceline-client"))
"""


def refuse_a_second(up: LocalService) -> None:
    second = up.faceline("up")

    assert second.returncode == 2
    assert "runs on" in second.stderr
    assert "--data-dir" in second.stderr
    assert "Traceback" not in second.stderr


def heal(up: LocalService, words: str) -> None:
    """Kill a process of the stack: another comes in its place."""
    old = pid_of(up, words)
    assert old is not None, f"no process {words!r} in {up.processes()}"
    os.kill(old, signal.SIGKILL)
    eventually(lambda: pid_of(up, words) not in (None, old), f"{words!r} starts again")


def test_a_killed_stack_leaves_no_process(up: LocalService) -> None:
    process = start(up)
    eventually(lambda: len([c for c in up.processes().values() if "worker" in c]) > 1, "it works")

    process.kill()
    process.wait()

    eventually(lambda: up.processes() == {}, "every process is gone")
    assert up.running() is None


def test_a_taken_port_is_said_before_anything_starts(up: LocalService) -> None:

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = up.faceline("up", "--port", str(taken.getsockname()[1]))

    assert ended.returncode == 2
    assert "cannot be used" in ended.stderr
    assert "--port N" in ended.stderr
    assert not (up.data_dir / "redis").exists()


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777
