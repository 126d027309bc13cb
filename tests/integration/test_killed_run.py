"""A test run that is killed leaves no process behind."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import start
from tests.run_guardian import MARK, marked
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
RUN = "tests/integration/everything_started.py"

# Seconds that processes may live on after their run was killed.
LEFT_S = 10.0


class Run:
    """A pytest of one worker process whose only test has started everything."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"{os.environ[MARK]}.inner"
        self.log = folder / "log"
        started = folder / "started"
        with self.log.open("wb") as log:
            self.process = start(
                [sys.executable, "-m", "pytest", "-n", "1", "-p", "no:cacheprovider",
                 "--basetemp", folder / "inner", RUN],
                cwd=ROOT, stdout=log, stderr=log,
                env={
                    **os.environ, MARK: self.mark, "EVERYTHING_STARTED": str(started),
                    "FACELINE_TEST_DATABASE": "sqlite",
                },
            )
        eventually(lambda: started.exists() or self.process.poll() is not None)
        assert started.exists(), self.log.read_text()
        controller = psutil.Process(self.process.pid)
        (self.worker,) = (each for each in controller.children() if each.children())
        self.all = {controller, *controller.children(recursive=True)}

    def left(self) -> list[str]:
        """The commands of the processes that still live."""
        return commands(self.all | set(marked(self.mark)))

    def close(self) -> None:
        for each in self.all | set(marked(self.mark)):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self.process.wait()


def commands(processes: Iterable[psutil.Process]) -> list[str]:
    """The commands of those processes that live."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
    return found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    run.close()


def test_after_sigkill_no_process_is_left(run: Run) -> None:
    left = " ".join(run.left())
    for name in ("redis", "postgres", "minio", "workers", "upkeep", "serve", "infra.cli up"):
        assert name in left
    run.process.kill()
    eventually(lambda: not run.left(), "every process is gone", LEFT_S)


def test_after_sigkill_of_a_worker_and_sigterm_no_process_is_left(run: Run) -> None:
    its_own = run.worker.children(recursive=True)
    assert len(its_own) > 10
    run.worker.kill()
    eventually(lambda: not commands(its_own), "what the worker started is gone", LEFT_S)
    run.process.terminate()
    eventually(lambda: not run.left(), "every process is gone", LEFT_S)
