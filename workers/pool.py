"""Celery's pool of processes, which sees at once that one of them has died."""

from __future__ import annotations

from collections.abc import Callable

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool

# Seconds between two looks at the processes. Celery is told of a death by a pipe that
# closes, a moment before the process can be waited for: then it finds everybody alive
# and looks again after five seconds, for which the dead one's job and place stay idle.
CHECK_EVERY_S = 0.5


class _QuickReapPool(AsynPool):  # type: ignore[misc]  # celery has no types
    @property
    def timers(self) -> dict[Callable[[], None], float]:
        return {self.maintain_pool: CHECK_EVERY_S}


class ProcessPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """``prefork`` with a quicker eye."""

    Pool = _QuickReapPool
