"""Request bodies: bounded, and never kept waiting for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import pytest

from api_shim import body
from api_shim.body import MAX_PLAIN_BYTES, BodyKind, BodyReader, Disconnected
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


async def whole(
    reader: BodyReader, receive: Any, headers: dict[str, str],
    size: BodyKind = BodyKind.PICTURES,
) -> bytes:
    async with reader.read(receive, headers, size) as found:
        return found


def test_a_body_in_pieces() -> None:
    assert read(BodyReader(10), sender([b"ab", b"", b"cdefghij"])) == b"abcdefghij"
    assert read(BodyReader(10), sender([])) == b""


def test_too_much_is_refused() -> None:
    with pytest.raises(MediaTooLarge):
        read(BodyReader(10), sender([b"x" * 6] * 2))


@pytest.mark.parametrize("more", [{}, {"expect": "100-continue"}])
def test_who_says_that_it_is_too_much_is_refused_before_it_is_read(more: dict[str, str]) -> None:
    with pytest.raises(MediaTooLarge):
        read(BodyReader(10), never, content_length="11", **more)
    assert read(BodyReader(10), sender([b"ab"]), content_length="2", **more) == b"ab"


def test_without_pictures_a_body_is_small() -> None:
    def plain(size: int, **headers: str) -> bytes:
        reader = BodyReader(MAX_PLAIN_BYTES * 2)
        return asyncio.run(whole(reader, sender([b"x" * size]), headers, BodyKind.PLAIN))

    assert len(plain(MAX_PLAIN_BYTES)) == MAX_PLAIN_BYTES
    with pytest.raises(InvalidParameter):
        plain(MAX_PLAIN_BYTES + 1)


def test_with_a_clip_a_body_is_larger() -> None:
    reader = BodyReader(10, 20)
    assert len(asyncio.run(whole(reader, sender([b"x" * 20]), {}, BodyKind.CLIP))) == 20
    with pytest.raises(MediaTooLarge):
        asyncio.run(whole(reader, sender([b"x" * 21]), {}, BodyKind.CLIP))


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(InvalidParameter):
        read(BodyReader(10), never, content_encoding="gzip")
    assert read(BodyReader(10), sender([b"ab"]), content_encoding="Identity") == b"ab"


def test_a_client_that_leaves() -> None:
    with pytest.raises(Disconnected):
        read(BodyReader(10), sender([b"ab"], ends=False))


def test_a_slow_client_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BODY_S", 0.01)
    with pytest.raises(InvalidParameter):
        read(BodyReader(10), never)


def test_a_trickle_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_GRACE_S", 0.05)

    async def trickle() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    with pytest.raises(InvalidParameter):
        read(BodyReader(1_000_000), trickle)


def test_what_arrives_fast_enough_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "BODY_GRACE_S", 0.01)
    monkeypatch.setattr(body, "MIN_BYTES_PER_S", 1)
    rest = iter([b"x" * 60, b"x" * 40])

    async def receive() -> Message:
        chunk = next(rest, b"")
        if len(chunk) != 60:
            await asyncio.sleep(0.05)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

    assert len(read(BodyReader(1000), receive)) == 100


def test_what_never_ends_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BUFFERED_BYTES", 30)
    monkeypatch.setattr(body, "EVICTABLE_AFTER_S", 0.0)
    reader = BodyReader(20)

    async def scene() -> None:
        def stalled(size: int) -> Callable[[], Awaitable[Message]]:
            begun = iter([b"x" * size])

            async def receive() -> Message:
                chunk = next(begun, None)
                return {"type": "http.request", "body": chunk, "more_body": True} if (
                    chunk is not None) else await never()

            return receive

        small = asyncio.create_task(whole(reader, stalled(5), {}))
        large = asyncio.create_task(whole(reader, stalled(18), {}))
        await asyncio.sleep(0.01)
        assert await whole(reader, sender([b"x" * 15]), {}) == b"x" * 15
        with pytest.raises(Overloaded):
            await large
        assert not small.done()
        small.cancel()
        with pytest.raises(asyncio.CancelledError):
            await small
        assert await whole(reader, sender([b"x" * 20]), {}) == b"x" * 20

    asyncio.run(scene())


def test_one_caller_leaves_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_PER_CALLER_BYTES", 15)
    reader = BodyReader(10)

    async def scene() -> None:
        async with reader.read(sender([b"x" * 9]), {}, caller="busy"):
            with pytest.raises(Overloaded):
                async with reader.read(sender([b"x" * 9]), {}, caller="busy"):
                    raise AssertionError
            async with reader.read(sender([b"x" * 9]), {}, caller="other") as found:
                assert len(found) == 9
        async with reader.read(sender([b"x" * 9]), {}, caller="busy") as found:
            assert len(found) == 9

    asyncio.run(scene())


def test_all_bodies_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body, "MAX_BUFFERED_BYTES", 15)
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
