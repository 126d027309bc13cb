"""Periodic tasks: errors never end them, and an outage is logged once."""

from __future__ import annotations

import threading

import pytest

from pipeline.errors import DatabaseUnavailable
from pipeline.periodic import PeriodicTask, Ticker


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors: list[Exception | None] = [
        None, DatabaseUnavailable(), DatabaseUnavailable(), None, ValueError("a bug"), None
    ]

    def work() -> None:
        error = errors.pop(0)
        if error is not None:
            raise error

    task = PeriodicTask("sweep", work)
    with caplog.at_level("INFO"):
        while errors:
            task.attempt()
    actions = [vars(record)["action"] for record in caplog.records]
    assert actions == ["sweep_failed", "sweep_resumed", "sweep_failed", "sweep_resumed"]


def test_a_task_is_not_done_before_it_is_due() -> None:
    done: list[int] = []
    task = PeriodicTask("sweep", lambda: done.append(1), every_s=3600.0)
    task.attempt_when_due()
    task.attempt_when_due()
    assert len(done) == 1


def test_a_ticker_goes_on_after_an_error_and_ends_when_it_is_closed() -> None:
    calls: list[int] = []
    twice = threading.Event()

    def work() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("a bug")
        twice.set()

    ticker = Ticker("beat", 0.001, work)
    ticker.start()
    assert twice.wait(60)
    ticker.close()
    count = len(calls)
    assert not any(thread.name == "beat" for thread in threading.enumerate())
    assert len(calls) == count


def test_a_ticker_that_was_never_started_can_be_closed() -> None:
    Ticker("beat", 60.0, lambda: None).close()
