"""Responses before the body has ended: announced, and the body drained, within limits."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from api_shim import lingering_close
from api_shim.lingering_close import LingeringClose

Header = tuple[bytes, bytes]

SIZED: list[Header] = [(b"content-length", b"1000")]


async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse("no")(scope, receive, send)


async def thorough(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("yes")(scope, receive, send)


class Client:
    """Sends ``pieces`` of ten bytes and then, unless it ``stalls``, the end."""

    def __init__(self, pieces: int, *, stalls: bool = False) -> None:
        self.taken = 0
        self.received: list[Message] = []
        self._pieces = pieces
        self._stalls = stalls

    async def receive(self) -> MutableMapping[str, Any]:
        if self.taken == self._pieces and self._stalls:
            await asyncio.sleep(3600)
        self.taken += 1
        return {
            "type": "http.request", "body": b"x" * 10, "more_body": self.taken < self._pieces
        }

    async def send(self, message: Message) -> None:
        self.received.append(message)

    def talk(self, app: Any, headers: list[Header]) -> dict[bytes, bytes]:
        """The headers of the response."""
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        asyncio.run(LingeringClose(app)(scope, self.receive, self.send))
        assert b"".join(message.get("body", b"") for message in self.received) in (b"no", b"yes")
        assert not self.received[-1].get("more_body", False)
        return dict(self.received[0]["headers"])


def test_the_rest_is_taken_after_the_answer() -> None:
    client = Client(50)
    assert client.talk(hasty, SIZED)[b"connection"] == b"close"
    assert client.taken == 50
    assert client.received[1] == {"type": "http.response.body", "body": b"no", "more_body": True}


def test_a_body_that_was_read_changes_nothing() -> None:
    client = Client(5)
    assert b"connection" not in client.talk(thorough, [(b"transfer-encoding", b"chunked")])
    assert len(client.received) == 2


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"0")]])
def test_without_a_body_nothing_is_taken(headers: list[Header]) -> None:
    client = Client(5)
    assert b"connection" not in client.talk(hasty, headers)
    assert client.taken == 0


def test_who_asked_before_sending_is_not_waited_for() -> None:
    client = Client(5, stalls=True)
    client.talk(hasty, [*SIZED, (b"expect", b"100-continue")])
    assert client.taken == 0


def test_no_more_is_taken_than_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lingering_close, "MAX_DRAINED_BYTES", 100)
    client = Client(50)
    client.talk(hasty, SIZED)
    assert client.taken == 10


@pytest.mark.parametrize("bound", ["DRAIN_TIMEOUT_S", "CHUNK_TIMEOUT_S"])
def test_nobody_is_waited_for_long(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(lingering_close, bound, 0.02)
    client = Client(3, stalls=True)
    client.talk(hasty, SIZED)
    assert client.taken == 3
