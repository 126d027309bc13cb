"""A server on loopback that takes what the service sends by POST."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

LOOPBACK = "127.0.0.1"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


@dataclass
class LoopbackReceiver:
    """Listens from ``start`` to ``close``, and again on the same port after another ``start``."""

    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def take(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        """Note a request, in a thread of its own."""
        raise NotImplementedError

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request that was taken."""
        raise NotImplementedError

    def start(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.take(self, self.rfile.read(int(self.headers["content-length"])))
                # A sender that is killed, or has lost its patience, is what some tests are about.
                with contextlib.suppress(OSError):
                    receiver.respond(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = _Server((LOOPBACK, self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


def send_status(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    """Answer without a body; in the names of ``headers`` an underscore stands for a hyphen."""
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", "0")
    request.end_headers()
