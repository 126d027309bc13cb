"""Runs the shim: one process, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import math
import signal
import socket
import time
from types import FrameType

import uvicorn

from api_shim.app import Shim
from api_shim.closing_listener import SETTLE_S, stop_new_connections
from api_shim.protocol import BoundedProtocol, ConnectionSlots, bounded_protocol
from pipeline.config.settings import Settings
from pipeline.deployment.metrics import process_gauges
from pipeline.deployment.processes import Role
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.sandbox.core_dumps import forbid_core_dumps

logger = logging.getLogger(__name__)

# Seconds that a stopping process gives to open requests once those that wait for a job are
# answered; the time is for uploads.
SHUTDOWN_GRACE_S = 10

# Seconds for which an idle connection is kept: longer than the 60 s of common proxies, so
# that the proxy closes it first.
KEEP_ALIVE_S = 75


# Files that a process has open at most beside its connections.
OTHER_OPEN_FILES = 256


# Seconds between two changes of the `Date` header.
TICK_S = 1.0


class DrainingServer(uvicorn.Server):
    """Stops so that no request breaks behind a proxy, and wakes for a signal instead of looking for
    one ten times a second.

    SIGTERM: ``/readyz`` fails and each response is its connection's last, while requests are
    served for ``drain_s`` more seconds; then no connection begins, and the held requests have
    ``stop_s`` seconds for their jobs to end. SIGINT, or a second signal: they are answered at
    once.
    """

    def __init__(
        self, config: uvicorn.Config, shim: Shim, slots: ConnectionSlots, settings: Settings
    ) -> None:
        super().__init__(config)
        self._shim = shim
        self._slots = slots
        self._drain_s = settings.drain_s
        self._stop_s = settings.stop_s
        self._drained_at: float | None = None
        self._hurried = False
        self._signalled = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            self._signalled.clear()
            pause_s = TICK_S
            if self._drained_at is not None:
                pause_s = min(TICK_S, self._drained_at - time.monotonic())
                if pause_s <= 0:
                    return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._signalled.wait(), pause_s)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = self._drained_at is None and not self.should_exit
        if sig == signal.SIGTERM and first:
            self._captured_signals.append(sig)
            self._drained_at = time.monotonic() + self._drain_s
        else:
            self._hurried = True
            super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._signalled.set()
        if self._hurried:
            self._shim.release()
        if not self._slots.draining:
            logger.info("The shim stops", extra={"action": "shim_stopping"})
            self._shim.stop_being_ready()
            self._slots.draining = True
            for connection in self._connections():
                connection.drain()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._begin_to_stop()
        for server in self.servers:
            for listener in server.sockets:
                stop_new_connections(listener.fileno())
        await asyncio.sleep(SETTLE_S)
        stop_s = 0.0 if self._hurried else self._stop_s
        releasing = asyncio.get_running_loop().call_later(stop_s, self._shim.release)
        self.config.timeout_graceful_shutdown = math.ceil(stop_s) + SHUTDOWN_GRACE_S
        try:
            await super().shutdown(sockets)
        finally:
            releasing.cancel()

    def _connections(self) -> list[BoundedProtocol]:
        open_ones = list(self.server_state.connections)
        return [each for each in open_ones if isinstance(each, BoundedProtocol)]


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigurationError``."""
    forbid_core_dumps()
    shim = Shim(settings)
    shim.require_time()
    slots = ConnectionSlots(_connection_limit(settings))
    config = uvicorn.Config(
        shim,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=bounded_protocol(slots),
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    with MetricsEndpoint(settings) as metrics:
        metrics.add(process_gauges(Role.SHIM), shim.gauges)
        DrainingServer(config, shim, slots, settings).run()


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
