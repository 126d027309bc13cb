"""The supervisor: it restarts processes that die, and leaves none behind however it ends."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from infra.local.processes import MAX_EARLY_DEATHS, ManagedCommand, Supervisor
from pipeline.errors import ConfigurationError
from tests.processes import start
from tests.waiting import TIMEOUT_S, eventually

# A process with a child of its own, both in one group, that says their ids.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1], "w").write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""

# A supervisor of such a family, in a process that can be killed.
KEEPER = """
import sys
from pathlib import Path
from infra.local.processes import ManagedCommand, Supervisor
supervisor = Supervisor(lambda text: None)
argv = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
supervisor.start(ManagedCommand("family", argv, {}, Path(sys.argv[2] + ".log")))
supervisor.watch(lambda: False)
"""


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def supervisor(told: list[str]) -> Iterator[Supervisor]:
    supervisor = Supervisor(told.append)
    yield supervisor
    supervisor.stop()


def family(tmp_path: Path) -> ManagedCommand:
    argv = [sys.executable, "-c", FAMILY, str(tmp_path / "pids")]
    return ManagedCommand("family", argv, dict(os.environ), tmp_path / "family.log")


def pids(tmp_path: Path) -> list[int]:
    """The ids that the family has written; empty before that."""
    path = tmp_path / "pids"
    return [int(part) for part in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(condition: Callable[[], bool]) -> Callable[[], bool]:
    """A condition for ``watch`` that ends by failing when it takes too long."""
    deadline = time.monotonic() + TIMEOUT_S

    def check() -> bool:
        assert time.monotonic() < deadline, "it did not happen in time"
        return condition()

    return check


def test_a_killed_process_starts_again_without_its_old_children(
    supervisor: Supervisor, told: list[str], tmp_path: Path
) -> None:
    supervisor.start(family(tmp_path))
    supervisor.watch(until(lambda: len(pids(tmp_path)) == 2))
    first, child = pids(tmp_path)
    os.kill(first, signal.SIGKILL)

    supervisor.watch(until(lambda: pids(tmp_path)[0] != first))

    eventually(lambda: not alive(child))
    assert supervisor.pid("family") == pids(tmp_path)[0]
    assert told == ["family was killed (SIGKILL); it starts again in 0.25 s"]


def test_what_ends_by_itself_again_and_again_is_given_up_with_its_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    argv = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    supervisor.start(ManagedCommand("shim", argv, dict(os.environ), tmp_path / "shim.log"))

    with pytest.raises(ConfigurationError, match="the port is taken"):
        supervisor.watch(until(lambda: False))


def test_what_once_was_healthy_is_not_given_up(
    supervisor: Supervisor, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.processes.HEALTHY_S", 0.0)
    monkeypatch.setattr("infra.local.processes.FIRST_PAUSE_S", 0.01)
    argv = [sys.executable, "-c", "import sys; sys.exit(3)"]
    supervisor.start(ManagedCommand("shim", argv, dict(os.environ), tmp_path / "shim.log"))

    supervisor.watch(until(lambda: len(told) > MAX_EARLY_DEATHS + 1))

    assert set(told) == {"shim ended with code 3; it starts again in 0.01 s"}


def test_stop_asks_first_and_kills_what_does_not_listen(
    supervisor: Supervisor, told: list[str], tmp_path: Path
) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + FAMILY
    argv = [sys.executable, "-c", deaf, str(tmp_path / "pids")]
    supervisor.start(ManagedCommand("deaf", argv, dict(os.environ), tmp_path / "log", grace_s=0.3))
    supervisor.watch(until(lambda: len(pids(tmp_path)) == 2))

    supervisor.stop()

    eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)))
    assert told == ["deaf did not stop in time and is killed"]


@pytest.mark.parametrize("whole_group", [False, True], ids=["the-process", "its-group"])
def test_a_killed_supervisor_takes_everything_with_it(
    tmp_path: Path, whole_group: bool
) -> None:
    keeper = start(
        [sys.executable, "-c", KEEPER, FAMILY, str(tmp_path / "pids")], start_new_session=True
    )
    eventually(lambda: len(pids(tmp_path)) == 2)

    (os.killpg if whole_group else os.kill)(keeper.pid, signal.SIGKILL)
    keeper.wait()

    eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)))


def test_a_killed_guard_is_replaced_and_still_guards(tmp_path: Path) -> None:
    keeper = start([sys.executable, "-c", KEEPER, FAMILY, str(tmp_path / "pids")])
    eventually(lambda: len(pids(tmp_path)) == 2)
    (guard,) = guards_of(keeper.pid)
    os.kill(guard, signal.SIGKILL)
    eventually(lambda: guards_of(keeper.pid) not in ([], [guard]))

    keeper.kill()
    keeper.wait()

    eventually(lambda: not any(alive(pid) for pid in pids(tmp_path)))


def guards_of(pid: int) -> list[int]:
    return [
        child.pid
        for child in psutil.Process(pid).children()
        if alive(child.pid) and any(part.endswith("orphan_killer.py") for part in child.cmdline())
    ]


def test_a_log_that_grows_too_large_is_cut(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.processes.LOG_BYTES", 1000)
    command = family(tmp_path)
    supervisor.start(command)
    command.log.write_text("x" * 2000)

    supervisor.watch(until(lambda: command.log.stat().st_size == 0))

    assert command.log.with_name("family.log.1").read_text() == "x" * 2000
