"""How far a batch is: a live display on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from infra.cli.batches.rate import RateMeter, format_duration
from infra.cli.console import printable

LINE_INTERVAL_S = 10.0  # between two lines where nobody looks at a terminal

SHORTEST_BAR, LONGEST_BAR = 8, 30  # columns; beside a text that leaves less there is none

REFRESHES_PER_SECOND = 4  # a second, of a terminal


@dataclass(frozen=True, slots=True)
class ProgressView:
    """A batch at a moment. ``counts`` are items by outcome, ``waiting`` items are recorded
    and have none yet. ``total`` is how many there will be, ``estimated`` says that this is
    reckoned from the part of the source that was read; None: nobody knows. ``now`` is what
    is being done, ``waits_for`` what keeps it from going on."""

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
        """0 to 100; None while the whole is not known. What is only reckoned never
        reaches 100."""
        if self.total is None:
            return None
        whole = max(self.total, self.ended)
        part = 100.0 * self.ended / whole if whole else 100.0
        return min(part, 99.0) if self.estimated else part


ShowProgress = Callable[[ProgressView], None]


def estimate_total(items: int, done: int, whole: int) -> int | None:
    """How many items there are in all when ``items`` came from ``done`` of ``whole`` of
    the source; None when that cannot be said yet."""
    return None if whole <= 0 or done <= 0 or not items else max(items, items * whole // done)


@contextmanager
def progress_display(console: Console, plain: Callable[[str], None]) -> Iterator[ShowProgress]:
    """Told how far the batch is, as often as one likes. ``printable`` prints a line where
    ``console`` is no terminal."""
    pace = RateMeter()
    if not console.is_terminal or console.is_dumb_terminal:
        lines = _PlainProgress(plain, pace)
        yield lines.show
        return
    with Live(console=console, refresh_per_second=REFRESHES_PER_SECOND, transient=True) as live:

        def show(view: ProgressView) -> None:
            pace.record(view.ended)
            live.update(_rendered(view, pace, console.width))

        yield show


@dataclass(slots=True)
class _PlainProgress:
    """A line every ``LINE_INTERVAL_S`` seconds, and at once when it begins to wait for
    something else."""

    say: Callable[[str], None]
    pace: RateMeter
    clock: Callable[[], float] = time.monotonic
    _last: tuple[float, ProgressView] | None = field(default=None)

    def show(self, view: ProgressView) -> None:
        self.pace.record(view.ended)
        now = self.clock()
        if self._last is None and not (view.ended or view.waiting or view.waits_for):
            self._last = now, view  # there is nothing to say yet
        elif self._last is None or view.waits_for != self._last[1].waits_for or (
            now - self._last[0] >= LINE_INTERVAL_S and view != self._last[1]
        ):
            self.say(
                f"{progress_text(view)}{rate_text(view, self.pace)}: "
                f"{outcomes_text(view)}{waiting_text(view)}"
            )
            self._last = now, view


def progress_text(view: ProgressView) -> str:
    """``52%, 5,213 of 10,000 items``, as much of it as is known."""
    percent = view.percent
    if percent is None or view.total is None:
        return f"{view.ended:,} items"
    whole = f"about {view.total:,}" if view.estimated else f"{view.total:,}"
    return f"{percent:.0f}%, {view.ended:,} of {whole} items"


def rate_text(view: ProgressView, pace: RateMeter) -> str:
    """``, 87/s, 0:55 left``, as much of it as is known."""
    rate = pace.rate
    if rate <= 0:
        return ""
    told = f", {rate:.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
    left = 0 if view.total is None else max(view.total - view.ended, 0)
    left_s = pace.left_s(left) if left else None
    return told if left_s is None else f"{told}, {format_duration(left_s)} left"


def outcomes_text(view: ProgressView) -> str:
    """``4,980 enrolled, 121 duplicate, 112 rejected, 256 in work``."""
    told = [f"{count:,} {outcome}" for outcome, count in view.counts.items()
            if count or outcome in ("enrolled", "duplicate", "rejected")]
    return ", ".join([*told, f"{view.waiting:,} in work"])


def waiting_text(view: ProgressView) -> str:
    return f"; waits: {view.waits_for}" if view.waits_for else ""


def _rendered(view: ProgressView, pace: RateMeter, width: int) -> Group:
    percent = view.percent
    told = Text(f"{progress_text(view)}{rate_text(view, pace)}")
    room = width - told.cell_len - 1
    line: Table | Text = told
    if room >= SHORTEST_BAR:
        line = Table.grid(padding=(0, 1))
        line.add_row(
            ProgressBar(total=None if percent is None else 100.0, completed=percent or 0.0,
                        width=min(room, LONGEST_BAR), pulse=percent is None),
            told,
        )
    if view.waits_for:
        last = Text(printable(f"waits: {view.waits_for}"), style="yellow")
    else:
        last = Text(printable(view.activity), style="dim", no_wrap=True, overflow="ellipsis")
    return Group(line, Text(outcomes_text(view)), last)
