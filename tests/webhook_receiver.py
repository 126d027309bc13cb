"""A receiver of webhooks on loopback, which verifies what it gets as receivers do: with the
library `standardwebhooks`.

    def test_one(receiver: WebhookReceiver) -> None:
        receiver.secret = secret
        ...
        assert receiver.events()[0]["type"] == "job.done"
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
from standardwebhooks import Webhook

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in; header names are lower case."""

    id: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


Behave = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request that was read."""


def answer(status: int, **headers: str) -> Behave:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave


@dataclass
class WebhookReceiver:
    """Listens from ``start`` to ``close``, and again on the same port after another ``start``.
    ``behave`` answers; ``received`` are the requests, in the order in which they came."""

    behave: Behave = field(default_factory=lambda: answer(204))
    received: list[Received] = field(default_factory=list)
    port: int = 0
    _server: ThreadingHTTPServer | None = None

    def start(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers.get("webhook-id", ""), headers, body))
                # A sender that is killed, or has lost its patience, is what some tests are about.
                with contextlib.suppress(OSError):
                    receiver.behave(self)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self._server = Server((LOOPBACK, self.port), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}/hook?token=t"

    @property
    def settings(self) -> dict[str, object]:
        """Settings with which a service reaches it, and nothing else on this machine."""
        return {"fetch_allow_networks": LOOPBACK, "fetch_ports": str(self.port)}

    def events(self, secret: str) -> list[dict[str, Any]]:
        """What was received, each verified with ``secret``."""
        verifier = Webhook(secret)
        return [verifier.verify(each.body, each.headers) for each in self.received]

    def ids(self) -> list[str]:
        return [each.id for each in self.received]


@pytest.fixture
def receiver() -> Iterator[WebhookReceiver]:
    with contextlib.closing(WebhookReceiver().start()) as started:
        yield started
