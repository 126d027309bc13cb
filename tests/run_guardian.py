"""Kills every process that a test run started, once the run has ended or died.

``tests.processes`` runs it as ``python -m tests.run_guardian MARK``, with a pipe as stdin. The
pipe breaks when the run is gone, also after SIGKILL. A process belongs to the run if one of
these holds:

* its environment has the run's mark, which children inherit;
* the run wrote its id to the pipe (Redis and PostgreSQL overwrite their environment);
* it descends from one of those.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Iterator

import psutil

# The variable with the mark. It does not begin with FACELINE_, because some tests start
# commands without any of the service's variables.
MARK = "TEST_RUN_OF_FACELINE"

# Seconds between two checks that the parent lives: a forked child may keep the pipe open.
LOOK_S = 1.0

# Seconds for killing. A killed process may have started another just before: the search is
# repeated until none is left.
KILL_S = 8.0


def main() -> None:
    mark, parent = sys.argv[1], os.getppid()
    named: set[psutil.Process] = set()
    for pid in _lines(parent):
        with contextlib.suppress(psutil.NoSuchProcess):
            named.add(psutil.Process(pid))  # with its start time: equal for the same process only
    until = time.monotonic() + KILL_S
    while time.monotonic() < until and (found := _victims(mark, named)):
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                process.kill()
        time.sleep(0.1)


def _lines(parent: int) -> Iterator[int]:
    """The process ids that the run names, until it is gone."""
    left = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], LOOK_S)[0]:
            continue
        read = os.read(0, 4096)
        if not read:
            return
        *lines, left = (left + read).split(b"\n")
        yield from map(int, lines)


def _victims(mark: str, named: set[psutil.Process]) -> set[psutil.Process]:
    """The processes of the run that live, with their descendants."""
    found = {process for process in named if _alive(process)}
    found |= set(marked(mark))
    for process in list(found):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found.update(process.children(recursive=True))
    return {process for process in found if process.pid != os.getpid() and _alive(process)}


def marked(mark: str) -> Iterator[psutil.Process]:
    """Live processes of the run with this mark, and of runs within it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            theirs = process.environ().get(MARK, "")
            if (theirs == mark or theirs.startswith(f"{mark}.")) and _alive(process):
                yield process


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    main()
