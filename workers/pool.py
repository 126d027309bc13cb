"""Celery's pool of processes, made to notice a dead process within half a second."""

from __future__ import annotations

from collections.abc import Callable

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

# Seconds between two looks at the processes. A pipe that closes tells Celery of a death a
# moment before the process can be waited for: then Celery finds all processes alive and
# looks again after five seconds, for which the dead process's job and place stay idle.
CHECK_EVERY_S = 0.5


class _QuickReapPool(AsynPool):  # type: ignore[misc]  # celery has no types
    @property
    def timers(self) -> dict[Callable[[], None], float]:
        return {self.maintain_pool: CHECK_EVERY_S}


class ProcessPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """Celery's ``prefork`` pool, which checks its processes more often."""

    Pool = _QuickReapPool
