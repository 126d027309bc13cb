"""The time limit of an index process, which has no parent that could end it.

Elsewhere a job that takes too long is interrupted by a signal; here it would leave a view
of a gallery half changed. So the job ends as timed out, written by another thread, and
the process starts anew: it reads its galleries in and goes on with the next search.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

from pipeline.errors import DatabaseUnavailable, JobTimedOut
from pipeline.jobs.model import Claim
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

# Seconds between two looks at what is running.
CHECK_EVERY_S = 0.5


def restart_process() -> None:
    """Become what this process was at its start: with its number, so that who looks after
    it sees nothing, and without its threads, whatever they hang in."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


class Watchdog:
    """Watches over the jobs of ``runtime`` from a thread of its own."""

    def __init__(self, runtime: Runtime, replace: Callable[[], None] = restart_process) -> None:
        self._runtime = runtime
        self._limit_s = runtime.settings.job_time_limit_s
        self._replace = replace
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(CHECK_EVERY_S):
            late = self._runtime.leases.held_for(self._limit_s)
            if late is not None:
                self._end(late)
                return

    def _end(self, claim: Claim) -> None:
        logger.error(
            "A search does not end and its process starts anew",
            extra={"action": "process_replaced", "job": claim.id},
        )
        try:
            if self._runtime.store.fail(claim, JobTimedOut(), []):
                self._runtime.waker.publish(claim.id)
        except DatabaseUnavailable:
            pass  # its lease runs out, and it is tried again
        self._replace()
