"""Waiting for processes: as long as they do something, and not for one that is stuck."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from infra.local.progress import PROGRESS_S, SAY_EVERY_S, STUCK_S, Awaited
from tests.processes import start
from tests.waiting import eventually

# Works in a child of its own whenever it is told to, and says when it has.
WORKS = """
import subprocess, sys, time
busy = "import time; end = time.process_time() + 0.5\\nwhile time.process_time() < end: pass"
for line in sys.stdin:
    subprocess.run([sys.executable, "-c", busy], check=True)
    print("done", flush=True)
"""


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[str]]:
    with start(
        [sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        eventually(lambda: psutil.Process(process.pid).status() == psutil.STATUS_SLEEPING)
        yield process
        process.kill()


class Watch:
    """A clock that a test sets."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def test_who_works_is_awaited_and_who_is_stuck_is_not(worker: subprocess.Popen[str]) -> None:
    clock, said = Watch(), list[str]()
    awaited = Awaited("the shim to answer", lambda: [worker.pid], said.append, clock)
    assert awaited.goes_on()
    for _ in range(3):
        clock.seconds += STUCK_S - 1
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("work\n")
        worker.stdin.flush()

        def working() -> bool:
            awaited.goes_on()
            return awaited._moved_at == clock.seconds

        eventually(working, "its child's work is seen")
        assert worker.stdout.readline() == "done\n"
        # what it still used after it was seen
        awaited._used_s = awaited._processor_time()
    clock.seconds += STUCK_S - 1
    assert awaited.goes_on()
    clock.seconds += 2
    assert not awaited.goes_on()
    assert "Waiting for the shim to answer" in said[0]


def test_it_says_now_and_then_what_it_waits_for() -> None:
    clock, said = Watch(), list[str]()
    awaited = Awaited("Redis to read its file", list, said.append, clock)
    for _ in range(int(STUCK_S) - 1):
        assert awaited.goes_on()
        clock.seconds += 1
    assert len(said) == int((STUCK_S - 1) / (SAY_EVERY_S + 1))
    assert said[0].startswith("Waiting for Redis to read its file: 11 s so far")


def test_a_process_that_is_gone_is_no_error() -> None:
    ended = start([sys.executable, "-c", ""])
    ended.wait()
    awaited = Awaited("it", lambda: [ended.pid], lambda _: None)
    assert awaited.goes_on()
    assert awaited._processor_time() < PROGRESS_S
