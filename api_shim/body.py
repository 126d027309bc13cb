"""Reading request bodies, with limits on the size and time of each and on the sum of all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from enum import IntEnum

from starlette.types import Receive

from pipeline.errors import FaceError, InvalidParameter, MediaTooLarge, Overloaded

# Bytes of all bodies that one process holds at a time. A request above it is answered 503.
MAX_BUFFERED_BYTES = 128 * 1024 * 1024

# ... and of the bodies of one caller, so that a fast sender leaves room for others.
MAX_PER_CALLER_BYTES = MAX_BUFFERED_BYTES // 2

# Bytes of the body of a request without pictures.
MAX_PLAIN_BYTES = 64 * 1024

# Seconds for a body to arrive: a grace period, and one second more per MIN_BYTES_PER_S
# bytes, up to a maximum. Clients slower than 8 KB per second are cut off, so that sending
# single bytes does not hold memory that others need.
BODY_GRACE_S = 20.0
MIN_BYTES_PER_S = 8 * 1024
MAX_BODY_S = 60.0

# Seconds after which a body that is still arriving can be evicted to make room for others.
EVICTABLE_AFTER_S = 5.0


class BodyKind(IntEnum):
    """The contents that a body may carry, the smallest first; each kind has its own size limit."""

    PLAIN = 0
    PICTURES = 1
    CLIP = 2


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


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
        """Stop reading now; returns the number of bytes freed."""
        freed = len(self.chunks)
        self.chunks.clear()
        self.evicted = True
        if not self._deadline.expired():
            self._deadline.reschedule(self.started)
        return freed


class BodyReader:
    """Reads bodies of at most ``limit`` bytes, or ``clip_limit`` for clips."""

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
        """The whole body, counted as held until the block ends. A body that declares itself
        too large is rejected unread. ``caller`` is the unverified name of its sender.

        Raises ``MediaTooLarge``, ``Overloaded``, ``Disconnected``, and ``InvalidParameter``
        for a body that is compressed, arrives too slowly, or is too large without pictures.
        """
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit_for(body_kind):
            raise self._too_large(body_kind)
        if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise InvalidParameter("a compressed body is not accepted")
        body = await self._collect(receive, caller, body_kind)
        held = len(body)
        try:
            yield body
        finally:
            self._count(caller, -held)

    async def _collect(self, receive: Receive, caller: str, body_kind: BodyKind) -> bytes:
        """The body, counted as held."""
        try:
            async with asyncio.timeout(min(BODY_GRACE_S, MAX_BODY_S)) as deadline:
                with self._evictable(_ArrivingBody(caller, deadline)) as arriving:
                    await self._fill(arriving, receive, body_kind)
                    return bytes(arriving.chunks)
        except TimeoutError as error:
            raise InvalidParameter("the body did not arrive in time") from error

    @contextmanager
    def _evictable(self, arriving: _ArrivingBody) -> Iterator[_ArrivingBody]:
        """Makes a body evictable while it arrives. Its bytes stay counted as held unless the
        block fails."""
        self._arriving.add(arriving)
        try:
            yield arriving
        except BaseException as error:
            self._count(arriving.caller, -len(arriving.chunks))
            if arriving.evicted:
                raise Overloaded from error
            raise
        finally:
            self._arriving.discard(arriving)

    async def _fill(self, arriving: _ArrivingBody, receive: Receive, body_kind: BodyKind) -> None:
        limit, more = self._limit_for(body_kind), True
        while more:
            chunk, more = await _next(receive)
            if arriving.evicted:
                break
            arriving.extend(chunk)
            self._count(arriving.caller, len(chunk))
            if len(arriving.chunks) > limit:
                raise self._too_large(body_kind)
            while self._by_caller[arriving.caller] > MAX_PER_CALLER_BYTES:
                self._make_room({each for each in self._arriving if each.caller == arriving.caller})
            while self._buffered > MAX_BUFFERED_BYTES:
                self._make_room(self._arriving)
        if arriving.evicted:
            raise Overloaded

    def _make_room(self, among: Collection[_ArrivingBody]) -> None:
        """Evict the largest body that has been arriving for a while: a caller that begins
        many uploads and ends none would otherwise block all others."""
        begun_before = asyncio.get_running_loop().time() - EVICTABLE_AFTER_S
        candidates = [body for body in among if body.started < begun_before]
        largest = max(candidates, key=lambda body: len(body.chunks), default=None)
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
        plain = min(MAX_PLAIN_BYTES, self._limit)
        return (plain, self._limit, self._clip_limit)[body_kind]

    def _too_large(self, body_kind: BodyKind) -> FaceError:
        kind = InvalidParameter if body_kind is BodyKind.PLAIN else MediaTooLarge
        return kind(f"the body is larger than {self._limit_for(body_kind)} bytes")


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), bool(message.get("more_body", False))
