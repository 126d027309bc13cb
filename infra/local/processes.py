"""Starting, watching and stopping the processes of the embedded stack."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.errors import ConfigurationError

HERE = Path(__file__).parent

# Seconds before a dead process is started again: doubled at each death in a row.
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 15.0

# A process that lived this long (seconds) was healthy: its next death is a first one.
HEALTHY_S = 20.0

# Deaths in a row by its own exit, not by a signal, after which a process that was never
# healthy is held to be wrongly configured: starting it again would not help.
MAX_EARLY_DEATHS = 4

# Bytes after which a log file is cut; one older part is kept.
LOG_BYTES = 20_000_000

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ManagedCommand:
    """A process to keep alive. ``grace_s`` is how long it may take to stop."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    grace_s: float = 10.0


@dataclass(slots=True)
class _ManagedProcess:
    command: ManagedCommand
    process: subprocess.Popen[bytes]
    started: float
    deaths: int = 0
    proven: bool = False
    restart_at: float | None = None


@dataclass(slots=True)
class Supervisor:
    """Keeps commands alive, in the order in which they were started.

    ``report`` is told each death and restart as a sentence. Use it from the main
    thread only: the kernel ties a child's life to the thread that started it.
    """

    report: Callable[[str], None]
    _children: dict[str, _ManagedProcess] = field(default_factory=dict)
    _orphan_killer: subprocess.Popen[bytes] | None = None

    def start(self, command: ManagedCommand) -> None:
        """Start ``command`` and keep it alive from now on."""
        process = self._spawn(command)
        self._children[command.name] = _ManagedProcess(command, process, time.monotonic())

    def pid(self, name: str) -> int:
        return self._children[name].process.pid

    def watch(self, until: Callable[[], bool]) -> None:
        """Start again what dies, until ``until()``.

        Raises ``ConfigurationError`` when a process does not get beyond its start.
        """
        while not until():
            for child in self._children.values():
                self._look_after(child)
            self._look_after_guard()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """End everything, the last started first; what is slow is killed."""
        for child in reversed(self._children.values()):
            self._end(child)
        self._children.clear()
        if self._orphan_killer is not None and self._orphan_killer.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._orphan_killer.stdin.close()
            self._orphan_killer.wait()

    def _look_after(self, child: _ManagedProcess) -> None:
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                child.process = self._spawn(child.command)
                child.started, child.restart_at = now, None
            return
        code = child.process.poll()
        if code is None:
            _cut(child.command.log)
            return
        # Its own children must not go on beside the next ones.
        self._kill_group(child.process.pid)
        healthy = now - child.started > HEALTHY_S
        child.proven |= healthy
        child.deaths = 1 if healthy else child.deaths + 1
        if code >= 0 and child.deaths >= MAX_EARLY_DEATHS and not child.proven:
            raise ConfigurationError(
                f"{child.command.name} ended {child.deaths} times in a row; the last lines of "
                f"{child.command.log}:\n{log_tail(child.command.log)}"
            )
        pause = min(FIRST_PAUSE_S * 2 ** (child.deaths - 1), MAX_PAUSE_S)
        child.restart_at = now + pause
        self.report(f"{child.command.name} {_end_of(code)}; it starts again in {pause:g} s")

    def _end(self, child: _ManagedProcess) -> None:
        process = child.process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(child.command.grace_s)
            except subprocess.TimeoutExpired:
                self.report(f"{child.command.name} did not stop in time and is killed")
        self._kill_group(process.pid)
        process.wait()

    def _kill_group(self, group: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        self._tell_guard(f"-{group}\n")

    def _spawn(self, command: ManagedCommand) -> subprocess.Popen[bytes]:
        # Before the process: if this one is killed in between, nobody knows of its group.
        self._open_guard()
        leash = [sys.executable, "-I", "-S", str(HERE / "die_with_parent.py"), str(os.getpid())]
        with command.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [*leash, *command.argv],
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self._tell_guard(f"+{process.pid}\n")
        return process

    # -- the guard ----------------------------------------------------------------

    def _look_after_guard(self) -> None:
        if self._orphan_killer is not None and self._orphan_killer.poll() is not None:
            self._orphan_killer = None
            for child in self._children.values():
                self._tell_guard(f"+{child.process.pid}\n")

    def _open_guard(self) -> IO[bytes]:
        """What the guard reads; it is started when there is none."""
        if self._orphan_killer is None:
            # A session of its own: what is sent to the supervisor's group or terminal
            # must not reach it.
            self._orphan_killer = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(HERE / "orphan_killer.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._orphan_killer.stdin is not None
        return self._orphan_killer.stdin

    def _tell_guard(self, line: str) -> None:
        guard = self._open_guard()
        # A dead guard is noticed and replaced in the next round.
        with contextlib.suppress(BrokenPipeError):
            guard.write(line.encode())
            guard.flush()


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def _end_of(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with code {code}"


def _cut(log: Path) -> None:
    """Keep a log from filling the disk; its writers append, so that it may shrink."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
