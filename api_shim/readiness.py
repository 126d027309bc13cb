"""Whether a submit would be accepted now: a write is tried in each store, at most every two
seconds, and only when somebody asks, Prometheus too."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum

from sqlalchemy import Engine

from pipeline.database.write_probe import probe_writes
from pipeline.encryption.key_check import check_master_key
from pipeline.encryption.vault import Vault
from pipeline.errors import (
    ConfigurationError,
    DatabaseFull,
    FaceError,
    MediaFull,
    Unavailable,
)
from pipeline.media.base import MediaStore
from pipeline.metrics.catalogue import PART_USABLE
from pipeline.metrics.instruments import GaugeReading

logger = logging.getLogger(__name__)

# Seconds for which what was found counts: anyone may ask, at any rate.
FOUND_FOR_S = 2.0

# Seconds for which a store counts as full after it had no room for a submit: others may be
# smaller, and the next would meet the same.
FULL_FOR_S = 5.0

# Seconds that each part has to answer.
CHECK_TIMEOUT_S = 4.0


class PartState(StrEnum):
    """How a part of the service is, as callers read it."""

    OK = "ok"
    AWAY = "away"
    FULL = "no space left"
    WRONG = "wrong"
    UNKNOWN = "unknown"


Parts = Mapping[str, PartState]

_FULL_PARTS: dict[type[FaceError], str] = {DatabaseFull: "database", MediaFull: "media"}


class Readiness:
    """One per process. ``stopping`` is set when the process has been told to end."""

    def __init__(self, engine: Engine, media: MediaStore, vault: Vault) -> None:
        self._checks: dict[str, Callable[[], object]] = {
            "database": lambda: probe_writes(engine),
            "media": media.try_write,
            "master_key": lambda: check_master_key(engine, vault),
        }
        self._lock = asyncio.Lock()
        self._found: Parts = {}
        self._found_at = float("-inf")
        self._full_until: dict[str, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stopping = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Note the event loop in which ``parts`` runs."""
        self._loop = loop

    def parts_for_thread(self) -> Parts:
        """As ``parts``, for a thread beside the loop; nothing is known before there is one."""
        if self._loop is None:
            return dict.fromkeys(self._checks, PartState.UNKNOWN)
        return asyncio.run_coroutine_threadsafe(self.parts(), self._loop).result()

    async def parts(self) -> Parts:
        """The state of database, media store and master key, at most two seconds old."""
        async with self._lock:
            if time.monotonic() - self._found_at > FOUND_FOR_S:
                asked_at = time.monotonic()
                states = await asyncio.gather(
                    *(state_of(name, check) for name, check in self._checks.items())
                )
                found = dict(zip(self._checks, states, strict=True))
                if found["master_key"] is PartState.AWAY:
                    # The database is, in which the key's check value lies.
                    found["master_key"] = PartState.UNKNOWN
                self._found, self._found_at = found, asked_at
        return self._known()

    def gauges(self) -> Iterator[GaugeReading]:
        """What was found last, for the metrics. The parts are tried anew meanwhile, for the next
        reading."""
        if self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.parts(), self._loop)
        for name, state in self._known().items():
            yield PART_USABLE.reading(float(state is PartState.OK), name)

    def _known(self) -> Parts:
        now = time.monotonic()
        full = {name: PartState.FULL for name, until in self._full_until.items() if now < until}
        return {**self._found, **full}

    def note_failure(self, error: Exception) -> None:
        """Note that a request failed. Of a store that is away the next check tells more: one
        caller's rows may be locked."""
        for kind, part in _FULL_PARTS.items():
            if isinstance(error, kind):
                self._full_until[part] = time.monotonic() + FULL_FOR_S
        if isinstance(error, Unavailable):
            self._found_at = float("-inf")


def is_usable(parts: Parts) -> bool:
    """Whether a submit is accepted while the parts are so."""
    return all(state is PartState.OK for state in parts.values())


def state_of(name: str, check: Callable[[], object]) -> Awaitable[PartState]:
    """The state that ``check`` finds, in a thread of its own."""

    async def find() -> PartState:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT_S):
                await asyncio.to_thread(check)
        except (FaceError, TimeoutError) as error:
            message = str(error) or "it does not answer in time"
            logger.warning("Not ready: %s", message, extra={"action": "not_ready", "part": name})
            return _state_after(error)
        return PartState.OK

    return find()


def _state_after(error: Exception) -> PartState:
    match error:
        case DatabaseFull() | MediaFull():
            return PartState.FULL
        case ConfigurationError():
            return PartState.WRONG
        case _:
            return PartState.AWAY
