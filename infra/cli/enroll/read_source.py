"""Reads a source into a batch, in a thread beside the progress display."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from infra.cli.batches.stores import BatchStores
from infra.cli.enroll.oddities import Oddities
from pipeline import errors
from pipeline.analysis.criteria import criteria_fingerprint
from pipeline.batches.model import Batch
from pipeline.errors import FaceError
from pipeline.jobs.store import JobStore
from pipeline.operations import enrolment_analysis
from pipeline.sources.base import Item, PictureSource, RefusalReason, RefusedItem
from workers.batch_submitter import open_submitter
from workers.dispatch import Dispatcher

FIRST_PAUSE_S = 1.0  # before the next try while a store is away; doubled each time
MAX_PAUSE_S = 15.0

ReadSource = Callable[[Callable[[], bool]], None]
"""Reads the source into the batch until it is told to stop. A later call skips what an
earlier one has read."""


class TrackedSource:
    """A source that counts the items that were processed (``items_read``), has the name of
    the current one, and notes what looks odd. ``on_collection`` is called once for each
    collection that items name; it returns why there can be none of that name, and such items
    are refused, else ""."""

    def __init__(self, source: PictureSource, on_collection: Callable[[str], str]) -> None:
        self._source = source
        self._on_collection = on_collection
        self._problems: dict[str, str] = {}
        self.items_read = 0
        self.current_name = ""
        self.oddities = Oddities()

    @property
    def location(self) -> str:
        return self._source.location

    def position(self) -> tuple[int, int]:
        return self._source.position()

    def items(self) -> Iterator[Item | RefusedItem]:
        self.items_read, self.oddities = 0, Oddities()
        for item in self._source.items():
            self.current_name = item.source_name
            if isinstance(item, RefusedItem) and item.reason == RefusalReason.SKIPPED:
                yield item
                continue
            self.oddities.add(item)
            collection = item.about.collection
            if collection not in self._problems:
                self._problems[collection] = self._on_collection(collection)
            problem = self._problems[collection]
            if problem and isinstance(item, Item):
                yield RefusedItem(item.source_name, RefusalReason.NO_COLLECTION, problem)
            else:
                yield item
            self.items_read += 1


@contextmanager
def open_reader(
    stores: BatchStores, batch: Batch, source: PictureSource, *, criteria: str = ""
) -> Iterator[ReadSource]:
    """The function that reads ``source`` into ``batch``; ``criteria`` as in ``Submitter``."""
    dispatcher = Dispatcher(stores.settings)
    submitter = open_submitter(stores.settings, stores.batches, stores.media, dispatcher, criteria)

    def read(stopping: Callable[[], bool]) -> None:
        try:
            submitter.run(batch, source, stopping)
        except (errors.BatchBusy, errors.BatchCancelled, errors.BatchNotFound):
            raise
        except FaceError as error:
            # Recorded for `faceline batches show`, which may run elsewhere.
            with suppress(errors.DatabaseUnavailable):
                stores.batches.record_source_error(batch.id, error, JobStore(stores.engine))
            raise

    try:
        yield read
    finally:
        dispatcher.close()


def local_criteria(stores: BatchStores, batch: Batch) -> str:
    """The fingerprint of what the workers of this machine accept for a batch. Raises
    ``PackMissing``."""
    options = enrolment_analysis(batch.options.faces, gate=batch.options.gate)
    return criteria_fingerprint(stores.pack, stores.settings, options)


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """For how many seconds reading is retried: while a part of the service is away, and
    while another command (possibly a dead one) holds the batch."""

    away_s: float
    busy_s: float


class ReaderThread(threading.Thread):
    """``done`` once the source was read to its end; ``error`` when it cannot be read;
    ``waits_for`` while it waits for the next try."""

    def __init__(self, read: ReadSource, limits: RetryLimits) -> None:
        super().__init__(name="source-reader", daemon=True)
        self.done = False
        self.error: Exception | None = None
        self.waits_for = ""
        self._read_source = read
        self._limits = limits
        self._stop_requested = threading.Event()

    def stop(self) -> None:
        """Ask the thread to end: it records what it has read and releases the batch."""
        self._stop_requested.set()

    def run(self) -> None:
        try:
            self._read()
        except Exception as error:  # noqa: BLE001  # the waiting thread raises it
            self.error = error

    def _read(self) -> None:
        failing_since: float | None = None
        pause = FIRST_PAUSE_S
        while not self._stop_requested.is_set():
            began = time.monotonic()
            try:
                self._read_source(self._stopping)
            except FaceError as error:
                if time.monotonic() - began > MAX_PAUSE_S:
                    failing_since, pause = None, FIRST_PAUSE_S  # it worked for a while
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > self._limit_s(error):
                    raise
                self.waits_for = error.message.rstrip(".")
                self._stop_requested.wait(pause)
                pause = min(2 * pause, MAX_PAUSE_S)
            else:
                self.done = not self._stop_requested.is_set()
                return

    def _stopping(self) -> bool:
        self.waits_for = ""  # called while reading: it continues
        return self._stop_requested.is_set()

    def _limit_s(self, error: FaceError) -> float:
        """For how many seconds an error is retried."""
        if isinstance(error, errors.BatchBusy):
            return self._limits.busy_s
        return self._limits.away_s if error.retryable else -1.0
