"""Running the web side: one process, one event loop."""

from __future__ import annotations

import importlib.util
import socket

import uvicorn

from api_shim.app import Shim, make_app
from api_shim.protocol import BoundedProtocol
from pipeline.config import Settings

# Seconds that a stopping process gives to requests in hand. Whoever waits for a job is
# answered at once; this is for the uploads.
GRACE_S = 10

# Seconds for which an idle connection is kept: longer than the 60 of common proxies, so
# that it is they who close it.
KEEP_ALIVE_S = 75


class ReleasingServer(uvicorn.Server):
    """Ends the held responses before it waits for them."""

    def __init__(self, config: uvicorn.Config, shim: Shim) -> None:
        super().__init__(config)
        self._shim = shim

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._shim.release()
        await super().shutdown(sockets)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises ``ConfigurationError``."""
    shim = make_app(settings)
    config = uvicorn.Config(
        shim,
        host=settings.host,
        port=settings.port,
        loop="uvloop" if importlib.util.find_spec("uvloop") else "asyncio",
        http=BoundedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    ReleasingServer(config, shim).run()
