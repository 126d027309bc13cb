"""A receiver of webhooks on loopback, which verifies what it gets as receivers do: with the
library `standardwebhooks`.

    def test_one(receiver: WebhookReceiver) -> None:
        receiver.secret = secret
        ...
        assert receiver.events()[0]["type"] == "job.done"
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.loopback_receiver import LOOPBACK, LoopbackReceiver, send_status


@dataclass(frozen=True, slots=True)
class Received:
    """A request as it came in; header names are lower case."""

    id: str
    headers: dict[str, str]
    body: bytes = field(repr=False)


Behave = Callable[[BaseHTTPRequestHandler], None]
"""Answers a request that was read."""


def answer(status: int, **headers: str) -> Behave:
    return lambda request: send_status(request, status, **headers)


@dataclass
class WebhookReceiver(LoopbackReceiver):
    """``behave`` answers; ``received`` are the requests, in the order in which they came."""

    behave: Behave = field(default_factory=lambda: answer(204))
    received: list[Received] = field(default_factory=list)

    def take(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(headers.get("webhook-id", ""), headers, body))

    def respond(self, request: BaseHTTPRequestHandler) -> None:
        self.behave(request)

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
