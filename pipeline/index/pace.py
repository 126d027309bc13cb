"""Work in the background that leaves the processor to others."""

from __future__ import annotations

import threading
import time


class Pace:
    """Rests between portions of work, so that its thread takes ``share`` of a core, until
    someone waits for the end of the work."""

    def __init__(self, share: float) -> None:
        self._rest_factor = 1.0 / share - 1.0
        self._awaited = threading.Event()
        self._rested_at = 0.0

    def begin(self) -> None:
        """The calling thread begins."""
        self._rested_at = time.thread_time()

    def rest(self) -> None:
        """Between two portions, in the thread that began."""
        used_s = time.thread_time() - self._rested_at
        if self._rest_factor > 0:
            self._awaited.wait(used_s * self._rest_factor)
        self._rested_at = time.thread_time()

    def hurry(self) -> None:
        """Someone waits: no rests from now on."""
        self._awaited.set()
