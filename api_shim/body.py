"""Reading request bodies: bounded in size, in time, and in all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from pipeline.errors import FaceError, InvalidParameter, MediaTooLarge, Overloaded

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Bytes of bodies that one process holds at a time, over all requests: what comes on
# top is told to come back.
MAX_BUFFERED = 128 * 1024 * 1024

# Seconds for a body to arrive.
BODY_S = 60.0

# A client that sends too much reads our answer only when it has sent all of it: so
# much (bytes) is taken and thrown away before the connection is cut instead.
MAX_DRAINED = 256 * 1024 * 1024


class Disconnected(Exception):
    """The client went away before its request was complete."""


class BodyReader:
    """Reads bodies of at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffered = 0

    @asynccontextmanager
    async def read(self, receive: Receive, headers: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The whole body, counted as held until the block ends. A client that says what
        it will send, and waits for leave (``Expect: 100-continue``), is told before it
        sends too much.

        Raises ``MediaTooLarge``, ``Overloaded``, ``InvalidParameter`` when it does not
        arrive in time, ``Disconnected``.
        """
        declared = headers.get("content-length", "")
        patient = headers.get("expect", "").lower() == "100-continue"
        if patient and declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()
        chunks, held = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(BODY_S):
                    await self._collect(receive, chunks)
            except TimeoutError as error:
                raise InvalidParameter("the body did not arrive in time") from error
            held, body = len(chunks), bytes(chunks)
            chunks.clear()
            yield body
        finally:
            self._buffered -= held + len(chunks)

    async def _collect(self, receive: Receive, chunks: bytearray) -> None:
        more = True
        while more:
            chunk, more = await _next(receive)
            self._buffered += len(chunk)
            chunks += chunk
            refusal = self._refusal(len(chunks))
            if refusal is not None:
                self._buffered -= len(chunks)
                chunks.clear()
                if more:
                    await _drain(receive)
                raise refusal

    def _refusal(self, size: int) -> FaceError | None:
        if size > self._limit:
            return self._too_large()
        return Overloaded() if self._buffered > MAX_BUFFERED else None

    def _too_large(self) -> MediaTooLarge:
        return MediaTooLarge(f"the body is larger than {self._limit} bytes")


async def _next(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Disconnected
    return message.get("body", b""), bool(message.get("more_body", False))


async def _drain(receive: Receive) -> None:
    drained, more = 0, True
    while more and drained < MAX_DRAINED:
        chunk, more = await _next(receive)
        drained += len(chunk)
