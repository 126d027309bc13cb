"""The time limit of an index process, which has no parent that could end it.

Elsewhere a signal interrupts a job that takes too long; here that would leave a view of a
gallery half changed. Instead another thread ends the job as timed out and restarts the
process, which reads its galleries and continues with the next search.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from pipeline.errors import DatabaseUnavailable, JobTimedOut
from pipeline.jobs.model import Claim
from pipeline.periodic import Ticker
from workers.company import give_back
from workers.runtime import Runtime

logger = logging.getLogger(__name__)

# Seconds between two checks of the running job.
CHECK_EVERY_S = 0.5


def restart_process() -> None:
    """Restart this process under the same number, so that its supervisor sees no death, and
    without its threads, which may hang."""
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


class Watchdog:
    """Ends jobs of ``runtime`` that take too long, from a thread of its own."""

    def __init__(self, runtime: Runtime, replace: Callable[[], None] = restart_process) -> None:
        self._runtime = runtime
        self._replace = replace
        self._ticker = Ticker("watchdog", CHECK_EVERY_S, self._check)

    def start(self) -> None:
        self._ticker.start()

    def close(self) -> None:
        self._ticker.close()

    def _check(self) -> None:
        late = self._runtime.leases.overdue(self._runtime.settings.job_time_limit_s)
        if late is not None:
            self._ticker.stop()
            self._end(late)

    def _end(self, claim: Claim) -> None:
        logger.error(
            "A search does not end and its process starts anew",
            extra={"action": "process_replaced", "job": claim.id},
        )
        try:
            if self._runtime.store.fail(claim, JobTimedOut(), []):
                self._runtime.notifier.publish(claim.id)
            others = self._runtime.leases.others(claim)
            give_back(others, self._runtime.store, self._runtime.dispatcher)
        except DatabaseUnavailable:
            pass  # the lease runs out, and the job is tried again
        self._replace()
