"""Bounded thread pools for blocking work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

# Threads that read and store requests. Each holds one body, its text and its pictures.
INTAKE_THREADS = 8

# Threads that answer polls. They are separate so that a media store that hangs does not block
# polls. Together with the intake threads they are as many as the database has connections.
READ_THREADS = 8

# Threads that send notifications, the only ones that a hanging broker blocks.
NOTIFICATION_THREADS = 2

P = ParamSpec("P")
T = TypeVar("T")


class ThreadPools:
    """The pools of one process."""

    def __init__(self) -> None:
        self.intake = ThreadPoolExecutor(INTAKE_THREADS, "intake")
        self.reads = ThreadPoolExecutor(READ_THREADS, "reads")
        self.notifications = ThreadPoolExecutor(NOTIFICATION_THREADS, "notifications")

    def close(self) -> None:
        for pool in (self.intake, self.reads, self.notifications):
            pool.shutdown(wait=False, cancel_futures=True)


async def in_thread(
    pool: ThreadPoolExecutor, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Run ``work`` in ``pool`` without blocking the event loop; it belongs to the trace of this
    task."""
    loop, context = asyncio.get_running_loop(), copy_context()
    return await loop.run_in_executor(pool, lambda: context.run(work, *args, **kwargs))
