"""The progress of a batch: a live display on a terminal, regular lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.identifiers import escape_controls

LINE_INTERVAL_S = 10.0  # between two lines where there is no terminal

SHORTEST_BAR, LONGEST_BAR = 8, 30  # columns; without room for the shortest there is no bar

REFRESHES_PER_SECOND = 4  # of a terminal

RATE_WINDOW_S = 30.0  # seconds over which the rate is measured
RATE_STEP_S = 0.5  # between two samples that are kept


@dataclass(slots=True)
class RateMeter:
    """Measures the rate of work from how much is done. ``clock`` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    _samples: deque[tuple[float, int]] = field(default_factory=deque)

    def record(self, done: int) -> None:
        """``done`` is everything done so far. Items done before the first call do not
        count."""
        now = self.clock()
        samples = self._samples
        if len(samples) > 1 and now - samples[-2][0] < RATE_STEP_S:
            samples.pop()
        samples.append((now, done))
        while len(samples) > 2 and samples[1][0] <= now - RATE_WINDOW_S:
            samples.popleft()

    @property
    def rate(self) -> float:
        """Items per second over the last ``RATE_WINDOW_S`` seconds; 0 while unknown."""
        if len(self._samples) < 2:
            return 0.0
        (began, before), (now, done) = self._samples[0], self._samples[-1]
        return max(done - before, 0) / (now - began) if now > began else 0.0

    def left_s(self, left: float) -> float | None:
        """Seconds that ``left`` more items take; None while unknown."""
        rate = self.rate
        return left / rate if rate > 0 else None


def format_duration(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:07:30``, ``2 d 3 h``."""
    whole = round(seconds)
    if whole >= 86400:
        return f"{whole // 86400} d {whole % 86400 // 3600} h"
    minutes, hours = whole // 60 % 60, whole // 3600
    if hours:
        return f"{hours}:{minutes:02}:{whole % 60:02}"
    return f"{minutes}:{whole % 60:02}"


@dataclass(frozen=True, slots=True)
class ProgressView:
    """A batch at one moment. ``counts``: items by outcome; ``waiting``: recorded items
    without an outcome. ``total``: how many items there will be, None while unknown;
    ``estimated``: the total was extrapolated from the part of the source that was read.
    ``activity``: what is being done; ``waits_for``: what prevents it from continuing."""

    counts: Mapping[str, int]
    waiting: int
    total: int | None = None
    estimated: bool = False
    activity: str = ""
    waits_for: str = ""

    @property
    def ended(self) -> int:
        return sum(self.counts.values())

    @property
    def percent(self) -> float | None:
        """0 to 100; None while the total is unknown. With an estimate it stays below 100."""
        if self.total is None:
            return None
        whole = max(self.total, self.ended)
        part = 100.0 * self.ended / whole if whole else 100.0
        return min(part, 99.0) if self.estimated else part


ShowProgress = Callable[[ProgressView], None]


def estimate_total(items: int, done: int, whole: int) -> int | None:
    """How many items there are in all when ``items`` came from ``done`` of ``whole`` of the
    source; None when there is nothing to extrapolate from."""
    return None if whole <= 0 or done <= 0 or not items else max(items, items * whole // done)


@contextmanager
def progress_display(console: Console, print_text: Callable[[str], None]) -> Iterator[ShowProgress]:
    """The function that shows progress; it may be called as often as is convenient.
    ``print_text`` prints a line where ``console`` is not a terminal."""
    meter = RateMeter()
    if not console.is_terminal or console.is_dumb_terminal:
        yield _PlainProgress(print_text, meter).show
        return
    with Live(console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) as live:

        def show(view: ProgressView) -> None:
            meter.record(view.ended)
            live.update(_rendered(view, meter, console.width))

        yield show


@dataclass(slots=True)
class _PlainProgress:
    """Prints a line every ``LINE_INTERVAL_S`` seconds, and at once when ``waits_for``
    changes."""

    print_text: Callable[[str], None]
    meter: RateMeter
    clock: Callable[[], float] = time.monotonic
    _last: tuple[float, ProgressView] | None = field(default=None)

    def show(self, view: ProgressView) -> None:
        self.meter.record(view.ended)
        now = self.clock()
        if self._last is None and not (view.ended or view.waiting or view.waits_for):
            self._last = now, view  # there is nothing to show yet
        elif self._last is None or view.waits_for != self._last[1].waits_for or (
            now - self._last[0] >= LINE_INTERVAL_S and view != self._last[1]
        ):
            self.print_text(
                f"{progress_text(view)}{rate_text(view, self.meter)}: "
                f"{outcomes_text(view)}" + (f"; waits: {view.waits_for}" if view.waits_for else "")
            )
            self._last = now, view


def progress_text(view: ProgressView) -> str:
    """``52%, 5,213 of 10,000 items``, as far as it is known."""
    percent = view.percent
    if percent is None or view.total is None:
        return f"{view.ended:,} items"
    whole = f"about {view.total:,}" if view.estimated else f"{view.total:,}"
    return f"{percent:.0f}%, {view.ended:,} of {whole} items"


def rate_text(view: ProgressView, meter: RateMeter) -> str:
    """``, 87/s, 0:55 left``, as far as it is known."""
    rate = meter.rate
    if rate <= 0:
        return ""
    text = f", {rate:.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
    left = 0 if view.total is None else max(view.total - view.ended, 0)
    left_s = meter.left_s(left) if left else None
    return text if left_s is None else f"{text}, {format_duration(left_s)} left"


def outcomes_text(view: ProgressView) -> str:
    """``4,980 enrolled, 121 duplicate, 112 rejected, 256 in work``."""
    counts = [f"{count:,} {outcome}" for outcome, count in view.counts.items()
              if count or outcome in ("enrolled", "duplicate", "rejected")]
    return ", ".join([*counts, f"{view.waiting:,} in work"])


def _rendered(view: ProgressView, meter: RateMeter, width: int) -> Group:
    percent = view.percent
    text = Text(f"{progress_text(view)}{rate_text(view, meter)}")
    room = width - text.cell_len - 1
    line: Table | Text = text
    if room >= SHORTEST_BAR:
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(total=None if percent is None else 100.0, completed=percent or 0.0,
                        width=min(room, LONGEST_BAR), pulse=percent is None),
            text,
        )
    if view.waits_for:
        last = Text(escape_controls(f"waits: {view.waits_for}"), style="yellow")
    else:
        last = Text(escape_controls(view.activity), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(line, Text(outcomes_text(view)), last)
