"""A worker: one parent that takes messages, and a process a core that works."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import warnings
from typing import Any

from billiard import Value
from celery import Celery, signals
from celery.exceptions import SecurityWarning

from pipeline.config import Settings
from pipeline.errors import FaceError
from pipeline.sessions import registry
from workers import process
from workers.app import make_app
from workers.consumer import EagerConsumer
from workers.dispatch import Dispatcher
from workers.logs import setup_logging
from workers.pool import ProcessPool
from workers.queues import queue_name
from workers.tasks.request import StageTask
from workers.tasks.stage import register
from workers.undertaker import Undertaker

logger = logging.getLogger(__name__)


def run_worker(settings: Settings) -> int:
    """Serve ``settings.stages`` until SIGTERM; the exit code.

    SIGTERM ends the worker when the jobs in its hands are through, SIGQUIT after 20
    seconds at the latest. Raises ``ConfigurationError`` and what the pack raises when
    the worker cannot start.
    """
    registry.choose(settings)  # absent: said here once instead of by every process
    app = make_app(settings)
    register(app)
    app.finalize()
    group = secrets.token_hex(4)
    _employ(app, Undertaker(settings, group, Dispatcher(settings, app)))
    broken = _prepare_processes(settings, group)
    worker = _make_worker(app, settings)
    logger.info(
        "Worker %s serves %s", group, settings.stages,
        extra={"action": "worker_started", "group": group},
    )
    worker.start()
    return 1 if broken.value else int(worker.exitcode or 0)


def _make_worker(app: Celery, settings: Settings) -> Any:
    with warnings.catch_warnings():
        # Celery warns root of pickled messages, which no process of ours accepts.
        warnings.simplefilter("ignore", SecurityWarning)
        return app.Worker(
            pool=ProcessPool,
            consumer_cls=EagerConsumer,
            # "auto" heeds the share of the cores that a container is given
            concurrency=settings.concurrency or "auto",
            queues=[queue_name(stage) for stage in settings.served_stages],
            optimization="fair",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
            loglevel=settings.log_level,
        )


def _employ(app: Celery, undertaker: Undertaker) -> None:
    for task in app.tasks.values():
        if isinstance(task, StageTask):
            task.undertaker = undertaker


def _prepare_processes(settings: Settings, group: str) -> Any:
    """Have each process open its runtime when it starts; the flag that is raised when
    one cannot."""
    broken = Value("b", 0)
    parent = os.getpid()

    def logs(**_: Any) -> None:
        setup_logging(settings)

    def open_up(**_: Any) -> None:
        try:
            process.start(settings, group)
        except Exception as error:
            # Whatever it is, a process without a runtime must not take messages, and the
            # next one would fare no better: the worker ends and says why.
            logger.critical(
                "A worker process cannot start: %s", error,
                exc_info=not isinstance(error, FaceError), extra={"action": "start_failed"},
            )
            broken.value = 1
            os.kill(parent, signal.SIGTERM)

    signals.setup_logging.connect(logs, weak=False)
    signals.worker_process_init.connect(open_up, weak=False)
    return broken
