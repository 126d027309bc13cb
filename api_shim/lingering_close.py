"""Responses to requests whose bodies were not read to the end (nginx: lingering close)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Many clients read the response only after they have sent the whole body; a client that is
# cut off earlier never sees it. So the rest of the body is read and discarded: at most so
# many bytes, for so many seconds in all and between two chunks.
MAX_DRAINED_BYTES = 64 * 1024 * 1024
DRAIN_TIMEOUT_S = 30.0
CHUNK_TIMEOUT_S = 5.0


class LingeringClose:
    """Adds ``Connection: close`` to a response that begins before the request's body has
    ended, and discards the rest of the body before the connection closes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _has_body(dict(scope["headers"])):
            exchange = _LingeringExchange(scope, receive, send)
            await self._app(scope, exchange.receive, exchange.send)
        else:
            await self._app(scope, receive, send)


class _LingeringExchange:
    """One request with a body, and its response."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A client that waits for "100 Continue" has sent nothing that must be discarded.
        self._awaits_continue = (
            dict(scope["headers"]).get(b"expect", b"").lower() == b"100-continue"
        )
        self._receive = receive
        self._send = send
        self._body_ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._body_ended = True
        self._awaits_continue = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and not self._body_ended:
            headers = [h for h in message.get("headers", ()) if h[0].lower() != b"connection"]
            message = {**message, "headers": [*headers, (b"connection", b"close")]}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._body_ended and not self._awaits_continue:
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body"}
        await self._send(message)

    async def _drain(self) -> None:
        drained = 0
        try:
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not self._body_ended and drained < MAX_DRAINED_BYTES:
                    async with asyncio.timeout(CHUNK_TIMEOUT_S):
                        drained += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return headers.get(b"content-length", b"0").strip() != b"0" or b"transfer-encoding" in headers
