"""Takes requests with bodies in: reads the body, then runs blocking work on the whole call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from starlette.types import Receive

from api_shim.body import BodyKind, BodyReader
from api_shim.per_caller_limit import PerCallerLimit, claimed_caller
from api_shim.requests import Call
from api_shim.thread_pools import INTAKE_THREADS, in_thread
from pipeline.config.settings import Settings

# Intake threads that one caller can occupy.
MAX_INTAKE_PER_CALLER = INTAKE_THREADS - 2

T = TypeVar("T")


class Intake:
    """Bounds the memory and the threads that requests occupy, in all and per caller."""

    def __init__(self, settings: Settings, pool: ThreadPoolExecutor) -> None:
        # A clip in Base64 takes a third more, and in a form up to three characters for some
        # of its signs.
        self._bodies = BodyReader(settings.max_body_bytes, settings.max_clip_bytes * 3 // 2)
        self._caller_limit = PerCallerLimit(MAX_INTAKE_PER_CALLER)
        self._pool = pool

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
