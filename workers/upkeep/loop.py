"""The upkeep process: reconciling every few seconds, everything else less often."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial

from sqlalchemy import Engine

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.duplicate_search import DuplicateSearches
from pipeline.config.settings import Settings
from pipeline.database.clock import database_clock, database_time
from pipeline.database.engine import open_engine
from pipeline.deletions.journal import DeletionJournal, open_journal
from pipeline.deletions.receipts import (
    ReceiptCompletion,
    ReceiptStore,
    caches_s,
    forget_positions,
)
from pipeline.deployment.heartbeat_file import QUIET_S, HeartbeatFile
from pipeline.deployment.metrics import process_gauges
from pipeline.deployment.processes import Heartbeat, ProcessTable, Role
from pipeline.encryption.data_keys import open_keys
from pipeline.encryption.vault import open_vault
from pipeline.errors import DatabaseUnavailable
from pipeline.gallery.images import ImageStore
from pipeline.gallery.trash import Trash
from pipeline.index.states import forget_states
from pipeline.jobs.upkeep import JobUpkeep
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.periodic import PeriodicTask, Ticker
from pipeline.sandbox.core_dumps import forbid_core_dumps
from workers.clocks import ClockWatch, warn_of_media
from workers.crash_recovery import republish
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier
from workers.upkeep.expire import Expiry
from workers.upkeep.galleries import GalleryUpkeep
from workers.upkeep.measure import MEASURE_EVERY_S, DeploymentMeasure
from workers.upkeep.reconcile import Reconciler
from workers.upkeep.source_scheduler import read_unattended_sources

logger = logging.getLogger(__name__)

# Seconds between rounds: of expiry, which removes what has been there for hours; of the trash,
# which a deletion usually empties itself, and of the journal, which it usually writes; of
# completing receipts; of looking for snapshots that should be gone; of what reads everything:
# comparing the media store with the galleries, and deleting old counts.
EXPIRE_EVERY_S = 60.0
TRASH_EVERY_S = 20.0
JOURNAL_EVERY_S = 5.0
RECEIPTS_EVERY_S = 20.0
PURGE_EVERY_S = 300.0
SWEEP_EVERY_S = 6 * 3600.0

# Seconds that a round may take which reads all of a store.
SLOW_S = 3 * 3600.0

# Seconds from the start to the first of the rounds that read everything: not while others
# start and read their galleries.
FIRST_SWEEP_S = 600.0


def run(
    settings: Settings, stop: threading.Event, metrics: MetricsEndpoint | None = None, *,
    webhooks: bool = False,
) -> None:
    """Run all periodic tasks until ``stop`` is set, and send ``webhooks``. Several processes may
    do so at once. ``metrics`` is the endpoint of a process that does more than this."""
    forbid_core_dumps()
    # A process that does more has the file for its other loop; this one's end is its end.
    file = HeartbeatFile("" if metrics is not None else settings.heartbeat_file, Role.UPKEEP)
    with (
        nullcontext(metrics) if metrics is not None else MetricsEndpoint(settings) as endpoint,
        _sending(settings, stop) if webhooks else nullcontext(),
    ):
        _run(settings, stop, endpoint, file)
    file.remove()


def _run(
    settings: Settings, stop: threading.Event, metrics: MetricsEndpoint, file: HeartbeatFile
) -> None:
    sources = threading.Thread(
        target=read_unattended_sources, args=(settings, stop), name="sources", daemon=True
    )
    with _open(settings) as (tasks, clocks), _measuring(settings, metrics):
        sources.start()
        logger.info("Upkeep started", extra={"action": "upkeep_started"})
        ready = False
        file.beat(ready=ready)
        while not stop.wait(settings.reconcile_interval_s):
            for task in tasks if clocks.trouble is None else ():
                slow = task.every_s >= PURGE_EVERY_S
                file.beat(ready=ready, quiet_s=SLOW_S if slow else QUIET_S)
                task.attempt_when_due()
            ready = not tasks[0].failing and clocks.trouble is None
            file.beat(ready=ready)
        sources.join()
    logger.info("Upkeep stopped", extra={"action": "upkeep_stopped"})


@contextmanager
def _sending(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """Sends webhooks in a thread of its own, which ends after ``stop`` is set."""
    from workers.webhook_sender import open_sender  # TLS and HTTP, which upkeep does without

    with open_sender(settings) as sender:
        thread = threading.Thread(
            target=sender.run, args=(stop,), name="webhooks", daemon=True
        )
        thread.start()
        yield
        thread.join()


@contextmanager
def _measuring(settings: Settings, metrics: MetricsEndpoint) -> Iterator[None]:
    """Measure the deployment meanwhile, if a process serves metrics: in a thread of its own, so
    that no round of upkeep makes it late."""
    if not settings.metrics_port:
        yield
        return
    engine = open_engine(settings.sql_url, durable=False)
    measure = DeploymentMeasure(settings, engine)
    ticker = Ticker("measure", MEASURE_EVERY_S, measure.measure, at_once=True)
    metrics.add(process_gauges(Role.UPKEEP), measure.gauges)
    ticker.start()
    try:
        yield
    finally:
        ticker.close()
        engine.dispose()


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[list[PeriodicTask], ClockWatch]]:
    """The tasks, and what says whether the time of this process allows them."""
    engine = open_engine(settings.sql_url, durable=False)
    jobs = JobUpkeep(engine)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        clocks = ClockWatch(settings, engine)
        with suppress(DatabaseUnavailable):  # the heartbeat looks again
            clocks.require()
        heartbeat = Heartbeat(engine, Role.UPKEEP, looks=[clocks.look])
        stack.callback(heartbeat.close)
        heartbeat.start()
        dispatcher, notifier = Dispatcher(settings), JobNotifier(settings)
        stack.callback(dispatcher.close)
        stack.callback(notifier.close)
        tenant_keys = open_keys(settings, engine)
        media = open_media(settings, tenant_keys)
        galleries = GalleryUpkeep(settings, engine, media, keys=tenant_keys)
        expiry = Expiry(settings, jobs, engine, media)
        bisector = ChunkBisector(engine, database_clock(engine), settings.max_attempts)
        searches, trash = DuplicateSearches(engine), Trash(engine, media)
        journal = open_journal(settings, engine)
        swept_at = time.monotonic() + FIRST_SWEEP_S
        tasks = [
            PeriodicTask("reconcile", Reconciler(settings, jobs, dispatcher, notifier).round),
            PeriodicTask("batches", lambda: republish(jobs, dispatcher, bisector.round())),
            PeriodicTask(
                "duplicate_searches", lambda: republish(jobs, dispatcher, searches.start_due())
            ),
            PeriodicTask("expire", expiry.round, EXPIRE_EVERY_S),
            PeriodicTask("usage", expiry.expire_usage, SWEEP_EVERY_S),
            PeriodicTask("clocks", lambda: warn_of_media(media, engine), PURGE_EVERY_S),
            PeriodicTask("processes", ProcessTable(engine).forget_silent, EXPIRE_EVERY_S),
            PeriodicTask("index_states", partial(forget_states, engine), EXPIRE_EVERY_S),
            PeriodicTask("images", ImageStore(engine, media).expire, EXPIRE_EVERY_S),
            PeriodicTask("journal", journal.write_pending, JOURNAL_EVERY_S),
            PeriodicTask("receipts", _receipts(settings, engine, media).round, RECEIPTS_EVERY_S),
            PeriodicTask("old_receipts", partial(_forget, settings, journal), SWEEP_EVERY_S),
            PeriodicTask("trash", trash.empty, TRASH_EVERY_S),
            PeriodicTask("deleted", trash.delete_left_of_tenants, PURGE_EVERY_S),
            PeriodicTask("purge", galleries.purge_snapshots, PURGE_EVERY_S),
            PeriodicTask("lists", galleries.sweep_lists, PURGE_EVERY_S),
            PeriodicTask("sweep", galleries.sweep, SWEEP_EVERY_S, due_at=swept_at),
        ]
        yield tasks, clocks


def _receipts(settings: Settings, engine: Engine, media: MediaStore) -> ReceiptCompletion:
    processes = ProcessTable(engine)

    def index_processes() -> set[str]:
        return {each.id for each in processes.alive() if each.role is Role.INDEX}

    return ReceiptCompletion(
        engine, media, lambda: open_vault(settings), index_processes, caches_s(settings),
        database_clock(engine),
    )


def _forget(settings: Settings, journal: DeletionJournal) -> None:
    """Delete old receipts and entries of the journal."""
    journal.prune(settings.receipt_retention_d)
    now = database_time(journal.engine)
    ReceiptStore(journal.engine).purge(settings.receipt_retention_d, now)
    forget_positions(journal.engine, now)
