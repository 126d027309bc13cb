"""Waiting for the end of jobs: one Redis subscription for all held responses of a process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.storage_keys import DONE_CHANNEL
from workers.connection import open_async_redis

logger = logging.getLogger(__name__)

# Seconds between two queries for ended jobs whose notification did not arrive.
POLL_INTERVAL_S = 0.5

# Seconds for Redis to accept a connection or a command.
REDIS_TIMEOUT_S = 5.0

# Seconds before the next attempt after the connection to Redis was lost.
RECONNECT_AFTER_S = 1.0

# Seconds of silence after which Redis is pinged, and after which the connection counts as
# lost: a dead network keeps a connection open for hours.
PING_AFTER_S = 10.0
SILENCE_LIMIT_S = 25.0

# Seconds for which a notification is remembered, for the request whose job was quicker than the
# event loop.
REMEMBER_S = 1.0

FindEnded = Callable[[Collection[str]], Awaitable[set[str]]]
"""Returns the ids of those jobs that have ended."""


class JobWaiters:
    """Wakes requests that wait for a job. Use it from one event loop only."""

    def __init__(self, settings: Settings, find_ended: FindEnded) -> None:
        self._url = settings.wake_url
        self._find_ended = find_ended
        self._watchers: dict[str, set[asyncio.Event]] = {}
        self._watched = asyncio.Event()
        self._unheard: dict[str, float] = {}  # when a job nobody waited for may have ended
        self.released = False
        self.connected = False

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """An event that is set once the job may have ended, also if that was just before. The
        caller then reads the job."""
        event = asyncio.Event()
        unheard = self._unheard.pop(job_id, None)
        just_before = unheard is not None and unheard > time.monotonic() - REMEMBER_S
        if self.released or just_before:
            event.set()
        self._watchers.setdefault(job_id, set()).add(event)
        self._watched.set()
        try:
            yield event
        finally:
            watchers = self._watchers[job_id]
            watchers.discard(event)
            if not watchers:
                del self._watchers[job_id]
            if not self._watchers:
                self._watched.clear()

    def wake(self, job_id: str) -> None:
        """Wake the requests that wait for one job, or else the one that is about to."""
        for event in self._watchers.get(job_id, ()):
            event.set()
        if job_id not in self._watchers:
            now = time.monotonic()
            self._unheard[job_id] = now
            while self._unheard[oldest := next(iter(self._unheard))] < now - REMEMBER_S:
                del self._unheard[oldest]

    def release_all(self) -> None:
        """Wake all requests, now and from now on, because the process stops."""
        self.released = True
        for job_id in list(self._watchers):
            self.wake(job_id)

    async def run(self) -> None:
        """Listen to Redis and poll the database until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen_forever())
            group.create_task(self._poll_forever())

    async def _poll_forever(self) -> None:
        while True:
            await self._watched.wait()
            await asyncio.sleep(POLL_INTERVAL_S)
            # While the database is away, no request can be answered anyway.
            with suppress(FaceError):
                for job_id in await self._find_ended(list(self._watchers)):
                    self.wake(job_id)

    async def _listen_forever(self) -> None:
        while True:
            try:
                await self._listen()
            except (RedisError, OSError) as error:
                if self.connected:
                    logger.warning(
                        "Redis is away; the ends of jobs are read from the database: %s", error,
                        extra={"action": "notifications_lost"},
                    )
            self.connected = False
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen(self) -> None:
        async with (
            open_async_redis(self._url, REDIS_TIMEOUT_S) as redis, redis.pubsub() as channel,
        ):
            await channel.subscribe(DONE_CHANNEL)
            self.connected = True
            await self._read_messages(channel)

    async def _read_messages(self, channel: PubSub) -> None:
        heard = asked = time.monotonic()
        while True:
            message = await channel.get_message(timeout=PING_AFTER_S)
            now = time.monotonic()
            if message is not None:
                heard = now
                self._handle_message(message)
            elif now - heard > SILENCE_LIMIT_S:
                return
            elif now - asked > PING_AFTER_S:
                asked = now
                await channel.ping()

    def _handle_message(self, message: dict[str, Any]) -> None:
        if message["type"] == "message":
            self.wake(message["data"].decode("ascii", "replace"))
