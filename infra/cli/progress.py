"""Progress bars on stderr, which disappear when the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich
from rich.console import Console


def _bar(console: Console, *columns: rich.ProgressColumn) -> rich.Progress:
    return rich.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def count_bar(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; yields its update function (items done, total)."""
    text = rich.TextColumn("{task.description}")
    columns = (text, rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn())
    with _bar(console, *columns) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def text_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar with text; yields its update function (text, part done, whole). The whole
    is 0 while it is unknown."""
    part = rich.TextColumn("{task.percentage:>3.0f}%")
    text = rich.TextColumn("{task.description}", markup=False)
    with _bar(console, rich.BarColumn(), part, rich.TimeRemainingColumn(), text) as progress:
        bar = progress.add_task("", total=None)
        yield lambda text, done, whole: progress.update(
            bar, description=text, completed=done, total=whole or None
        )


@contextmanager
def download_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per file; yields their update function (file name, bytes done, size)."""
    bars: dict[str, rich.TaskID] = {}
    with _bar(
        console, rich.TextColumn("{task.description}"), rich.BarColumn(), rich.DownloadColumn(),
        rich.TransferSpeedColumn(), rich.TimeRemainingColumn(),
    ) as progress:

        def update(name: str, done: int, size: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=size)
            progress.update(bars[name], completed=done, total=size)

        yield update
