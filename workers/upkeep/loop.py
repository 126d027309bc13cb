"""The upkeep process: rounds of reconciling, and now and then of everything else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.batches.bisect import ChunkBisector
from pipeline.batches.duplicate_search import DuplicateSearches
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_keys import open_keys
from pipeline.errors import FaceError
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from workers.dispatch import Dispatcher
from workers.job_notifier import JobNotifier
from workers.upkeep.batches import BatchUpkeep
from workers.upkeep.expire import Expiry
from workers.upkeep.galleries import GalleryUpkeep
from workers.upkeep.reconcile import Reconciler
from workers.upkeep.source_scheduler import read_unattended_sources

logger = logging.getLogger(__name__)

# Seconds between rounds: of expiry, which removes what has been there for hours; of the
# trash, which is emptied at once as a rule; of looking for snapshots that should be gone,
# and of what reads everything whole: comparing the media store with the galleries, and
# forgetting old counts.
EXPIRE_EVERY_S = 60.0
TRASH_EVERY_S = 20.0
PURGE_EVERY_S = 300.0
SWEEP_EVERY_S = 6 * 3600.0


def run(settings: Settings, stop: threading.Event) -> None:
    """Keep the house until ``stop`` is set. Several may run at once."""
    feeding = threading.Thread(
        target=read_unattended_sources, args=(settings, stop), name="feeder", daemon=True
    )
    with _open(settings) as duties:
        feeding.start()
        logger.info("Upkeep started", extra={"action": "upkeep_started"})
        while not stop.wait(settings.reconcile_interval_s):
            for duty in duties:
                duty.attempt_when_due()
        feeding.join()
    logger.info("Upkeep stopped", extra={"action": "upkeep_stopped"})


@contextmanager
def _open(settings: Settings) -> Iterator[list[PeriodicTask]]:
    engine = open_engine(settings.sql_url, durable=False)
    store = JobStore(engine)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        dispatcher, waker = Dispatcher(settings), JobNotifier(settings)
        stack.callback(dispatcher.close)
        stack.callback(waker.close)
        tenant_keys = open_keys(settings, engine)
        media = open_media(settings, tenant_keys)
        keeping = GalleryUpkeep(settings, engine, media, keys=tenant_keys)
        expiry = Expiry(settings, store, engine, media)
        splitter = ChunkBisector(engine, time.time, settings.max_attempts)
        batches = BatchUpkeep(splitter, store, dispatcher, DuplicateSearches(engine))
        yield [
            PeriodicTask("reconcile", Reconciler(settings, store, dispatcher, waker).round),
            PeriodicTask("batches", batches.split_failed_chunks),
            PeriodicTask("doubles", batches.start_duplicate_searches),
            PeriodicTask("expire", expiry.round, EXPIRE_EVERY_S),
            PeriodicTask("usage", expiry.expire_usage, SWEEP_EVERY_S),
            PeriodicTask("images", keeping.expire_images, EXPIRE_EVERY_S),
            PeriodicTask("trash", keeping.empty_trash, TRASH_EVERY_S),
            PeriodicTask("deleted", keeping.clear_deleted, PURGE_EVERY_S),
            PeriodicTask("purge", keeping.purge_snapshots, PURGE_EVERY_S),
            PeriodicTask("lists", keeping.sweep_lists, PURGE_EVERY_S),
            PeriodicTask("sweep", keeping.sweep, SWEEP_EVERY_S),
        ]


@dataclass(slots=True)
class PeriodicTask:
    """Work that is done every ``every_s`` seconds; ``trouble`` is the code of the error that
    its last run ended with, so that an outage is logged when it begins and when it ends."""

    name: str
    work: Callable[[], None]
    every_s: float = 0.0
    trouble: str = ""
    due_at: float = 0.0

    def attempt_when_due(self) -> None:
        if time.monotonic() >= self.due_at:
            self.attempt()
            self.due_at = time.monotonic() + self.every_s

    def attempt(self) -> None:
        """Do the work; whatever goes wrong, the next round tries again."""
        try:
            self.work()
        except FaceError as error:
            if self.trouble != error.code:
                logger.warning(
                    "Upkeep waits: %s", error,
                    extra={"action": f"{self.name}_failed", "code": error.code},
                )
            self.trouble = error.code
        except Exception:
            # A fault of ours in one round must not stop all the later ones.
            logger.exception("Upkeep failed", extra={"action": f"{self.name}_failed"})
            self.trouble = FaceError.code
        else:
            if self.trouble:
                logger.info("Upkeep goes on", extra={"action": f"{self.name}_resumed"})
            self.trouble = ""
