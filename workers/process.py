"""The runtime of this process: opened once, after the fork.

A worker of batches may have nothing to do for weeks. It opens its runtime at its first job,
and ends when no more come: the parent starts another process without a runtime.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from billiard.pool import EX_RECYCLE

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.errors import ConfigurationError
from pipeline.operations import Stage
from pipeline.periodic import Ticker
from pipeline.sandbox.processes import ForkServer
from pipeline.sessions import registry
from workers.app import served_stages
from workers.running_notes import RunningNotes
from workers.runtime import Runtime, needs_models, open_runtime

logger = logging.getLogger(__name__)

# Seconds between two looks at whether this process is idle.
CHECK_EVERY_S = 1.0


@dataclass(slots=True)
class _Process:
    """``pending`` are the settings and worker group to open the runtime with at the first
    job; ``busy`` is held during a job."""

    runtime: Runtime | None = None
    heartbeat: Heartbeat | None = None
    pending: tuple[Settings, str] | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)
    last_job_at: float = 0.0


_process = _Process()


def start(
    settings: Settings, group: str, fork_server: ForkServer | None = None,
    notes: RunningNotes | None = None,
) -> None:
    """Open the runtime. Raises as ``open_runtime``."""
    served = served_stages(settings)
    _process.runtime = open_runtime(settings, group, served, fork_server, notes)
    _start_heartbeat(settings, served)


def start_on_first_job(settings: Settings, group: str) -> None:
    """Open the runtime when a job asks for it. Raises as ``registry.choose``."""
    _start_heartbeat(settings, served_stages(settings))
    _process.pending = settings, group


def end() -> None:
    """Say that this process ends by itself."""
    if _process.heartbeat is not None:
        _process.heartbeat.close()


def _start_heartbeat(settings: Settings, served: frozenset[Stage]) -> None:
    if _process.heartbeat is not None:
        return  # begun before the first job
    _process.heartbeat = Heartbeat(
        open_engine(settings.sql_url, durable=False),
        Role.INDEX if Stage.INDEX in served else Role.WORKER, served,
        registry.choose(settings) if needs_models(served) else None,
    )
    _process.heartbeat.start()


def runtime() -> Runtime:
    """This process's runtime, opened now if it is pending. Raises as ``open_runtime``, and
    ``ConfigurationError`` in a process that is no worker."""
    if _process.runtime is None and _process.pending is not None:
        settings, group = _process.pending
        start(settings, group)
        idle_s = settings.bulk_idle_s
        if idle_s > 0:
            Ticker("idle_exit", min(CHECK_EVERY_S, idle_s), partial(_exit_if_idle, idle_s)).start()
    if _process.runtime is None:
        raise ConfigurationError("this process was not started as a worker")
    return _process.runtime


@contextmanager
def runtime_for_job() -> Iterator[Runtime]:
    """The runtime, for one job. Raises as ``runtime``."""
    with _process.busy:
        try:
            yield runtime()
        finally:
            _process.last_job_at = time.monotonic()


def _exit_if_idle(idle_s: float) -> None:
    """End this process after ``idle_s`` without a job: nothing else gives back all the
    memory that models take. A job that comes at that very moment is put back like that of
    a dead process."""
    if not _process.busy.acquire(blocking=False):
        return
    if time.monotonic() - _process.last_job_at > idle_s:
        logger.info("A process without work ends", extra={"action": "process_idle"})
        end()
        os._exit(EX_RECYCLE)
    _process.busy.release()
