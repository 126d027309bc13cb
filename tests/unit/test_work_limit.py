"""The time limit of a job counts its work."""

from __future__ import annotations

import time

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from workers.work_limit import WALL_CLOCK_FACTOR, is_over, work_limit


def work(seconds: float) -> None:
    """Take processor time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def test_work_beyond_the_limit_is_interrupted() -> None:
    with pytest.raises(SoftTimeLimitExceeded), work_limit(0.2):
        work(60.0)


def test_waiting_does_not_count() -> None:
    with work_limit(0.2):
        time.sleep(0.5)
        work(0.05)


def test_what_comes_after_is_not_interrupted() -> None:
    with work_limit(0.2):
        work(0.05)
    work(0.4)
    with work_limit(5.0):
        work(0.05)


@pytest.mark.parametrize(
    ("elapsed", "worked", "over"),
    [
        (59.0, 59.0, False), (61.0, 61.0, True), (61.0, 5.0, False), (239.0, 59.0, False),
        (20.0, 80.0, False),  # four cores
        (WALL_CLOCK_FACTOR * 60.0, 0.0, True),
    ],
)
def test_when_a_limit_is_over(elapsed: float, worked: float, over: bool) -> None:
    assert is_over(60.0, elapsed, worked) is over
