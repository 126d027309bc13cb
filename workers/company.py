"""Which waiting jobs a process takes along with the one that it starts on.

Jobs that are run together are claimed by one transaction and ended by one, and their messages
need no way through the parent. None is waited for: a process takes what is there, and leaves
to each other process its share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipeline.config.settings import Settings
from pipeline.jobs.model import Claim
from pipeline.jobs.store import JobStore
from pipeline.operations import Stage
from workers.dispatch import Dispatcher
from workers.redis_queues import is_one_redis
from workers.waiting_messages import WaitingMessages

# The stages of pictures: short jobs, and much alike. Clips, downloads and chunks of batches run
# alone.
STAGES = frozenset({Stage.DECODE, Stage.DETECT, Stage.EMBED, Stage.INDEX})

# Seconds of work that are taken together, by the duration of the last jobs: an answer waits for
# the jobs that are run with its own.
TOGETHER_S = 0.1

# The part of a job's time without the processor that counts as work: some is spent on stores,
# some by others who use the same core.
WAIT_SHARE = 0.25

# Seconds after which jobs that were taken along and have not started are given back.
PATIENCE_S = 1.0

# A process that waited for longer before this job would have got any other that was there.
IDLE_S = 0.05

# The weight of the last jobs in the mean duration.
WEIGHT = 0.25


class Company:
    """Takes messages of waiting jobs from the queues. Make it after a fork."""

    def __init__(self, settings: Settings, served: frozenset[Stage]) -> None:
        # Where the first death of a worker ends a job, jobs are not run together: which of them
        # it was is not always known.
        self._limit = settings.jobs_together if settings.max_attempts > 1 else 1
        alone = Stage.INDEX in served
        processes = settings.concurrency or len(os.sched_getaffinity(0))
        self._share = 1 if alone else max(2, processes)
        # Other brokers keep their messages for Celery.
        self._messages = WaitingMessages(settings) if is_one_redis(settings) else None
        self._duration_s: dict[str, float] = {}
        self._ended_at = float("-inf")

    def take(self, stage: str) -> list[str]:
        """The ids of jobs that wait at ``stage`` and whose messages are now taken."""
        duration_s = self._duration_s.get(stage)
        if (
            self._messages is None or self._limit < 2 or duration_s is None
            or stage not in STAGES or time.monotonic() - self._ended_at > IDLE_S
        ):
            return []
        most = min(self._limit, int(TOGETHER_S / duration_s)) - 1
        return self._messages.take(stage, most, self._share) if most > 0 else []

    @contextmanager
    def measure(self, stage: str) -> Iterator[list[int]]:
        """Measure how long the jobs take that are run inside; their number is put in the list."""
        jobs: list[int] = []
        start, start_cpu = time.monotonic(), time.process_time()
        try:
            yield jobs
        finally:
            worked_s = time.process_time() - start_cpu
            waited_s = max(time.monotonic() - start - worked_s, 0.0)
            self.note(stage, max(sum(jobs), 1), worked_s + WAIT_SHARE * waited_s)

    def note(self, stage: str, jobs: int, seconds: float) -> None:
        """Note how long jobs took together."""
        self._ended_at = time.monotonic()
        each_s = max(seconds, 1e-6) / jobs
        before_s = self._duration_s.get(stage, each_s)
        self._duration_s[stage] = before_s + WEIGHT * (each_s - before_s)

    def close(self) -> None:
        if self._messages is not None:
            self._messages.close()


def give_back(
    claims: Sequence[Claim], store: JobStore, dispatcher: Dispatcher, *, charged: bool = False
) -> None:
    """Let other processes have jobs that were claimed and not run. ``charged``: the attempt
    counts, and they run alone from now on. Raises ``DatabaseUnavailable``."""
    if claims:
        held = store.together.release(claims, charged=charged)
        for claim, was_held in zip(claims, held, strict=True):
            if was_held:
                dispatcher.publish(claim.id, claim.job.stage)
