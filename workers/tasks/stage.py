"""The tasks: one a stage, all alike."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery

from pipeline.errors import DatabaseUnavailable, InvalidParameter
from pipeline.plans import Stage
from workers import process
from workers.fusion import carry_out
from workers.messages import decode
from workers.queues import task_name
from workers.tasks.request import StageTask

logger = logging.getLogger(__name__)


def register(app: Celery) -> None:
    """Make ``app`` know the tasks of every stage."""
    for stage in Stage:
        app.task(run, name=task_name(stage), base=StageTask)


def run(message: Any) -> None:
    """Carry out the job that ``message`` names, as far as this worker serves it."""
    try:
        carry_out(decode(message), process.runtime())
    except (InvalidParameter, DatabaseUnavailable) as error:
        logger.warning("A message was put aside: %s", error, extra={"action": "message_aside"})
