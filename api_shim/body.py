"""Reading request bodies: bounded in size, in time, and in all of them together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from pipeline.errors import InvalidParameter, MediaTooLarge, Overloaded

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

    async def read(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body. A client that says what it will send, and waits for leave
        (``Expect: 100-continue``), is told before it sends too much.

        Raises ``MediaTooLarge``, ``Overloaded``, ``InvalidParameter`` when it does not
        arrive in time, ``Disconnected``.
        """
        declared = headers.get("content-length", "")
        patient = headers.get("expect", "").lower() == "100-continue"
        if patient and declared.isdecimal() and int(declared) > self._limit:
            raise self._too_large()
        chunks = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                more = True
                while more:
                    chunk, more = await _next(receive)
                    self._buffered += len(chunk)
                    chunks += chunk
                    await self._check(len(chunks), receive if more else None)
        except TimeoutError as error:
            raise InvalidParameter("the body did not arrive in time") from error
        finally:
            self._buffered -= len(chunks)
        return bytes(chunks)

    async def _check(self, size: int, rest: Receive | None) -> None:
        if size <= self._limit and self._buffered <= MAX_BUFFERED:
            return
        if rest is not None:
            await _drain(rest)
        if size > self._limit:
            raise self._too_large()
        raise Overloaded

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
