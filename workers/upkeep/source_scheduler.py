"""Reading the sources of batches that nobody attends: those that came over HTTP.

Beside the rounds of upkeep, never in them: a bucket that hangs holds up no reconciler. Each
source has a thread, so that a long one holds up no short one. Whoever reads holds the
batch's lease: of several upkeeps one reads it, and another goes on when that one dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.batches.blockers import MAX_SOURCES, MAX_SOURCES_PER_TENANT
from pipeline.batches.model import Batch
from pipeline.batches.store import BatchStore
from pipeline.batches.submit import Submitter
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

CHECK_EVERY_S = 2.0  # between two looks for batches that nobody reads

STOP_S = 10.0  # for the sources that are being read


class ReadSource(Protocol):
    """What a feeder does with a batch; ``stopping`` asks for the end."""

    def __call__(self, batch: Batch, stopping: Callable[[], bool]) -> None: ...


class RecordError(Protocol):
    """Keeps why a batch's source could not be read, and when it is tried again."""

    def __call__(self, batch: Batch, error: FaceError) -> None: ...


@dataclass(slots=True)
class SourceScheduler:
    """Starts reading what nobody reads. ``due_sources`` lists what is due, oldest first."""

    unattended: Callable[[], Sequence[Batch]]
    read: ReadSource
    note: RecordError
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    _running: dict[str, tuple[int, threading.Thread]] = field(default_factory=dict)

    def run(self) -> None:
        """Rounds until ``stop`` is set, and the end of what was begun."""
        task = PeriodicTask("source_scheduler", self.round)
        while not self.stop.wait(CHECK_EVERY_S):
            task.attempt()
        deadline = self.clock() + STOP_S
        for _, thread in self._running.values():
            thread.join(max(deadline - self.clock(), 0))

    def round(self) -> None:
        """Begin with as many as there is room for. Raises ``DatabaseUnavailable``."""
        self._running = {
            id_: found for id_, found in self._running.items() if found[1].is_alive()
        }
        if len(self._running) < MAX_SOURCES:
            self._begin(self.unattended())

    def _begin(self, found: Sequence[Batch]) -> None:
        waiting = [batch for batch in found if batch.id not in self._running]
        busy = Counter(tenant for tenant, _ in self._running.values())
        while waiting and len(self._running) < MAX_SOURCES:
            # Whose fewest sources are being read; of equal ones the oldest.
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
            pass  # another one reads it, or nobody is to
        except FaceError as error:
            logger.warning(
                "Could not read the source of a batch: %s", error,
                extra={**extra, "action": "source_failed", "code": error.code},
            )
            self._keep(batch, error)
        except Exception:
            # A fault of ours with one source must not end the others.
            logger.exception(
                "Could not read the source of a batch", extra={**extra, "action": "source_failed"}
            )
            self._keep(batch, FaceError("An internal error; the log of upkeep says which."))

    def _keep(self, batch: Batch, error: FaceError) -> None:
        # While it is away nobody can look for batches, either.
        with suppress(DatabaseUnavailable):
            self.note(batch, error)


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Reads a batch's source to its end."""

    opener: UnattendedSources
    submitter: Submitter

    def __call__(self, batch: Batch, stopping: Callable[[], bool]) -> None:
        after = self.submitter.run(batch, self.opener.open(batch), stopping)
        if after.exhausted:
            self.opener.close(batch)


def read_unattended_sources(settings: Settings, stop: threading.Event) -> None:
    """Read what nobody attends until ``stop`` is set, where there is a bucket to import
    from. Opens all that it needs: no other part of upkeep waits for it."""
    if not settings.import_url:
        return
    with ExitStack() as stack:
        engine = open_engine(settings.sql_url, durable=False)
        stack.callback(engine.dispose)
        dispatcher = Dispatcher(settings)
        stack.callback(dispatcher.close)
        tenant_keys = open_keys(settings, engine)
        media = open_media(settings, tenant_keys)
        batches, jobs = BatchStore(engine, keys=tenant_keys), JobStore(engine)
        patience_s = settings.import_patience_h * HOUR_S

        def note(batch: Batch, error: FaceError) -> None:
            batches.record_source_error(batch.id, error, jobs, patience_s)

        reader = SourceReader(
            UnattendedSources(settings, media, batches),
            open_submitter(settings, batches, media, dispatcher),
        )
        SourceScheduler(batches.due_sources, reader, note, stop).run()
