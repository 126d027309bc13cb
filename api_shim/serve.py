"""Runs the shim: one process, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import socket
from types import FrameType

import uvicorn

from api_shim.app import Shim
from api_shim.protocol import ConnectionSlots, bounded_protocol
from pipeline.config.settings import Settings
from pipeline.deployment.metrics import process_gauges
from pipeline.deployment.processes import Role
from pipeline.metrics.endpoint import MetricsEndpoint

logger = logging.getLogger(__name__)

# Seconds that a stopping process gives to open requests. Requests that wait for a job are
# answered at once; the time is for uploads.
SHUTDOWN_GRACE_S = 10

# Seconds for which an idle connection is kept: longer than the 60 s of common proxies, so
# that the proxy closes it first.
KEEP_ALIVE_S = 75


# Files that a process has open at most beside its connections.
OTHER_OPEN_FILES = 256


# Seconds between two changes of the `Date` header.
TICK_S = 1.0


class ReleasingServer(uvicorn.Server):
    """Answers the held requests before it waits for open ones to end, and wakes for a signal
    instead of looking for one ten times a second."""

    def __init__(self, config: uvicorn.Config, shim: Shim) -> None:
        super().__init__(config)
        self._shim = shim
        self._signalled = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), TICK_S)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._signalled.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shim.release()
        await super().shutdown(sockets)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigurationError``."""
    shim = Shim(settings)
    config = uvicorn.Config(
        shim,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=bounded_protocol(ConnectionSlots(_connection_limit(settings))),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    with MetricsEndpoint(settings) as metrics:
        metrics.add(process_gauges(Role.SHIM), shim.gauges)
        ReleasingServer(config, shim).run()


def _connection_limit(settings: Settings) -> int:
    """How many connections are kept: ``max_connections``, or fewer if the system allows the
    process too few open files."""
    try:
        import resource  # does not exist on Windows
    except ImportError:
        return settings.max_connections
    wanted = (
        settings.max_connections
        + ConnectionSlots(settings.max_connections).overflow
        + OTHER_OPEN_FILES
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft >= wanted:
        return settings.max_connections
    fewer = max((soft - OTHER_OPEN_FILES) * 8 // 9 - 8, 8)
    logger.warning("The open-file limit is low: %d connections are kept", fewer)
    return fewer
