"""Request bodies: bounded, and never kept waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import pytest

from api_shim import body
from api_shim.body import BodyReader, Disconnected
from pipeline.errors import InvalidParameter, MediaTooLarge, Overloaded

Message = MutableMapping[str, Any]


def sender(chunks: Iterable[bytes], *, ends: bool = True) -> Callable[[], Awaitable[Message]]:
    """A client that sends ``chunks`` and then either ends its body or goes away."""
    rest = iter(chunks)

    async def receive() -> Message:
        chunk = next(rest, None)
        if chunk is not None:
            return {"type": "http.request", "body": chunk, "more_body": True}
        if ends:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    return receive


async def never() -> Message:
    await asyncio.sleep(3600)
    raise AssertionError


def read(reader: BodyReader, receive: Any, **headers: str) -> bytes:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asyncio.run(whole(reader, receive, named))


async def whole(reader: BodyReader, receive: Any, headers: dict[str, str]) -> bytes:
    async with reader.read(receive, headers) as found:
        return found


def test_a_body_in_pieces() -> None:
    assert read(BodyReader(10), sender([b"ab", b"", b"cdefghij"])) == b"abcdefghij"
    assert read(BodyReader(10), sender([])) == b""


def test_too_much_is_read_and_thrown_away() -> None:
    taken = []

    def chunks() -> Iterable[bytes]:
        for number in range(100):
            taken.append(number)
            yield b"x" * 6

    with pytest.raises(MediaTooLarge):
        read(BodyReader(10), sender(chunks()))
    assert len(taken) == 100


def test_a_patient_client_is_told_before_it_sends() -> None:
    headers = {"content_length": "11", "expect": "100-continue"}
    with pytest.raises(MediaTooLarge):
        read(BodyReader(10), never, **headers)
    fits = {**headers, "content_length": "2"}
    assert read(BodyReader(10), sender([b"ab"]), **fits) == b"ab"


def test_a_client_that_leaves() -> None:
    with pytest.raises(Disconnected):
        read(BodyReader(10), sender([b"ab"], ends=False))
    with pytest.raises(Disconnected):
        read(BodyReader(10), sender([b"x" * 11], ends=False))


def test_a_slow_client_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_S", 0.01)
    with pytest.raises(InvalidParameter):
        read(BodyReader(10), never)


def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BUFFERED", 15)
    reader = BodyReader(10)

    async def both() -> None:
        full = asyncio.Event()

        async def slow() -> Message:
            if not full.is_set():
                full.set()
                return {"type": "http.request", "body": b"x" * 9, "more_body": True}
            return await never()

        holder = asyncio.create_task(whole(reader, slow, {}))
        await full.wait()
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await whole(reader, sender([b"x" * 9]), {})
        holder.cancel()
        with pytest.raises(asyncio.CancelledError):
            await holder
        async with reader.read(sender([b"x" * 9]), {}):
            with pytest.raises(Overloaded):  # held while it is used
                await whole(reader, sender([b"x" * 9]), {})
        assert await whole(reader, sender([b"x" * 9]), {}) == b"x" * 9

    asyncio.run(both())
