"""Celery's pool of processes, made to notice a dead process at once."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from celery.concurrency.asynpool import AsynPool
from celery.concurrency.prefork import TaskPool


class _QuickReapPool(AsynPool):  # type: ignore[misc]  # celery has no types
    """Celery watches a pipe that closes a moment before a dead process can be waited for: it
    then finds all processes alive and looks again after five seconds, for which the dead
    process's job and place stay idle. This pool watches the process itself."""

    def _track_child_process(self, proc: Any, hub: Any) -> None:
        if getattr(proc, "_sentinel_poll", None) is None:
            with contextlib.suppress(OSError):  # an old kernel: Celery's own way
                proc._sentinel_poll = os.pidfd_open(proc.pid)
        super()._track_child_process(proc, hub)


class ProcessPool(TaskPool):  # type: ignore[misc]  # celery has no types
    """Celery's ``prefork`` pool, which notices a dead process at once."""

    Pool = _QuickReapPool
