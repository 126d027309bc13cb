"""A worker: one parent that takes messages, and a process a core that works.

The worker of the stage `index` is a single process: it holds every gallery in memory,
and copies of it would hold them again.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from billiard import Value
from billiard.process import current_process
from celery import Celery, signals
from celery.concurrency.base import BasePool
from celery.concurrency.solo import TaskPool
from celery.exceptions import SecurityWarning

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.deployment.heartbeat_file import HeartbeatFile
from pipeline.deployment.metrics import process_gauges
from pipeline.deployment.pack import agree_on_pack
from pipeline.deployment.processes import Role
from pipeline.errors import ConfigurationError, DatabaseUnavailable, FaceError
from pipeline.execution.search import SearchResources
from pipeline.fetching.open import open_fetcher
from pipeline.index.metrics import engine_gauges, index_gauges
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.metrics.instruments import GaugeSource
from pipeline.operations import Stage
from pipeline.sandbox.confinement import die_with
from pipeline.sandbox.core_dumps import forbid_core_dumps
from pipeline.sandbox.processes import ForkServer
from pipeline.sessions import registry
from workers import process
from workers.app import GRACE_S, make_app, served_stages
from workers.clocks import ClockWatch
from workers.consumer import FastReconnectConsumer
from workers.crash_recovery import CrashRecovery
from workers.dispatch import Dispatcher
from workers.index_upkeep import IndexUpkeep
from workers.logs import setup_logging
from workers.pool import ProcessPool
from workers.queues import queue_name
from workers.running_notes import RunningNotes
from workers.runtime import needs_models, open_shared_fork_server
from workers.tasks.request import StageTask
from workers.tasks.stage import register
from workers.upkeep import loop as upkeep
from workers.watchdog import Watchdog
from workers.work_limit import WALL_CLOCK_FACTOR

logger = logging.getLogger(__name__)

# Seconds that the end of the process waits for a round of upkeep.
UPKEEP_STOP_S = 10.0

# Seconds that a worker may take to its first message: models are read from a disk that others use.
START_QUIET_S = 300.0


def run_worker(settings: Settings, metrics: MetricsEndpoint | None = None) -> int:
    """Serve the stages of the settings until SIGTERM; the exit code. ``metrics`` is the endpoint
    of an index process that does more than this.

    SIGTERM ends the worker when its current jobs have ended, SIGQUIT after 20 seconds at
    the latest. Raises ``ConfigurationError`` and what the pack raises when
    the worker cannot start.
    """
    served = served_stages(settings)
    _check(settings, served)
    settings = _as_the_deployment(settings, served)
    forbid_core_dumps()
    app = make_app(settings)
    if Stage.BULK in served:
        # Jobs whose clients wait for the answer go first.
        os.nice(settings.bulk_nice)
    register(app, settings)
    app.finalize()
    group = secrets.token_hex(4)
    signals.setup_logging.connect(lambda **_: setup_logging(settings), weak=False)
    if Stage.INDEX in served:
        with nullcontext(metrics) if metrics is not None else MetricsEndpoint(settings) as endpoint:
            return _run_index(app, settings, group, endpoint)
    with MetricsEndpoint(settings, forks=True) as endpoint:
        endpoint.add(_process_gauges(Role.WORKER, settings, served))
        return _run_processes(app, settings, group, endpoint)


@contextmanager
def _heartbeat(settings: Settings, role: Role) -> Iterator[HeartbeatFile]:
    """The heartbeat file of this process, with the time for its start and for its last jobs."""
    file = HeartbeatFile(settings.heartbeat_file, role)
    file.beat(ready=False, quiet_s=START_QUIET_S)
    limit_s = max(settings.job_time_limit_s, settings.bulk_time_limit_s)
    last_s = WALL_CLOCK_FACTOR * limit_s + GRACE_S

    def stopping(**_: Any) -> None:
        file.beat(ready=False, quiet_s=last_s)

    signals.worker_shutting_down.connect(stopping, weak=False)
    try:
        yield file
    finally:
        signals.worker_shutting_down.disconnect(stopping)
        file.remove()


def _run_processes(app: Celery, settings: Settings, group: str, metrics: MetricsEndpoint) -> int:
    served = served_stages(settings)
    notes = RunningNotes()
    recovery = CrashRecovery(settings, group, Dispatcher(settings, app), notes)
    _attach_crash_recovery(app, recovery)
    # Processes that load their models at their first job have a fork server of their own,
    # which goes with them.
    fork_server = open_shared_fork_server(settings) if Stage.DECODE in served else None
    try:
        broken, opened = _prepare_processes(settings, group, fork_server, notes, metrics)
        # "auto" heeds a container's share of the cores. A worker that only fetches waits for
        # foreign servers and needs no core.
        own = "auto" if needs_models(served) else settings.fetch_concurrency
        with _heartbeat(settings, Role.WORKER) as file:
            code = _consume(
                app, settings, group, ProcessPool, settings.concurrency or own,
                lambda taking: file.beat(ready=taking and bool(opened.value)),
            )
    finally:
        if fork_server is not None:
            fork_server.end()
    return 1 if broken.value else code


def run_index_and_upkeep(settings: Settings, *, webhooks: bool = False) -> int:
    """Serve the stage `index`, which the settings name, run upkeep, and send ``webhooks``, until
    SIGTERM; the exit code. Neither waits for the other: upkeep has a thread of its own, and a
    search that hangs restarts the process. Raises as ``run_worker``."""
    stop = threading.Event()
    died = threading.Event()

    def run_upkeep(metrics: MetricsEndpoint) -> None:
        try:
            upkeep.run(settings, stop, metrics, webhooks=webhooks)
        except Exception:
            # A process without upkeep must end, so that another one starts.
            logger.critical("Upkeep ended", exc_info=True, extra={"action": "upkeep_failed"})
            died.set()
            os.kill(os.getpid(), signal.SIGTERM)

    with MetricsEndpoint(settings) as metrics:
        thread = threading.Thread(
            target=run_upkeep, args=(metrics,), name="upkeep", daemon=True
        )
        thread.start()
        try:
            code = run_worker(settings, metrics)
        finally:
            stop.set()
            thread.join(UPKEEP_STOP_S)
    return 1 if died.is_set() else code


def _check(settings: Settings, served: frozenset[Stage]) -> None:
    """Report a wrong configuration once instead of from every process."""
    for alone in (Stage.BULK, Stage.INDEX):
        if alone in served and len(served) > 1:
            raise ConfigurationError(
                f"FACELINE_STAGES names `{alone}` beside other stages; it needs a worker of "
                "its own"
            )
    if Stage.FETCH in served and open_fetcher(settings) is None:
        raise ConfigurationError("FACELINE_STAGES names `fetch`, but FACELINE_FETCH_URLS is off")


def _as_the_deployment(settings: Settings, served: frozenset[Stage]) -> Settings:
    """The settings with the name of the deployment's pack, found on this machine.

    While the database is away, that of the settings, which is compared later. Raises as
    ``agree_on_pack``, and ``ConfigurationError`` when the clock of this process does harm.
    """
    # Closed again before the first fork: no child inherits a connection.
    engine = open_engine(settings.sql_url, durable=False)
    try:
        with suppress(DatabaseUnavailable):
            ClockWatch(settings, engine).require()
        if not needs_models(served):
            return settings
        name = agree_on_pack(settings, engine).name
    except DatabaseUnavailable:
        if settings.pack == registry.AUTO:
            raise
        name = registry.choose(settings).name
    finally:
        engine.dispose()
    return settings.model_copy(update={"pack": name})


def _run_index(app: Celery, settings: Settings, group: str, metrics: MetricsEndpoint) -> int:
    with _heartbeat(settings, Role.INDEX) as file:
        return _run_index_process(app, settings, group, metrics, file)


def _run_index_process(
    app: Celery, settings: Settings, group: str, metrics: MetricsEndpoint, file: HeartbeatFile
) -> int:
    process.start(settings, group)
    search = process.runtime().resources.get(SearchResources)
    metrics.add(
        _process_gauges(Role.INDEX, settings, served_stages(settings)),
        partial(index_gauges, search.local, settings.purge_after_s),
        partial(engine_gauges, search.outside),
    )
    following = IndexUpkeep(
        settings, search.views, search.local, search.outside, process.process_id()
    )
    watchdog = Watchdog(process.runtime())
    following.start()
    watchdog.start()
    try:
        return _consume(
            app, settings, group, TaskPool, 1, lambda taking: file.beat(ready=taking)
        )
    finally:
        watchdog.close()
        following.close()
        process.end()


def _process_gauges(role: Role, settings: Settings, served: frozenset[Stage]) -> GaugeSource:
    with_pack = settings.metrics_port and needs_models(served)
    pack = registry.choose(settings) if with_pack else None
    return process_gauges(role, _in_order(served), pack)


def _in_order(served: frozenset[Stage]) -> list[Stage]:
    return [stage for stage in Stage if stage in served]


def _consume(
    app: Celery, settings: Settings, group: str, pool: type[BasePool], concurrency: int | str,
    beat: Callable[[bool], None],
) -> int:
    stages = _in_order(served_stages(settings))

    def begun() -> None:
        # Not before signals are handled: a reader may stop the worker at once.
        logger.info(
            "Worker %s serves %s", group, ",".join(stages),
            extra={"action": "worker_started", "group": group},
        )

    consumer = partial(FastReconnectConsumer, begun=begun, beat=beat)
    worker = _make_worker(app, settings, stages, pool, concurrency, consumer)
    worker.start()
    return int(worker.exitcode or 0)


def _make_worker(
    app: Celery, settings: Settings, stages: Sequence[Stage], pool: type[BasePool],
    concurrency: int | str, consumer: Callable[..., FastReconnectConsumer],
) -> Any:
    with warnings.catch_warnings():
        # Celery warns root of pickled messages, which no process here accepts.
        warnings.simplefilter("ignore", SecurityWarning)
        return app.Worker(
            pool=pool,
            consumer_cls=consumer,
            concurrency=concurrency,
            queues=[queue_name(stage) for stage in stages],
            optimization="fair",
            without_gossip=True,
            without_mingle=True,
            # Flower knows a worker by its heartbeats, which are events, too.
            without_heartbeat=not settings.celery_events,
            quiet=True,
            loglevel=settings.log_level,
        )


def _attach_crash_recovery(app: Celery, crash_recovery: CrashRecovery) -> None:
    for task in app.tasks.values():
        if isinstance(task, StageTask):
            task.crash_recovery = crash_recovery


def _prepare_processes(
    settings: Settings, group: str, fork_server: ForkServer | None, notes: RunningNotes,
    metrics: MetricsEndpoint,
) -> tuple[Any, Any]:
    """Have each process open its runtime when it starts; the flag that is raised when
    one cannot, and one that is raised when the first has."""
    broken, opened = Value("b", 0), Value("b", 0)
    parent = os.getpid()

    def open_up(**_: Any) -> None:
        if sys.platform == "linux":
            die_with(parent)
        metrics.enter_fork(current_process().index)
        try:
            if served_stages(settings) == {Stage.BULK}:
                process.start_on_first_job(settings, group)
            else:
                process.start(settings, group, fork_server, notes)
            opened.value = 1
        except Exception as error:
            # A process without a runtime must not take messages, and the next process would
            # fail in the same way: the worker ends and logs why.
            logger.critical(
                "A worker process cannot start: %s", error,
                exc_info=not isinstance(error, FaceError), extra={"action": "start_failed"},
            )
            broken.value = 1
            os.kill(parent, signal.SIGTERM)

    signals.worker_process_init.connect(open_up, weak=False)
    signals.worker_process_shutdown.connect(lambda **_: process.end(), weak=False)
    return broken, opened
