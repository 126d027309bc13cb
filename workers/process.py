"""The runtime of this process: opened once, after the fork.

A worker of batches, which may have nothing to do for weeks, opens it at its first job,
and gives way to a process without one when there are no more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from billiard.pool import EX_RECYCLE

from pipeline.config.settings import Settings
from pipeline.errors import ConfigurationError
from pipeline.plans import Stage
from workers.runtime import Runtime, open_runtime

logger = logging.getLogger(__name__)

# Seconds between two looks at whether this process is of use.
CHECK_EVERY_S = 1.0

_opened: list[Runtime] = []
_awaited: list[tuple[Settings, str]] = []
_busy = threading.Lock()


def start(settings: Settings, group: str) -> None:
    """Open it. Raises what ``open_runtime`` raises."""
    served = frozenset(Stage(stage) for stage in settings.served_stages)
    _opened[:] = [open_runtime(settings, group, served)]


def start_on_first_job(settings: Settings, group: str) -> None:
    """Open it when it is asked for."""
    _awaited[:] = [(settings, group)]


def runtime() -> Runtime:
    """Raises ``ConfigurationError`` in a process that is no worker, and what
    ``open_runtime`` raises when it is only opened now."""
    if not _opened and _awaited:
        settings, group = _awaited[0]
        start(settings, group)
        if settings.bulk_idle_s > 0:
            _IdleExit(settings.bulk_idle_s).start()
    if not _opened:
        raise ConfigurationError("this process was not started as a worker")
    return _opened[0]


@contextmanager
def runtime_for_job() -> Iterator[Runtime]:
    """The runtime, for one job. Raises as ``runtime``."""
    with _busy:
        try:
            yield runtime()
        finally:
            _IdleExit.since = time.monotonic()


class _IdleExit(threading.Thread):
    """Ends this process after ``idle_s`` without a job: nothing else gives back all that
    models take. The parent starts another one; a job that comes at that very moment is
    put back as that of a dead process is."""

    since = 0.0

    def __init__(self, idle_s: float) -> None:
        super().__init__(name="idler", daemon=True)
        self._idle_s = idle_s

    def run(self) -> None:
        while True:
            time.sleep(min(CHECK_EVERY_S, self._idle_s))
            if not _busy.acquire(blocking=False):
                continue
            if time.monotonic() - _IdleExit.since > self._idle_s:
                logger.info("A process without work ends", extra={"action": "process_idle"})
                os._exit(EX_RECYCLE)
            _busy.release()
