"""Reading a source into a batch, in a thread beside what is shown of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import BatchBusy, FaceError

FIRST_PAUSE_S = 1.0  # before it is tried again while a store is away; doubled each time
MAX_PAUSE_S = 15.0

ReadSource = Callable[[Callable[[], bool]], None]
"""Reads the source and hands its items over, until it is told to stop. Whatever it has
handed over before it passes by."""


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """For how many seconds it is tried again: while a part of the service is away, and
    while another command (or one that was killed) reads the batch."""

    away_s: float
    busy_s: float


class ReaderThread(threading.Thread):
    """``done`` once the source is read to its end; ``error`` when it cannot be."""

    def __init__(self, submit: ReadSource, patience: RetryLimits) -> None:
        super().__init__(name="feeding", daemon=True)
        self.done = False
        self.error: Exception | None = None
        self.waits_for = ""
        self._submit = submit
        self._patience = patience
        self._ending = threading.Event()

    def stop(self) -> None:
        """End cleanly: what was read is recorded, the batch let go."""
        self._ending.set()

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # it is raised in the thread that waits
            self.error = error

    def _read(self) -> None:
        since: float | None = None
        pause = FIRST_PAUSE_S
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._submit(self._stopping)
            except FaceError as error:
                if time.monotonic() - began > MAX_PAUSE_S:
                    since, pause = None, FIRST_PAUSE_S  # it went well for a while
                since = since or time.monotonic()
                if time.monotonic() - since > self._limit_s(error):
                    raise
                self.waits_for = error.message.rstrip(".")
                self._ending.wait(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
            else:
                self.done = not self._ending.is_set()
                return

    def _stopping(self) -> bool:
        self.waits_for = ""  # it asks: it goes on
        return self._ending.is_set()

    def _limit_s(self, error: FaceError) -> float:
        """How long an error is borne."""
        if isinstance(error, BatchBusy):
            return self._patience.busy_s
        return self._patience.away_s if error.retryable else -1.0
