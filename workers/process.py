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
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial

from billiard.pool import EX_RECYCLE
from sqlalchemy import Engine

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.deployment.pack_guard import PackGuard
from pipeline.deployment.processes import Heartbeat, Role
from pipeline.errors import ConfigurationError, DatabaseUnavailable, PackError
from pipeline.operations import Stage
from pipeline.periodic import Ticker
from pipeline.sandbox.processes import ForkServer
from pipeline.sessions import registry
from workers.app import served_stages
from workers.clocks import ClockWatch
from workers.running_notes import RunningNotes
from workers.runtime import Runtime, needs_models, open_runtime

logger = logging.getLogger(__name__)

# Seconds between two looks at whether this process is idle.
CHECK_EVERY_S = 1.0


@dataclass(slots=True)
class _Process:
    """``pending`` are the settings and worker group to open the runtime with at the first
    job; ``busy`` is held during a job; ``unusable`` says why the runtime could not be opened
    then."""

    runtime: Runtime | None = None
    engine: Engine | None = None
    heartbeat: Heartbeat | None = None
    guard: PackGuard | None = None
    clocks: ClockWatch | None = None
    unusable: str | None = None
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
    guard = _open_guard(settings, served)
    _process.runtime = open_runtime(settings, group, served, fork_server, notes, guard)
    _start_heartbeat(settings, served)


def start_on_first_job(settings: Settings, group: str) -> None:
    """Open the runtime when a job asks for it. Raises as ``registry.choose``."""
    _process.pending = settings, group
    served = served_stages(settings)
    _open_guard(settings, served)
    _start_heartbeat(settings, served)


def end() -> None:
    """Say that this process ends by itself, and export its last traces."""
    if _process.runtime is not None:
        _process.runtime.tracer.close()
    if _process.heartbeat is not None:
        _process.heartbeat.close()


def process_id() -> str:
    """The id of this process in the table of processes; empty before it has started."""
    return "" if _process.heartbeat is None else _process.heartbeat.id


def trouble() -> str | None:
    """Why this process must leave its jobs to others; None when it need not."""
    for watch in (_process.guard, _process.clocks):
        if watch is not None and watch.trouble is not None:
            return watch.trouble
    return None


def publish_again(job_id: str, stage: str) -> None:
    """Send the message of a job again that this process leaves to others, if it can."""
    if _process.runtime is not None:
        _process.runtime.dispatcher.publish(job_id, stage)


def _beating(settings: Settings) -> Engine:
    """The engine of the heartbeat, which begins before the runtime is open."""
    if _process.engine is None:
        _process.engine = open_engine(settings.sql_url, durable=False)
    return _process.engine


def _open_guard(settings: Settings, served: frozenset[Stage]) -> PackGuard | None:
    if _process.guard is None and needs_models(served):
        _process.guard = PackGuard(_beating(settings), registry.choose(settings))
        with suppress(DatabaseUnavailable):  # the heartbeat looks again
            _process.guard.look()
    return _process.guard


def _open_clocks(settings: Settings) -> ClockWatch:
    if _process.clocks is None:
        _process.clocks = ClockWatch(settings, _beating(settings))
    return _process.clocks


def _start_heartbeat(settings: Settings, served: frozenset[Stage]) -> None:
    if _process.heartbeat is not None:
        return  # begun before the first job
    guard = _process.guard
    _process.heartbeat = Heartbeat(
        _beating(settings),
        Role.INDEX if Stage.INDEX in served else Role.WORKER, served,
        tuple if guard is None else partial(getattr, guard, "packs"),
        [*([] if guard is None else [guard.look]), _open_clocks(settings).look,
         lambda: _process.unusable, _follow_upgrade],
    )
    _process.heartbeat.start()


def _follow_upgrade() -> str | None:
    """Load the other pack of an upgrade, if there is one."""
    if _process.runtime is not None and _process.runtime.packs is not None:
        _process.runtime.packs.follow()
    return None  # which keeps it from no work


def runtime() -> Runtime:
    """This process's runtime, opened now if it is pending. Raises as ``open_runtime``, and
    ``ConfigurationError`` in a process that is no worker."""
    if _process.runtime is None and _process.pending is not None:
        settings, group = _process.pending
        try:
            start(settings, group)
        except PackError as error:
            _process.unusable = error.message
            raise
        _process.unusable = None
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
