"""The tasks: one a stage, all alike."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import Celery

from pipeline.config.settings import Settings
from pipeline.errors import DatabaseUnavailable, InvalidParameter, PackError
from pipeline.operations import Stage
from workers import process
from workers.app import GRACE_S
from workers.messages import StageMessage, decode
from workers.queues import queue_name
from workers.run_together import run_jobs
from workers.runtime import Runtime
from workers.tasks.request import StageTask
from workers.work_limit import WALL_CLOCK_FACTOR, work_limit

logger = logging.getLogger(__name__)

# Seconds between two messages that a process takes which must leave them to others.
TROUBLE_PAUSE_S = 1.0


def register(app: Celery, settings: Settings) -> None:
    """Register the task of every stage with ``app``."""
    for stage in Stage:
        app.task(run, name=queue_name(stage), base=StageTask, **_limits(stage, settings))


def _limits(stage: Stage, settings: Settings) -> dict[str, float]:
    """Time limits of a stage whose jobs take longer than others."""
    if stage is not Stage.BULK:
        return {}
    limit_s = WALL_CLOCK_FACTOR * settings.bulk_time_limit_s
    return {"soft_time_limit": limit_s, "time_limit": limit_s + GRACE_S}


def run(message: Any) -> None:
    """Carry out the job that ``message`` names, as far as this worker serves it."""
    try:
        decoded = decode(message)
        if process.trouble() is not None:
            _leave_to_others(decoded)
            return
        with process.runtime_for_job() as runtime:
            _run(decoded, runtime)
    except (InvalidParameter, DatabaseUnavailable, PackError) as error:
        logger.warning("A message was rejected: %s", error, extra={"action": "message_rejected"})
        if isinstance(error, PackError):
            time.sleep(TROUBLE_PAUSE_S)  # the models could not be opened; the job waits


def _leave_to_others(message: StageMessage) -> None:
    """Send the message again without claiming its job, after a pause in which others are
    quicker. A process that holds no models yet leaves that to the reconciler."""
    time.sleep(TROUBLE_PAUSE_S)
    process.publish_again(message.job, message.stage)


def _run(message: StageMessage, runtime: Runtime) -> None:
    """Run the job of ``message`` and others that wait at its stage."""
    if Stage.INDEX in runtime.served:
        _run_together(message, runtime)  # its watchdog keeps the limit
        return
    is_bulk = message.stage == Stage.BULK
    settings = runtime.settings
    with work_limit(settings.bulk_time_limit_s if is_bulk else settings.job_time_limit_s):
        _run_together(message, runtime)


def _run_together(message: StageMessage, runtime: Runtime) -> None:
    company = runtime.company
    if company is None:
        run_jobs(message, runtime)
        return
    others = company.take(message.stage)
    with company.measure(message.stage) as jobs:
        jobs.append(run_jobs(message, runtime, others))
