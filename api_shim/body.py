"""Reading request bodies: bounded in size, in time, and in all of them together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
)
from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from typing import Any, Self

from pipeline.errors import FaceError, InvalidParameter, MediaTooLarge, Overloaded

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Bytes of bodies that one process holds at a time, over all requests: what comes on
# top is told to come back.
MAX_BUFFERED_BYTES = 128 * 1024 * 1024

# ... and of those of one caller: whoever sends faster than his turn comes leaves room.
MAX_PER_CALLER_BYTES = MAX_BUFFERED_BYTES // 2

# Bytes of the body of a request that carries no picture.
MAX_PLAIN_BYTES = 64 * 1024

# Seconds for a body to arrive: so many, and one more for each so many bytes, but never
# more than the last. A client that sends less than 8 KB a second is cut off, and none
# can hold what others need by sending a byte now and then.
BODY_GRACE_S = 20.0
MIN_BYTES_PER_S = 8 * 1024
MAX_BODY_S = 60.0

# Seconds after which a body that is still arriving gives way, when there is no room
# for others.
EVICTABLE_AFTER_S = 5.0


class BodyKind(Enum):
    """What a body may carry."""

    PLAIN = "plain"
    PICTURES = "pictures"
    CLIP = "clip"

    @classmethod
    def of(cls, *, pictures: bool, clip: bool) -> Self:
        return cls("clip" if clip else "pictures" if pictures else "plain")


class Disconnected(Exception):
    """The client went away before its request was complete."""


class _ArrivingBody:
    """A body that is arriving."""

    def __init__(self, caller: str, deadline: asyncio.Timeout) -> None:
        self.caller = caller
        self.chunks = bytearray()
        self.started = asyncio.get_running_loop().time()
        self.evicted = False
        self._deadline = deadline

    def extend(self, chunk: bytes) -> None:
        self.chunks += chunk
        seconds = min(BODY_GRACE_S + len(self.chunks) / MIN_BYTES_PER_S, MAX_BODY_S)
        self._deadline.reschedule(self.started + seconds)

    def evict(self) -> int:
        """Stop now; the bytes that become free."""
        freed = len(self.chunks)
        self.chunks.clear()
        self.evicted = True
        if not self._deadline.expired():
            self._deadline.reschedule(self.started)
        return freed


class BodyReader:
    """Reads bodies of at most ``limit`` bytes, with clips of ``clip_limit``."""

    def __init__(self, limit: int, clip_limit: int = 0) -> None:
        self._limit = limit
        self._clip_limit = max(limit, clip_limit)
        self._buffered = 0
        self._by_caller: Counter[str] = Counter()
        self._arriving: set[_ArrivingBody] = set()

    @asynccontextmanager
    async def read(
        self, receive: Receive, headers: Mapping[str, str], body_kind: BodyKind = BodyKind.PICTURES,
        caller: str = "",
    ) -> AsyncIterator[bytes]:
        """The whole body, counted as held until the block ends. One that says that it
        is too large is refused before it is read; a plain one, without pictures, has
        at most ``MAX_PLAIN_BYTES`` bytes. ``caller`` is whose body it seems to be.

        Raises ``MediaTooLarge``, ``Overloaded``, ``Disconnected``, ``InvalidParameter``
        when it is compressed, comes too slowly, or is too large without pictures.
        """
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit_for(body_kind):
            raise self._too_large(body_kind)
        if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise InvalidParameter("a compressed body is not taken")
        body = await self._collect(receive, caller, body_kind)
        held = len(body)
        try:
            yield body
        finally:
            self._count(caller, -held)

    async def _collect(self, receive: Receive, caller: str, body_kind: BodyKind) -> bytes:
        """The body, which is counted as held."""
        try:
            async with asyncio.timeout(min(BODY_GRACE_S, MAX_BODY_S)) as patience:
                with self._arrival(_ArrivingBody(caller, patience)) as reading:
                    await self._fill(reading, receive, body_kind)
                    return bytes(reading.chunks)
        except TimeoutError as error:
            raise InvalidParameter("the body did not arrive in time") from error

    @contextmanager
    def _arrival(self, reading: _ArrivingBody) -> Iterator[_ArrivingBody]:
        """While a reading can give way; what it has read counts as held unless it fails."""
        self._arriving.add(reading)
        try:
            yield reading
        except BaseException as error:
            self._count(reading.caller, -len(reading.chunks))
            if reading.evicted:
                raise Overloaded from error
            raise
        finally:
            self._arriving.discard(reading)

    async def _fill(self, reading: _ArrivingBody, receive: Receive, body_kind: BodyKind) -> None:
        limit, more = self._limit_for(body_kind), True
        while more:
            chunk, more = await _next(receive)
            if reading.evicted:
                break
            reading.extend(chunk)
            self._count(reading.caller, len(chunk))
            if len(reading.chunks) > limit:
                raise self._too_large(body_kind)
            while self._by_caller[reading.caller] > MAX_PER_CALLER_BYTES:
                self._make_room({each for each in self._arriving if each.caller == reading.caller})
            while self._buffered > MAX_BUFFERED_BYTES:
                self._make_room(self._arriving)
        if reading.evicted:
            raise Overloaded

    def _make_room(self, among: Collection[_ArrivingBody]) -> None:
        """Let the largest go of those that have been arriving for a while: whoever begins
        many and ends none would otherwise keep all others out."""
        begun = asyncio.get_running_loop().time() - EVICTABLE_AFTER_S
        slow = [reading for reading in among if reading.started < begun]
        largest = max(slow, key=lambda reading: len(reading.chunks), default=None)
        if largest is None:
            raise Overloaded
        self._arriving.discard(largest)
        self._count(largest.caller, -largest.evict())

    def _count(self, caller: str, size: int) -> None:
        self._buffered += size
        self._by_caller[caller] += size
        if not self._by_caller[caller]:
            del self._by_caller[caller]

    def _limit_for(self, body_kind: BodyKind) -> int:
        if body_kind is BodyKind.CLIP:
            return self._clip_limit
        return min(MAX_PLAIN_BYTES, self._limit) if body_kind is BodyKind.PLAIN else self._limit

    def _too_large(self, body_kind: BodyKind) -> FaceError:
        kind = InvalidParameter if body_kind is BodyKind.PLAIN else MediaTooLarge
        return kind(f"the body is larger than {self._limit_for(body_kind)} bytes")


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), bool(message.get("more_body", False))
