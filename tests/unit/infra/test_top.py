"""``faceline top``: queues, rates, processes and batches on one screen."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from infra.cli.top import seconds
from pipeline.batches.model import BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.deployment.processes import Heartbeat, Role
from tests.processes import start
from tests.unit.infra.conftest import Faceline
from tests.unit.infra.test_jobs import Desk


@pytest.fixture
def busy(faceline: Faceline) -> Iterator[Desk]:
    """A deployment with jobs, a batch and two processes of a worker with the same trouble."""
    desk = Desk()
    desk.queued()
    desk.running()
    desk.done()
    desk.failed()
    BatchStore(desk.engine).open(desk.tenant.id, "f" * 64, "/photos", BatchOptions())
    look = lambda: "the [pack] differs\x1b[2J"  # noqa: E731
    stages = ["decode", "detect"]
    beats = [Heartbeat(desk.engine, Role.WORKER, stages, looks=[look]) for _ in range(2)]
    for beat in beats:
        beat.beat()
    yield desk
    for beat in beats:
        beat.close()
    desk.engine.dispose()


def test_it_shows_what_waits_runs_ends_and_works(faceline: Faceline, busy: Desk) -> None:
    told = faceline("top", "--once")
    lines = [line.split() for line in told.out.splitlines()]

    assert told.code == 0, told.err
    assert ["decode", "1", "0", "1"] in [line[:4] for line in lines]
    assert ["locate", "done", "0.02"] in [line[:3] for line in lines]
    assert ["locate", "not_a_picture", "0.02"] in [line[:3] for line in lines]
    (worker,) = [line for line in lines if line[:1] == ["worker"]]
    assert worker[1] == "decode,detect"
    assert worker[3] == "2"
    assert "[pack]" in told.out
    assert "\x1b[2J" not in told.out
    assert [line[1:3] for line in lines if "shop" in line] == [["shop", "reading"]]


def test_scripts_get_the_same_as_json(faceline: Faceline, busy: Desk) -> None:
    found = json.loads(faceline("top", "--json").out)

    (queue,) = found["queues"]
    assert (queue["stage"], queue["waiting"], queue["running"]) == ("decode", 1, 1)
    assert {each["error_code"] for each in found["ended"]["jobs"]} == {None, "not_a_picture"}
    assert [each["role"] for each in found["processes"]] == ["worker", "worker"]
    assert found["processes"][0]["stages"] == ["decode", "detect"]
    assert [each["application"] for each in found["batches"]] == ["shop"]


def test_an_idle_deployment_says_so(faceline: Faceline) -> None:
    told = faceline("top", "--once").out

    for sentence in ("Nothing waits or runs.", "No job.", "None runs.", "None is open."):
        assert sentence in told


def test_a_terminal_gets_a_live_screen_until_ctrl_c(faceline: Faceline, busy: Desk) -> None:
    screen, terminal = pty.openpty()
    process = start(
        [sys.executable, "-m", "infra.cli", "top", "--every", "0.3"], stdin=terminal,
        stdout=terminal, stderr=subprocess.STDOUT, env={**os.environ, "TERM": "xterm"},
    )
    os.close(terminal)
    assert "decode" in read_until(screen, "None is open.", "Batches")
    job = busy.queued()
    busy.store.claim(job.id, "decode", "host.ab:8", 15.0, 3)
    read_until(screen, "1        0       2")
    process.send_signal(2)

    assert process.wait(60) == 130
    os.close(screen)


def read_until(screen: int, *expected: str) -> str:
    """What a terminal has shown once one of the texts is in it."""
    shown, until = "", time.monotonic() + 60
    while not any(text in shown for text in expected):
        assert time.monotonic() < until, shown
        if select.select([screen], [], [], 0.2)[0]:
            shown += os.read(screen, 65536).decode(errors="replace")
    return shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, ""), (0.5, "0.50 s"), (42, "42 s"), (150, "2.5 min"), (9000, "2.5 h"), (2e5, "2.3 d")],
)
def test_durations_are_short(value: float, shown: str) -> None:
    assert seconds(value) == shown
