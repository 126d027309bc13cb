"""Progress bars on stderr, which disappear when the work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


@contextmanager
def count_bar(what: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar; yields its update function (items done, total)."""
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


@contextmanager
def text_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar with text; yields its update function (text, part done, whole). The whole
    is 0 while it is unknown."""
    with Progress(
        BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
        console=console, transient=True, disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=None)
        yield lambda text, done, whole: progress.update(
            bar, description=text, completed=done, total=whole or None
        )


@contextmanager
def download_bars(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar per file; yields their update function (file name, bytes done, size)."""
    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal,
    ) as progress:

        def update(name: str, done: int, size: int) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=size)
            progress.update(bars[name], completed=done, total=size)

        yield update
