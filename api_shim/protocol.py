"""HTTP with bounds that uvicorn's protocol lacks: on request heads, and on the time
that they take."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes of a request line with its headers, and of what lies between and behind the
# pieces of a body. Common proxies allow 32 KB. Without a bound one client's endless
# header stops the event loop: the parser copies it again with every piece.
MAX_HEAD = 64 * 1024

# Seconds from the connection, or from a request's first byte, to the end of its headers.
HEAD_S = 20.0


class BoundedProtocol(HttpToolsProtocol):
    """Closes connections whose heads are too long or too slow."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Bytes that came since the request began and were no part of its body.
        self._head = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head += len(data)
        super().data_received(data)
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self.logger.warning("A request's head is too long.")
            self.transport.close()

    def on_message_begin(self) -> None:
        self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # Twice: a body in pieces may cost as much again around them.
        self._head = max(self._head - 2 * len(body), 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head = 0
        super().on_message_complete()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
