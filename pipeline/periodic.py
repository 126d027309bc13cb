"""Work that is repeated, also after a failure."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.errors import FaceError

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class PeriodicTask:
    """Work that is due every ``every_s`` seconds.

    ``failing`` is the code of the error that the last attempt ended with, so that an
    outage is logged once when it begins and once when it ends.
    """

    name: str
    work: Callable[[], object]
    every_s: float = 0.0
    failing: str = ""
    due_at: float = 0.0

    def attempt_when_due(self) -> None:
        """Do the work unless the last attempt was less than ``every_s`` ago."""
        if time.monotonic() >= self.due_at:
            self.attempt()
            self.due_at = time.monotonic() + self.every_s

    def attempt(self) -> None:
        """Do the work. Errors are logged and never raised: the next attempt tries again."""
        try:
            self.work()
        except FaceError as error:
            if self.failing != error.code:
                logger.warning(
                    "A periodic task cannot be done now: %s", error,
                    extra={"action": f"{self.name}_failed", "code": error.code},
                )
            self.failing = error.code
        except Exception:
            # A bug in one attempt must not stop all later ones.
            logger.exception("A periodic task failed", extra={"action": f"{self.name}_failed"})
            self.failing = FaceError.code
        else:
            if self.failing:
                logger.info("A periodic task works again", extra={"action": f"{self.name}_resumed"})
            self.failing = ""


@dataclass(slots=True)
class Ticker:
    """A daemon thread that does ``work`` every ``every_s`` seconds until it is closed.

    The first call comes ``every_s`` after ``start()``, or immediately when ``at_once`` is set.
    The thread dies with its process.
    """

    name: str
    every_s: float
    work: Callable[[], object]
    at_once: bool = False
    _stop: threading.Event = field(default_factory=threading.Event, init=False)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end without waiting for it."""
        self._stop.set()

    def close(self, wait_s: float | None = None) -> None:
        """Stop; wait for a call in progress, ``wait_s`` seconds at most when given."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        task = PeriodicTask(self.name, self.work)
        if self.at_once:
            task.attempt()
        while not self._stop.wait(self.every_s):
            task.attempt()
