"""Takes requests with bodies in: reads the body, then runs blocking work on the whole call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TypeVar
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from starlette.types import Receive

from api_shim.body import BodyKind, BodyReader
from api_shim.requests import Call
from api_shim.thread_pools import INTAKE_THREADS, in_thread
from pipeline.config.settings import Settings

# Intake threads that one caller can occupy.
MAX_INTAKE_PER_CALLER = INTAKE_THREADS - 2

T = TypeVar("T")

KEY_PREFIX_CHARS = 12  # of an API key: the part that is not secret


class PerCallerLimit:
    """Lets at most ``limit`` requests of one caller run at a time; further ones wait in
    order. Use it from one event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._callers: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def slot(self, caller: str) -> AsyncIterator[None]:
        semaphore = self._callers.get(caller)
        if semaphore is None:
            semaphore = self._callers[caller] = asyncio.Semaphore(self._limit)
        async with semaphore:
            yield


def claimed_caller(call: Call, parameter: str = "") -> str:
    """The caller that a request claims to come from by its API key or the ``parameter`` of its
    query; else the client's address. The claim is not verified."""
    key = call.headers.get("x-api-key")
    if key:
        return f"key {key[:KEY_PREFIX_CHARS]}"
    with suppress(ValueError):  # too many parameters
        name = dict(parse_qsl(call.query, max_num_fields=100)).get(parameter)
        if name is not None:
            return f"{parameter} {name}"
    return f"at {call.client_host}" if call.client_host else ""


def max_body_bytes(settings: Settings) -> int:
    """The largest body, in bytes, of a request that may carry a clip."""
    # A clip in Base64 takes a third more, and in a form up to three characters for some of its
    # signs.
    return max(settings.max_body_bytes, settings.max_clip_bytes * 3 // 2)


class Intake:
    """Bounds the memory and the threads that requests occupy, in all and per caller."""

    def __init__(self, settings: Settings, pool: ThreadPoolExecutor) -> None:
        self._bodies = BodyReader(settings.max_body_bytes, max_body_bytes(settings))
        self._caller_limit = PerCallerLimit(MAX_INTAKE_PER_CALLER)
        self._pool = pool

    async def read_plain(self, call: Call, receive: Receive) -> Call:
        """``call`` with its body, which carries no pictures. Raises as ``BodyReader.read``
        does."""
        caller = claimed_caller(call)
        reading = self._bodies.read(receive, call.headers, BodyKind.PLAIN, caller=caller)
        async with reading as body:
            return replace(call, body=body)

    async def run(
        self, call: Call, receive: Receive, kind: BodyKind, work: Callable[[Call], T],
        caller_parameter: str = "",
    ) -> T:
        """Read the body of ``call`` and run ``work`` on it in a thread; returns its result.
        ``caller_parameter`` is the query parameter that names the caller. Raises as
        ``BodyReader.read`` and ``work`` do."""
        caller = claimed_caller(call, caller_parameter)
        async with (
            self._bodies.read(receive, call.headers, kind, caller=caller) as body,
            self._caller_limit.slot(caller),
        ):
            return await in_thread(self._pool, work, replace(call, body=body))
