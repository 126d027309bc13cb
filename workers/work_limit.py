"""The time limit of a job, which counts its work: processor time, and not the waiting for a core
that others use, for a store, or for a foreign server."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from celery.exceptions import SoftTimeLimitExceeded

# How many times its limit a job may take by the clock, as decoding may: one that hangs does no
# work at all.
WALL_CLOCK_FACTOR = 4

# Seconds; a timer of none would never ring.
SHORTEST_TIMER_S = 0.01


def is_over(limit_s: float, elapsed_s: float, worked_s: float) -> bool:
    """Whether a limit is over, ``elapsed_s`` after the start of a job, by the clock, in which its
    process has worked for ``worked_s``."""
    worked_out = worked_s >= limit_s and elapsed_s >= limit_s  # models may use several cores
    return worked_out or elapsed_s >= WALL_CLOCK_FACTOR * limit_s


@contextmanager
def work_limit(limit_s: float) -> Iterator[None]:
    """Raise ``SoftTimeLimitExceeded`` inside once this process has worked for ``limit_s``, and as
    much time has passed; once only. Celery's own limit sees to the clock. For the main thread."""
    until = time.monotonic() + limit_s
    inside = True

    def strike(*_: object) -> None:
        left_s = until - time.monotonic()
        if left_s > 0:
            signal.setitimer(signal.ITIMER_PROF, max(left_s, SHORTEST_TIMER_S))
        elif inside:
            raise SoftTimeLimitExceeded

    # It stays: a signal on its way must not meet the default, which ends the process.
    signal.signal(signal.SIGPROF, strike)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        yield
    finally:
        inside = False
        signal.setitimer(signal.ITIMER_PROF, 0)
