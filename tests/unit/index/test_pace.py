"""Reading in the background rests, until someone waits for it."""

from __future__ import annotations

import threading
import time

from pipeline.index.pace import Pace

WORK_S = 0.1


def work() -> None:
    """Takes ``WORK_S`` seconds of the processor."""
    until = time.thread_time() + WORK_S
    while time.thread_time() < until:
        pass


def rest_of(pace: Pace) -> float:
    pace.begin()
    work()
    began = time.monotonic()
    pace.rest()
    return time.monotonic() - began


def test_it_rests_as_long_as_it_worked_at_half_a_core() -> None:
    assert rest_of(Pace(0.5)) >= WORK_S


def test_it_does_not_rest_while_someone_waits() -> None:
    pace = Pace(0.0001)  # a rest of 17 minutes
    threading.Timer(0.05, pace.hurry).start()
    rest_of(pace)
    rest_of(pace)


def test_it_does_not_rest_with_a_core_of_its_own() -> None:
    pace = Pace(1.0)
    pace._awaited = None  # type: ignore[assignment]  # it would fail
    rest_of(pace)
