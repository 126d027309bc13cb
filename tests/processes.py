"""The one way in which tests and benchmarks start processes.

A process started here dies with the process that started it, also when that is killed (see
``run_guardian``). ``subprocess.run`` is fine too: its process inherits the mark of the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.run_guardian import MARK

_ROOT = Path(__file__).resolve().parents[1]

# stdin of this process's guardian; None before there is one.
_guardian: IO[bytes] | None = None


def guard() -> IO[bytes]:
    """Marks the future children of this process and starts the guardian that kills them once
    this process is gone. Later calls do nothing. Returns the guardian's stdin."""
    global _guardian
    if _guardian is None:
        # A run within a run (an xdist worker, a pytest that a test starts) belongs to both.
        outer = os.environ.get(MARK)
        mark = f"{outer}.{os.getpid()}" if outer else f"{os.urandom(6).hex()}.{os.getpid()}"
        os.environ.pop(MARK, None)  # the guardian itself bears no mark
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.run_guardian", mark], cwd=_ROOT,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            # Signals to the run's process group or terminal must not reach it.
            start_new_session=True,
        )
        os.environ[MARK] = mark
        assert process.stdin is not None
        process.returncode = 0  # it outlives this process, which never waits for it
        _guardian = process.stdin
    return _guardian


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[Any]:
    """``subprocess.Popen(command, **options)``, whose process dies with this one."""
    guardian = guard()
    process = subprocess.Popen([str(part) for part in command], **options)
    guardian.write(b"%d\n" % process.pid)
    guardian.flush()
    return process
