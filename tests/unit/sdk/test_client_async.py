"""The async client repeats, waits and stops as the sync one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import faceline_client as sdk
import httpx
import pytest
from faceline_client import operations

from tests.unit.sdk.test_client_exchange import (
    KNOWN,
    LOST,
    PICTURE,
    Service,
    accepted,
    batch,
    busy,
    ok,
)

T = TypeVar("T")


def run(service: Service, use: Callable[[sdk.AsyncClient], Awaitable[T]], **options: Any) -> T:
    """What ``use`` gives with a client of the service; its pauses are kept, not slept."""

    async def pause(seconds: float) -> None:
        service.pauses.append(seconds)

    async def main() -> T:
        async def handle(request: httpx.Request) -> httpx.Response:
            return service.handle(request)

        http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
        async with http, sdk.AsyncClient("http://f.example", KNOWN, http=http, **options) as client:
            return await use(client)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faceline_client.async_client.asyncio.sleep", pause)
        return asyncio.run(main())


def test_a_job_is_repeated_and_polled() -> None:
    service = Service([LOST, busy(), accepted(), accepted(stage="embed", position=0), ok()])

    found = run(service, lambda client: client.compare(PICTURE, PICTURE))

    assert found.score == 91.5
    keys = {each.headers.get("idempotency-key") for each in service.requests[:3]}
    assert len(keys) == 1
    assert len(service.pauses) == 3


def test_a_submitted_job_is_watched_and_cancelled() -> None:
    service = Service([accepted(), accepted(stage="decode", position=1), ok(), ok({})])

    async def use(client: sdk.AsyncClient) -> list[str]:
        job = await client.submit(operations.compare(PICTURE, PICTURE))
        states = [status.state async for status in job.watch()]
        await job.cancel()
        return states

    assert run(service, use) == ["queued", "ended"]
    assert [each.method for each in service.requests] == ["POST", "POST", "POST", "DELETE"]


def test_a_batch_is_watched() -> None:
    service = Service([ok(batch("working", 2)), ok(batch("done", 0))])

    async def use(client: sdk.AsyncClient) -> list[float | None]:
        return [each.progress async for each in client.watch_batch("b", every_s=3)]

    assert run(service, use) == [0.5, 1.0]
    assert service.pauses == [3]


def test_a_job_that_is_not_done_in_time_goes_on() -> None:
    service = Service([accepted(), accepted(stage="detect", position=3)])

    with pytest.raises(sdk.TimedOut):
        run(service, lambda client: client.compare(PICTURE, PICTURE), timeout=0)


def test_a_cancelled_task_stops_waiting() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def handle(_: httpx.Request) -> httpx.Response:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        http = httpx.AsyncClient(transport=httpx.MockTransport(handle))
        async with http, sdk.AsyncClient("http://face.example", KNOWN, http=http) as client:
            task = asyncio.ensure_future(client.compare(PICTURE, PICTURE))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
