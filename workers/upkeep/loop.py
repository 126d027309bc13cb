"""The upkeep process: rounds of reconciling, and now and then of expiry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

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
        expire_at = 0.0
        logger.info("Upkeep started", extra={"action": "upkeep_started"})
        while not stop.wait(settings.reconcile_interval_s):
            _try("reconcile", reconciler.round)
            if time.monotonic() >= expire_at:
                _try("expire", expiry.round)
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


def _try(what: str, work: Callable[[], None]) -> None:
    """Do ``work``; whatever goes wrong, the next round tries again."""
    try:
        work()
    except FaceError as error:
        logger.warning(
            "Upkeep waits: %s", error, extra={"action": f"{what}_failed", "code": error.code}
        )
    except Exception:
        # A fault of ours in one round must not stop all the later ones.
        logger.exception("Upkeep failed", extra={"action": f"{what}_failed"})
