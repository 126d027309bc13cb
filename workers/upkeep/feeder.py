"""Reading the sources of batches that nobody attends: those that came over HTTP.

Beside the rounds of upkeep, never in them: a bucket that hangs holds up no reconciler. Each
source has a thread, so that a long one holds up no short one. Whoever reads holds the
batch's lease: of several upkeeps one reads it, and another goes on when that one dies.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.batches.model import Batch
from pipeline.batches.store import BatchStore
from pipeline.batches.submitting import Submitter
from pipeline.batches.unattended import Opener
from pipeline.config import Settings
from pipeline.database.engine import open_engine
from pipeline.errors import (
    BatchBusy,
    BatchCancelled,
    BatchNotFound,
    DatabaseUnavailable,
    FaceError,
)
from pipeline.gallery.datakeys import open_keys
from pipeline.media.open import open_media
from workers.dispatch import Dispatcher
from workers.submitting import open_submitter

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0  # between two looks for batches that nobody reads

# Sources that are read at a time, each with a page of pictures in memory (some 32 MB);
# and those of one tenant among them, so that there is a place for others.
MOST = 8
MOST_OF_ONE = 4

# Seconds without another try after one that failed; doubled with each failure in a row.
REST_S = 30.0
LONGEST_REST_S = 960.0

STOP_S = 10.0  # for the sources that are being read


class Reads(Protocol):
    """What a feeder does with a batch; ``stopping`` asks for the end."""

    def __call__(self, batch: Batch, stopping: Callable[[], bool]) -> None: ...


@dataclass(slots=True)
class Feeder:
    """Starts reading what nobody reads. ``unattended`` lists it, oldest first."""

    unattended: Callable[[], Sequence[Batch]]
    read: Reads
    stop: threading.Event
    clock: Callable[[], float] = time.monotonic
    _running: dict[str, tuple[int, threading.Thread]] = field(default_factory=dict)
    _rests_until: dict[str, float] = field(default_factory=dict)
    _rest_s: dict[str, float] = field(default_factory=dict)
    _failed: deque[str] = field(default_factory=deque)

    def run(self) -> None:
        """Rounds until ``stop`` is set, and the end of what was begun."""
        while not self.stop.wait(LOOK_EVERY_S):
            try:
                self.round()
            except DatabaseUnavailable as error:
                logger.warning(
                    "Could not look for batches to read: %s", error,
                    extra={"action": "feeder_failed", "code": error.code},
                )
            except Exception:
                # A fault of ours in one round must not stop all the later ones.
                logger.exception("Feeding failed", extra={"action": "feeder_failed"})
        deadline = self.clock() + STOP_S
        for _, thread in self._running.values():
            thread.join(max(deadline - self.clock(), 0))

    def round(self) -> None:
        """Begin with as many as there is room for. Raises ``DatabaseUnavailable``."""
        now = self.clock()
        self._running = {
            id_: found for id_, found in self._running.items() if found[1].is_alive()
        }
        self._rests_until = {id_: at for id_, at in self._rests_until.items() if at > now}
        while self._failed:
            self._rest(self._failed.popleft(), now)
        if len(self._running) < MOST:
            found = self.unattended()
            known = {batch.id for batch in found}.union(self._running)
            self._rest_s = {id_: s for id_, s in self._rest_s.items() if id_ in known}
            self._begin(found)

    def _rest(self, batch_id: str, now: float) -> None:
        rest_s = self._rest_s.get(batch_id, REST_S)
        self._rests_until[batch_id] = now + rest_s
        self._rest_s[batch_id] = min(2 * rest_s, LONGEST_REST_S)

    def _begin(self, found: Sequence[Batch]) -> None:
        waiting = [
            batch for batch in found
            if batch.id not in self._running and batch.id not in self._rests_until
        ]
        busy = Counter(tenant for tenant, _ in self._running.values())
        while waiting and len(self._running) < MOST:
            # Whose fewest sources are being read; of equal ones the oldest.
            batch = min(waiting, key=lambda each: busy[each.tenant_id])
            if busy[batch.tenant_id] >= MOST_OF_ONE:
                return
            waiting.remove(batch)
            busy[batch.tenant_id] += 1
            thread = threading.Thread(
                target=self._attempt, args=(batch,), name=f"feed-{batch.id[:8]}", daemon=True
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
            self._failed.append(batch.id)
            logger.warning(
                "Could not read the source of a batch: %s", error,
                extra={**extra, "action": "feed_failed", "code": error.code},
            )
        except Exception:
            # A fault of ours with one source must not end the others.
            self._failed.append(batch.id)
            logger.exception("Feeding failed", extra={**extra, "action": "feed_failed"})


@dataclass(frozen=True, slots=True)
class SourceReader:
    """Reads a batch's source to its end."""

    opener: Opener
    submitter: Submitter

    def __call__(self, batch: Batch, stopping: Callable[[], bool]) -> None:
        after = self.submitter.run(batch, self.opener.open(batch), stopping)
        if after.exhausted:
            self.opener.close(batch)


def feed(settings: Settings, stop: threading.Event) -> None:
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
        batches = BatchStore(engine, keys=tenant_keys)
        reader = SourceReader(
            Opener(settings, media, batches),
            open_submitter(settings, batches, media, dispatcher),
        )
        Feeder(batches.unattended, reader, stop).run()
