"""Waiting for processes that start: as long as they make progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import psutil

# Seconds without any progress after which processes count as stuck.
STUCK_S = 60.0

# Seconds between two messages about what is waited for.
SAY_EVERY_S = 10.0

# Seconds of processor time that count as progress; a process that waits uses less in a minute.
# One that reads from a slow disk uses that, too.
PROGRESS_S = 0.25


@dataclass(slots=True)
class Awaited:
    """Tells whether to go on waiting for ``what``, a few words. ``processes`` gives the ids of
    those that it depends on, with whose descendants they count; ``say`` receives a message now
    and then."""

    what: str
    processes: Callable[[], Iterable[int]]
    say: Callable[[str], None]
    now: Callable[[], float] = time.monotonic
    _began: float = field(init=False)
    _moved_at: float = field(init=False)
    _said_at: float = field(init=False)
    _used_s: float = 0.0
    _by_process: dict[tuple[int, float], float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self._moved_at = self._said_at = self.now()

    def goes_on(self) -> bool:
        """False when the processes have done nothing for ``STUCK_S``. Call it often."""
        now = self.now()
        used = self._processor_time()
        if used > self._used_s + PROGRESS_S:
            self._used_s, self._moved_at = used, now
        if now > self._said_at + SAY_EVERY_S:
            self._said_at = now
            self.say(
                f"Waiting for {self.what}: {now - self._began:.0f} s so far, "
                f"{used:.0f} s of processor time"
            )
        return now - self._moved_at < STUCK_S

    def _processor_time(self) -> float:
        """Seconds that the processes have used, those that have ended included."""
        for process in _with_descendants(self.processes()):
            try:
                times, started = process.cpu_times(), process.create_time()
            except psutil.Error:
                continue
            self._by_process[process.pid, started] = times.user + times.system
        return sum(self._by_process.values())


def _with_descendants(pids: Iterable[int]) -> Iterable[psutil.Process]:
    for pid in pids:
        try:
            process = psutil.Process(pid)
            yield process
            yield from process.children(recursive=True)
        except psutil.Error:
            continue
