"""Starts, supervises and stops the processes of the embedded stack."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.errors import ConfigurationError

HERE = Path(__file__).parent

# Seconds before a dead process is restarted; doubled with each consecutive death.
FIRST_PAUSE_S = 0.25
MAX_PAUSE_S = 15.0

# A process that ran for so many seconds was healthy: its next death counts as the first.
HEALTHY_S = 20.0

# Consecutive exits (not signals) after which a process that was never healthy counts as
# misconfigured and is not restarted.
MAX_EARLY_DEATHS = 4

# Bytes at which a log file is rotated; one older part is kept.
LOG_BYTES = 20_000_000

POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class ManagedCommand:
    """A process to keep alive. ``grace_s`` is the time that it may take to stop. With
    ``ends_whole`` its descendants end when it does, however it ends: the orphan killer need
    not know it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    grace_s: float = 10.0
    ends_whole: bool = False


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
    """Keeps processes alive, in the order of their start.

    ``report`` receives a message for each death and restart; ``looks`` are called in each
    round of ``watch``. Use it from the main thread only: the kernel ties a child to the
    thread that started it, and signals reach it there.
    """

    report: Callable[[str], None]
    looks: list[Callable[[], None]] = field(default_factory=list)
    _children: dict[str, _ManagedProcess] = field(default_factory=dict)
    _orphan_killer: subprocess.Popen[bytes] | None = None

    def start(self, command: ManagedCommand) -> None:
        """Start ``command`` and keep it alive from now on."""
        process = self._spawn(command)
        self._children[command.name] = _ManagedProcess(command, process, time.monotonic())

    def pid(self, name: str) -> int:
        return self._children[name].process.pid

    def pids(self) -> list[int]:
        """Those of all processes that are kept alive."""
        return [child.process.pid for child in self._children.values()]

    def alive(self, name: str) -> bool:
        """Whether the process has not ended, rather than being kept alive."""
        return self._children[name].process.poll() is None

    def running(self, name: str) -> bool:
        """Whether the process is kept alive."""
        return name in self._children

    def watch(self, until: Callable[[], bool], every_s: float = POLL_S) -> None:
        """Restart dead processes until ``until()`` is true. Looks at all of them, and calls
        ``until``, every ``every_s`` seconds, and at once after a death or a signal.

        Raises ``ConfigurationError`` when a process repeatedly exits at its start.
        """
        with _signals_readable() as signalled:
            while not until():
                for child in self._children.values():
                    self._supervise(child)
                self._revive_orphan_killer()
                for look in self.looks:
                    look()
                if select.select([signalled], [], [], self._pause_s(every_s))[0]:
                    os.read(signalled, 4096)

    def end(self, name: str) -> None:
        """Stop one process."""
        self._end(self._children.pop(name))

    def stop(self) -> None:
        """Stop all processes, the last started first; kills those that are slow."""
        for child in reversed(self._children.values()):
            self._end(child)
        self._children.clear()
        if self._orphan_killer is not None and self._orphan_killer.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._orphan_killer.stdin.close()
            self._orphan_killer.wait()

    def _pause_s(self, longest_s: float) -> float:
        """Seconds until the next process is to be started."""
        due = [child.restart_at for child in self._children.values() if child.restart_at]
        return max(min([longest_s, *(at - time.monotonic() for at in due)]), 0.0)

    def _supervise(self, child: _ManagedProcess) -> None:
        now = time.monotonic()
        if child.restart_at is not None:
            if now >= child.restart_at:
                child.process = self._spawn(child.command)
                child.started, child.restart_at = now, None
            return
        code = child.process.poll()
        if code is None:
            _rotate(child.command.log)
            return
        # Its children must not run beside those of its successor.
        self._kill_group(child)
        healthy = now - child.started > HEALTHY_S
        child.proven |= healthy
        child.deaths = 1 if healthy else child.deaths + 1
        if code >= 0 and child.deaths >= MAX_EARLY_DEATHS and not child.proven:
            raise ConfigurationError(
                f"{child.command.name} ended {child.deaths} times in a row. Last lines of "
                f"{child.command.log}:\n{log_tail(child.command.log)}"
            )
        pause = min(FIRST_PAUSE_S * 2 ** (child.deaths - 1), MAX_PAUSE_S)
        child.restart_at = now + pause
        self.report(f"{child.command.name} {_describe_exit(code)}; it starts again in {pause:g} s")

    def _end(self, child: _ManagedProcess) -> None:
        process = child.process
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(child.command.grace_s)
            except subprocess.TimeoutExpired:
                self.report(f"{child.command.name} did not stop in time and is killed")
        self._kill_group(child)
        process.wait()

    def _kill_group(self, child: _ManagedProcess) -> None:
        group = child.process.pid
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        if not child.command.ends_whole:
            self._tell_orphan_killer(f"-{group}\n")

    def _spawn(self, command: ManagedCommand) -> subprocess.Popen[bytes]:
        if not command.ends_whole:
            # Before the process: otherwise its group could be orphaned if this process is
            # killed in between.
            self._open_orphan_killer()
        launcher = [sys.executable, "-I", "-S", str(HERE / "die_with_parent.py"), str(os.getpid())]
        with command.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                [*launcher, *command.argv],
                env=dict(command.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        if not command.ends_whole:
            self._tell_orphan_killer(f"+{process.pid}\n")
        return process

    # The orphan killer ----------------------------------------------------------

    def _revive_orphan_killer(self) -> None:
        if self._orphan_killer is not None and self._orphan_killer.poll() is not None:
            self._orphan_killer = None
            self._open_orphan_killer()

    def _open_orphan_killer(self) -> IO[bytes]:
        """The input of the orphan killer, which is started if necessary."""
        if self._orphan_killer is None:
            groups = [
                str(child.process.pid) for child in self._children.values()
                if not child.command.ends_whole and child.restart_at is None
            ]
            # Its own session: signals to the supervisor's group or terminal must not reach it.
            self._orphan_killer = subprocess.Popen(  # noqa: S603
                [sys.executable, "-I", "-S", str(HERE / "orphan_killer.py"), *groups],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert self._orphan_killer.stdin is not None
        return self._orphan_killer.stdin

    def _tell_orphan_killer(self, line: str) -> None:
        killer = self._open_orphan_killer()
        # A dead orphan killer is replaced in the next round.
        with contextlib.suppress(BrokenPipeError):
            killer.write(line.encode())
            killer.flush()


@contextlib.contextmanager
def _signals_readable() -> Iterator[int]:
    """A descriptor that is readable after a signal that has a handler, and after the death of
    a child."""
    readable, written = os.pipe()
    os.set_blocking(written, False)
    former_handler = signal.signal(signal.SIGCHLD, lambda *_: None)
    former = signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    try:
        yield readable
    finally:
        signal.set_wakeup_fd(former)
        signal.signal(signal.SIGCHLD, former_handler)
        os.close(readable)
        os.close(written)


def log_tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log file."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or "(empty)"
    except OSError as error:
        return f"({error})"


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return f"ended with code {code}"


def _rotate(log: Path) -> None:
    """Rotates a large log. Its writers append, so that truncation is safe."""
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.with_name(f"{log.name}.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
