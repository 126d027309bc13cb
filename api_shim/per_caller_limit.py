"""Limits how many intake threads one caller occupies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import parse_qsl
from weakref import WeakValueDictionary

from api_shim.requests import Call

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
