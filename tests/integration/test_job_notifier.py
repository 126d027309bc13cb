"""Wake-ups over a real Redis: heard at once, and again after it was away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

import pytest

from api_shim import job_waiters
from api_shim.job_waiters import JobWaiters
from pipeline.config.settings import Settings
from tests.servers import RedisServer
from tests.waiting import TIMEOUT_S
from workers.job_notifier import JobNotifier


async def none_ended(_: Collection[str]) -> set[str]:
    return set()


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def hears(room: JobWaiters, notifier: JobNotifier) -> None:
    """Check that an announced end wakes the waiter for that job, and no other."""
    with room.watch("a") as event, room.watch("b") as other:
        deadline = time.monotonic() + TIMEOUT_S
        while not event.is_set():
            assert time.monotonic() < deadline
            await asyncio.to_thread(notifier.publish, "a")  # which rests after a failure
            await asyncio.sleep(0.05)
        assert not other.is_set()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_wake_ups_come_back_with_redis(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(job_waiters, "RECONNECT_AFTER_S", 0.05)
    monkeypatch.setattr(job_waiters, "PING_AFTER_S", 0.1)
    monkeypatch.setattr(job_waiters, "SILENCE_LIMIT_S", 0.5)
    monkeypatch.setattr(job_waiters, "REDIS_TIMEOUT_S", 0.5)
    settings = Settings(broker_url=redis_server.url)
    notifier = JobNotifier(settings)

    async def scene() -> None:
        room = JobWaiters(settings, none_ended)
        running = asyncio.create_task(room.run())
        await until(lambda: room.connected)
        await hears(room, notifier)
        redis_server.kill() if how == "killed" else redis_server.freeze()
        await until(lambda: not room.connected)
        redis_server.start() if how == "killed" else redis_server.thaw()
        await until(lambda: room.connected)
        await hears(room, notifier)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scene())
    notifier.close()
