"""Reads the sources of unattended batches, which came over HTTP or from the console.

This runs beside the rounds of upkeep: a bucket that hangs delays no reconciler. Each source
has a thread, so that a long one delays no short one. The reader holds the batch's lease: of
several upkeep processes one reads the source, and another goes on when that one dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from pipeline.batches.blockers import MAX_SOURCES, MAX_SOURCES_PER_TENANT
from pipeline.batches.model import Batch
from pipeline.batches.store import BatchStore
from pipeline.batches.unattended import UnattendedSources
from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.encryption.data_keys import open_keys
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    DatabaseUnavailable,
    FaceError,
)
from pipeline.jobs.store import JobStore
from pipeline.media.open import open_media
from pipeline.periodic import PeriodicTask
from pipeline.storage_keys import HOUR_S
from workers.batch_submitter import open_submitter
from workers.dispatch import Dispatcher

logger = logging.getLogger(__name__)

CHECK_EVERY_S = 2.0  # between two looks for unread sources

STOP_S = 10.0  # for the end of running reads


@dataclass(slots=True)
class SourceScheduler:
    """Starts reading sources that are due; ``due_sources`` lists their batches, oldest first.
    ``read`` reads a batch's source until the function that it is given returns true;
    ``record_error`` records why that failed, and when to try again."""

    due_sources: Callable[[], Sequence[Batch]]
    read: Callable[[Batch, Callable[[], bool]], object]
    record_error: Callable[[Batch, FaceError], object]
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    _running: dict[str, tuple[int, threading.Thread]] = field(default_factory=dict)

    def run(self) -> None:
        """Look for due sources until ``stop`` is set, then wait for running reads to end."""
        task = PeriodicTask("source_scheduler", self.round)
        while not self.stop.wait(CHECK_EVERY_S):
            task.attempt()
        deadline = self.clock() + STOP_S
        for _, thread in self._running.values():
            thread.join(max(deadline - self.clock(), 0))

    def round(self) -> None:
        """Start as many reads as there is room for. Raises ``DatabaseUnavailable``."""
        self._running = {id_: found for id_, found in self._running.items() if found[1].is_alive()}
        if len(self._running) < MAX_SOURCES:
            self._start(self.due_sources())

    def _start(self, found: Sequence[Batch]) -> None:
        waiting = [batch for batch in found if batch.id not in self._running]
        busy = Counter(tenant for tenant, _ in self._running.values())
        while waiting and len(self._running) < MAX_SOURCES:
            # The tenant with the fewest running reads goes first, then the oldest batch.
            batch = min(waiting, key=lambda each: busy[each.tenant_id])
            if busy[batch.tenant_id] >= MAX_SOURCES_PER_TENANT:
                return
            waiting.remove(batch)
            busy[batch.tenant_id] += 1
            thread = threading.Thread(
                target=self._attempt, args=(batch,), name=f"source-{batch.id[:8]}", daemon=True
            )
            self._running[batch.id] = (batch.tenant_id, thread)
            thread.start()

    def _attempt(self, batch: Batch) -> None:
        extra = {"batch": batch.id, "tenant": batch.tenant_id}
        try:
            self.read(batch, self.stop.is_set)
        except (BatchBusy, BatchCancelled, BatchNotFound):
            pass  # another process reads it, or it is not to be read
        except FaceError as error:
            logger.warning(
                "Could not read the source of a batch: %s", error,
                extra={**extra, "action": "source_failed", "code": error.code},
            )
            self._record(batch, error)
        except Exception:
            # A bug in reading one source must not end the others.
            logger.exception(
                "Could not read the source of a batch", extra={**extra, "action": "source_failed"}
            )
            self._record(batch, FaceError("An internal error; the log of upkeep says which."))

    def _record(self, batch: Batch, error: FaceError) -> None:
        # Without a database the next round cannot look for batches, either.
        with suppress(DatabaseUnavailable):
            self.record_error(batch, error)


def read_unattended_sources(settings: Settings, stop: threading.Event) -> None:
    """Read unattended sources until ``stop`` is set. Opens all that it needs: no other part of
    upkeep waits for it."""
    with ExitStack() as stack:
        engine = open_engine(settings.sql_url, durable=False)
        stack.callback(engine.dispose)
        dispatcher = Dispatcher(settings)
        stack.callback(dispatcher.close)
        tenant_keys = open_keys(settings, engine)
        media = open_media(settings, tenant_keys)
        batches, jobs = BatchStore(engine, keys=tenant_keys), JobStore(engine)
        patience_s = settings.import_patience_h * HOUR_S
        sources = UnattendedSources(settings, media, batches)
        submitter = open_submitter(settings, batches, media, dispatcher)

        def read(batch: Batch, stopping: Callable[[], bool]) -> None:
            if submitter.run(batch, sources.open(batch), stopping).exhausted:
                sources.close(batch)

        def record_error(batch: Batch, error: FaceError) -> None:
            batches.record_source_error(batch.id, error, jobs, patience_s)

        SourceScheduler(batches.due_sources, read, record_error, stop).run()
