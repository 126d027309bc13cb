"""The upkeep process: rounds of reconciling, and now and then of everything else."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.batches.findings import FindingSearches
from pipeline.batches.splitting import Splitter
from pipeline.config import Settings
from pipeline.database.engine import open_engine
from pipeline.errors import FaceError
from pipeline.gallery.datakeys import open_keys
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from workers.dispatch import Dispatcher
from workers.upkeep.batches import BatchKeeping
from workers.upkeep.expire import Expiry
from workers.upkeep.feeder import feed
from workers.upkeep.galleries import GalleryKeeping
from workers.upkeep.reconcile import Reconciler
from workers.wake import Waker

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
    feeding = threading.Thread(target=feed, args=(settings, stop), name="feeder", daemon=True)
    with _open(settings) as duties:
        feeding.start()
        logger.info("Upkeep started", extra={"action": "upkeep_started"})
        while not stop.wait(settings.reconcile_interval_s):
            for duty in duties:
                duty.attempt_when_due()
        feeding.join()
    logger.info("Upkeep stopped", extra={"action": "upkeep_stopped"})


@contextmanager
def _open(settings: Settings) -> Iterator[list[Duty]]:
    engine = open_engine(settings.sql_url, durable=False)
    store = JobStore(engine)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        dispatcher, waker = Dispatcher(settings), Waker(settings)
        stack.callback(dispatcher.close)
        stack.callback(waker.close)
        tenant_keys = open_keys(settings, engine)
        media = open_media(settings, tenant_keys)
        keeping = GalleryKeeping(settings, engine, media, keys=tenant_keys)
        expiry = Expiry(settings, store, engine, media)
        splitter = Splitter(engine, time.time, settings.max_attempts)
        batches = BatchKeeping(splitter, store, dispatcher, FindingSearches(engine))
        yield [
            Duty("reconcile", Reconciler(settings, store, dispatcher, waker).round),
            Duty("batches", batches.mend),
            Duty("doubles", batches.search),
            Duty("expire", expiry.round, EXPIRE_EVERY_S),
            Duty("usage", expiry.expire_usage, SWEEP_EVERY_S),
            Duty("images", keeping.expire_images, EXPIRE_EVERY_S),
            Duty("trash", keeping.empty_trash, TRASH_EVERY_S),
            Duty("deleted", keeping.clear_deleted, PURGE_EVERY_S),
            Duty("purge", keeping.purge_snapshots, PURGE_EVERY_S),
            Duty("lists", keeping.sweep_lists, PURGE_EVERY_S),
            Duty("sweep", keeping.sweep, SWEEP_EVERY_S),
        ]


@dataclass(slots=True)
class Duty:
    """Work that is done every ``every_s`` seconds; ``trouble`` is the code of the error that it
    last ended with, so that an outage is logged when it begins and when it ends."""

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
