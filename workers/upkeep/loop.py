"""The upkeep process: rounds of reconciling, and now and then of expiry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from pipeline.config import Settings
from pipeline.database.engine import open_engine
from pipeline.errors import FaceError
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from workers.dispatch import Dispatcher
from workers.upkeep.expire import Expiry
from workers.upkeep.reconcile import Reconciler
from workers.wake import Waker

logger = logging.getLogger(__name__)

# Seconds between rounds of expiry: what it removes has been there for hours.
EXPIRE_EVERY_S = 60.0


def run(settings: Settings, stop: threading.Event) -> None:
    """Keep the house until ``stop`` is set. Several may run at once."""
    with _open(settings) as (reconciler, expiry):
        reconciling = _Duty("reconcile", reconciler.round)
        expiring = _Duty("expire", expiry.round)
        expire_at = 0.0
        logger.info("Upkeep started", extra={"action": "upkeep_started"})
        while not stop.wait(settings.reconcile_interval_s):
            reconciling.attempt()
            if time.monotonic() >= expire_at:
                expiring.attempt()
                expire_at = time.monotonic() + EXPIRE_EVERY_S
    logger.info("Upkeep stopped", extra={"action": "upkeep_stopped"})


@contextmanager
def _open(settings: Settings) -> Iterator[tuple[Reconciler, Expiry]]:
    engine = open_engine(settings.sql_url, durable=False)
    store = JobStore(engine)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        dispatcher, waker = Dispatcher(settings), Waker(settings)
        stack.callback(dispatcher.close)
        stack.callback(waker.close)
        yield (
            Reconciler(settings, store, dispatcher, waker),
            Expiry(settings, store, engine, open_media(settings)),
        )


@dataclass(slots=True)
class _Duty:
    """Work that is done again and again; ``trouble`` is the code of the error that it
    last ended with, so that an outage is logged when it begins and when it ends."""

    name: str
    work: Callable[[], None]
    trouble: str = ""

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
