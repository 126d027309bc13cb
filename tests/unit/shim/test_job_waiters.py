"""Waiting for ends of jobs without Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import pytest

from api_shim import job_waiters
from api_shim.job_waiters import JobWaiters
from pipeline.config.settings import Settings
from pipeline.errors import DatabaseUnavailable

# No server listens there.
SETTINGS = Settings(broker_url="redis://127.0.0.1:9/0")


async def none_ended(_: Collection[str]) -> set[str]:
    return set()


def test_only_who_waits_for_a_job_is_woken() -> None:
    room = JobWaiters(SETTINGS, none_ended)
    with room.watch("a") as first, room.watch("a") as second, room.watch("b") as other:
        room.wake("a")
        room.wake("unknown")
        assert (first.is_set(), second.is_set(), other.is_set()) == (True, True, False)


def test_an_end_just_before_the_wait_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    room = JobWaiters(SETTINGS, none_ended)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    for job in "ab":
        room.wake(job)
    assert waits(room, "a") == [False, True]  # once: the job may still run
    now += job_waiters.REMEMBER_S + 0.1
    room.wake("c")
    assert waits(room, "b") == [True, True]
    assert list(room._unheard) == ["c"]


def test_an_end_that_was_heard_is_forgotten() -> None:
    room = JobWaiters(SETTINGS, none_ended)
    with room.watch("a") as event:
        room.wake("a")
        assert event.is_set()
    assert waits(room, "a") == [True, True]


def waits(room: JobWaiters, job: str) -> list[bool]:
    """Whether two requests for a job, one after the other, have to wait."""
    found = []
    for _ in range(2):
        with room.watch(job) as event:
            found.append(not event.is_set())
    return found


def test_release_wakes_everybody_for_good() -> None:
    room = JobWaiters(SETTINGS, none_ended)
    with room.watch("a") as event:
        room.release_all()
        assert event.is_set()
    with room.watch("b") as later:
        assert later.is_set()


def test_the_database_tells_when_redis_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_waiters, "POLL_INTERVAL_S", 0.01)
    asked: list[list[str]] = []

    async def ended(ids: Collection[str]) -> set[str]:
        asked.append(sorted(ids))
        if len(asked) < 3:
            raise DatabaseUnavailable
        return {"a"}

    async def scene() -> None:
        room = JobWaiters(SETTINGS, ended)
        running = asyncio.create_task(room.run())
        with room.watch("a") as event, room.watch("b") as other:
            await asyncio.wait_for(event.wait(), 30)
            assert not other.is_set()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scene())
    assert asked[0] == ["a", "b"]
