"""The parent process of a worker: handles processes that die or exceed the time limit."""

from __future__ import annotations

import logging
from typing import Any

from billiard.einfo import ExceptionWithTraceback
from billiard.exceptions import WorkerLostError
from celery.app.task import Task
from celery.worker.request import Request

from workers.crash_recovery import CrashRecovery

logger = logging.getLogger(__name__)


class StageRequest(Request):  # type: ignore[misc]  # celery has no types
    """A message that a worker's parent process holds."""

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> None:
        super().on_failure(exc_info, send_failed_event, return_ok)
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, WorkerLostError):
            self._release_jobs("A process died over a job")

    def on_timeout(self, soft: bool, timeout: float) -> None:
        super().on_timeout(soft, timeout)
        if not soft:
            self._release_jobs("A process did not heed the time limit and is killed")

    def _release_jobs(self, sentence: str) -> None:
        logger.error(sentence, extra={"action": "process_lost", "child": self.worker_pid})
        if self.worker_pid is not None and self.task.crash_recovery is not None:
            self.task.crash_recovery.release_jobs_of(self.worker_pid)


class StageTask(Task):  # type: ignore[misc]  # celery has no types
    """``crash_recovery`` is set in the parent of a worker group."""

    abstract = True
    Request = StageRequest
    crash_recovery: CrashRecovery | None = None
