"""The worker of batches runs while there is work, and a while longer."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.on_demand import CHECK_EVERY_S, OnDemand
from infra.local.processes import ManagedCommand, Supervisor
from tests.job_factory import Clock

IDLE_S = 5.0


class Work:
    """Whether there is work; counts how often it is asked."""

    def __init__(self) -> None:
        self.there: bool | None = False
        self.asked = 0

    def __call__(self) -> bool | None:
        self.asked += 1
        return self.there


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def on_demand(work: Work, clock: Clock, tmp_path: Path) -> Iterator[OnDemand]:
    supervisor = Supervisor(lambda _: None)
    argv = [sys.executable, "-c", "import time; time.sleep(600)"]
    command = ManagedCommand("bulk", argv, dict(os.environ), tmp_path / "log")
    yield OnDemand(supervisor, command, work, IDLE_S, clock)
    supervisor.stop()


def runs(on_demand: OnDemand, clock: Clock, after_s: float = CHECK_EVERY_S) -> bool:
    """Whether the process is kept alive after a look ``after_s`` seconds later."""
    clock.forward(after_s)
    on_demand.look()
    return on_demand.supervisor.running("bulk")


def test_it_runs_from_the_first_work_until_it_was_idle_for_long(
    on_demand: OnDemand, work: Work, clock: Clock
) -> None:
    assert not runs(on_demand, clock)
    work.there = True
    assert runs(on_demand, clock)
    work.there = False
    assert runs(on_demand, clock)
    assert runs(on_demand, clock, IDLE_S - 0.1)
    work.there = True
    assert runs(on_demand, clock)
    work.there = False
    assert runs(on_demand, clock, IDLE_S + 1)
    assert not runs(on_demand, clock, IDLE_S)


def test_a_database_that_does_not_answer_changes_nothing(
    on_demand: OnDemand, work: Work, clock: Clock
) -> None:
    work.there = None
    assert not runs(on_demand, clock)
    work.there = True
    assert runs(on_demand, clock)
    work.there = None
    assert runs(on_demand, clock, 10 * IDLE_S)


def test_it_looks_seldom(on_demand: OnDemand, work: Work, clock: Clock) -> None:
    for _ in range(10):
        runs(on_demand, clock, CHECK_EVERY_S / 10)
    assert work.asked <= 2
