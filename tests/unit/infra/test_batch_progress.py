"""The progress of a batch as people see it."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from infra.cli.batches.progress import (
    ProgressView,
    RateMeter,
    estimate_total,
    format_duration,
    outcomes_text,
    progress_display,
    progress_text,
    rate_text,
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def view(enrolled: int = 0, waiting: int = 0, **more: object) -> ProgressView:
    counts = {"enrolled": enrolled, "duplicate": 0, "rejected": 0, "cancelled": 0}
    return ProgressView(counts, waiting, **more)  # type: ignore[arg-type]


def test_the_rate_is_measured_over_a_window() -> None:
    clock = Clock()
    pace = RateMeter(clock)
    assert pace.rate == 0
    assert pace.left_s(5) is None
    for second in range(100):
        pace.record(1000 + second * (2 if second < 50 else 20))
        clock.now += 1

    assert math.isclose(pace.rate, 20, rel_tol=0.02)
    left = pace.left_s(200)
    assert left is not None
    assert math.isclose(left, 10, rel_tol=0.02)


def test_work_before_the_first_sample_does_not_count() -> None:
    clock = Clock()
    pace = RateMeter(clock)
    pace.record(900_000)
    clock.now += 10
    pace.record(900_010)
    assert pace.rate == 1


def test_a_rate_meter_keeps_few_samples() -> None:
    clock = Clock()
    pace = RateMeter(clock)
    for done in range(100_000):
        pace.record(done)
        clock.now += 0.01
    assert len(pace._samples) < 80
    assert 90 < pace.rate < 110


@pytest.mark.parametrize(("seconds", "said"), [
    (0.2, "0:00"), (7, "0:07"), (750, "12:30"), (11_250, "3:07:30"), (190_000, "2 d 4 h"),
])
def test_durations(seconds: float, said: str) -> None:
    assert format_duration(seconds) == said


@pytest.mark.parametrize(("shown", "said"), [
    (view(0), "0 items"),
    (view(0, total=1), "0%, 0 of 1 items"),
    (view(1, total=1), "100%, 1 of 1 items"),
    (view(0, total=0), "100%, 0 of 0 items"),
    (view(520_000, total=1_000_000), "52%, 520,000 of 1,000,000 items"),
    (view(999_999, total=1_000_000, estimated=True), "99%, 999,999 of about 1,000,000 items"),
    (view(7, total=5, estimated=True), "99%, 7 of about 5 items"),
])
def test_progress_text(shown: ProgressView, said: str) -> None:
    assert progress_text(shown) == said


def test_the_total_is_estimated() -> None:
    assert estimate_total(0, 0, 100) is None
    assert estimate_total(10, 5, 0) is None
    assert estimate_total(10, 50, 100) == 20
    assert estimate_total(10, 200, 100) == 10


def test_the_rate_is_shown_once_it_is_known() -> None:
    clock = Clock()
    pace = RateMeter(clock)
    pace.record(0)
    assert rate_text(view(0, total=100), pace) == ""
    clock.now += 2
    pace.record(10)
    assert rate_text(view(10, total=100), pace) == ", 5.0/s, 0:18 left"
    assert rate_text(view(10), pace) == ", 5.0/s"


def test_main_outcomes_are_always_shown() -> None:
    assert outcomes_text(view(1200, 3)) == "1,200 enrolled, 0 duplicate, 0 rejected, 3 in work"


@pytest.mark.parametrize("terminal", [{}, {"force_terminal": True, "_environ": {"TERM": "dumb"}}])
def test_lines_where_there_is_no_terminal(terminal: dict[str, Any]) -> None:
    lines: list[str] = []
    with progress_display(Console(file=io.StringIO(), **terminal), lines.append) as show:
        show(view(0))  # nothing is known yet
        show(view(0, 1, waits_for="a worker"))
        show(view(1, 0, total=1))
        show(view(1, 0, total=1, waits_for="Redis"))
    assert lines[0] == "0 items: 0 enrolled, 0 duplicate, 0 rejected, 1 in work; waits: a worker"
    assert len(lines) == 3
    assert lines[2].endswith("0 in work; waits: Redis")


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_terminal_has_a_bar(width: int) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=width)
    with progress_display(console, pytest.fail) as show:
        show(view(0, 64, activity="reading ada/\x1b[2J.jpg"))
        show(view(400_000, 0, total=1_000_000, waits_for="a worker"))
    assert "400,000 of 1,000,000 items" in text.getvalue()
    assert "waits: a worker" in text.getvalue()
    assert "\x1b[2J" not in text.getvalue()
    # The bar takes the width that the words leave.
    assert all(cell_len(Text.from_ansi(line).plain) <= width for line in
               text.getvalue().splitlines())
