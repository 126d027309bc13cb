"""HTTP/1.1 with limits that uvicorn's protocol lacks: on the size and the time of request
heads, on connections, on pipelined requests, and on clients that do not read."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httptools
import msgspec
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from api_shim.asgi import COMMON_HEADERS, new_request_id
from pipeline.errors import Overloaded

# Bytes of a request line with its headers, and of what stands between and after the
# chunks of a body. Common proxies allow 32 KB. Without a limit, an endless header stops the
# event loop: the parser copies the whole header with every chunk.
MAX_HEAD_BYTES = 64 * 1024

# Header lines of a request; browsers send about 20.
MAX_HEADERS = 100

# Seconds from the connection, or from the first byte of a request, to the end of its head.
HEAD_TIMEOUT_S = 20.0

# Seconds that a stopping process gives to a request whose head has not arrived yet.
REQUEST_ON_ITS_WAY_S = 1.0

# Requests that a connection may send before the earlier ones are answered. Each is held as
# objects of a hundred times its size in bytes.
MAX_PIPELINED = 16

# The rate at which a client must read responses, in bytes per second, and the seconds
# between two checks.
MIN_READ_RATE = 8 * 1024
READ_CHECK_S = 20.0

# The key in a scope's state that marks a request of a connection above the limit.
OVERFLOW = "faceline.surplus"

_VERSIONS = frozenset({"1.0", "1.1"})

# A host and a port (RFC 9112, 3.2), or nothing: neither blanks nor what begins a path.
_HOST = re.compile(rb"[^\x00-\x20\x7f-\xff\"/\\?#@,<>^`{|}]*")


@dataclass(slots=True)
class ConnectionSlots:
    """How many connections are kept. ``idle`` holds the connections without a request in
    progress, the longest idle first: they are closed in favour of new connections, so that
    a client with many silent connections cannot block others. While ``draining`` each response
    is its connection's last."""

    limit: int = 2000
    idle: dict[BoundedProtocol, None] = field(default_factory=dict)
    draining: bool = False

    @property
    def overflow(self) -> int:
        """Connections above the limit that still receive an answer (503)."""
        return self.limit // 8 + 8


class BadRequestHead(Exception):
    """A request that the HTTP parser accepts and this service rejects."""

    def __init__(self, message: str, status: int = 400) -> None:
        self.status = status
        super().__init__(message)


class BoundedProtocol(HttpToolsProtocol):
    """Rejects requests that exceed a limit, with a response wherever the request can have one."""

    slots: ClassVar[ConnectionSlots] = ConnectionSlots()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Bytes received since the request began that are not part of its body.
        self._non_body_bytes = 0
        self._head_bytes = 0  # bytes of this request's line and headers
        self._responses = 0
        self._in_body = False
        self._upgrading = False
        self._overflow = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._read_timer: asyncio.TimerHandle | None = None

    # -- connections ----------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_head_timer()
        slots, connections = self.slots, len(self.connections)
        if connections > slots.limit and slots.idle:
            longest_idle = next(iter(slots.idle))
            del slots.idle[longest_idle]
            longest_idle.transport.abort()
        elif connections > slots.limit + slots.overflow:
            transport.abort()
        elif connections > slots.limit:
            self._overflow = True
        slots.idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.slots.idle.pop(self, None)
        self._stop_head_timer()
        if self._read_timer is not None:
            self._read_timer.cancel()
        super().connection_lost(exc)

    def drain(self) -> None:
        """Let the response in progress, if any, be the connection's last, and say so in it: a
        proxy that reads that sends no further request. Idle connections stay."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """Close the connection after its response, or now if it has no request. One whose request
        is on its way has a moment."""
        if self._non_body_bytes or self.cycle is None:
            self.loop.call_later(REQUEST_ON_ITS_WAY_S, super().shutdown)
        else:
            super().shutdown()

    # -- requests -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self._non_body_bytes += len(data)
        rest = None
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            self._reject(error.__context__)
        if rest is not None:
            self._ignore_upgrade(rest)
        if self._non_body_bytes > MAX_HEAD_BYTES:
            self._reject(BadRequestHead("The request's head is too long.", 431))

    def on_message_begin(self) -> None:
        self._start_head_timer()
        self._in_body, self._head_bytes = False, 0
        if len(self.pipeline) >= MAX_PIPELINED:
            raise BadRequestHead("Too many pipelined requests.")
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:
            return  # a trailer: the headers were handed over already
        self._count_head(name + value)
        if len(self.headers) >= MAX_HEADERS:
            raise BadRequestHead("The request has too many headers.", 431)
        if name.lower() == b"transfer-encoding" and value.strip().lower() != b"chunked":
            raise BadRequestHead("The transfer encoding is unknown.", 501)
        # Blanks around a value are no part of it (RFC 9112, 5.1); the parser drops those before.
        super().on_header(name, value.strip(b" \t"))

    def _count_head(self, text: bytes) -> None:
        self._head_bytes += len(text)
        if self._head_bytes > MAX_HEAD_BYTES:
            raise BadRequestHead("The request's head is too long.", 431)

    def on_headers_complete(self) -> None:
        self._stop_head_timer()
        version = self.parser.get_http_version()
        if version not in _VERSIONS:
            raise BadRequestHead("This service speaks HTTP/1.1.", 505)
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise BadRequestHead("HTTP/1.0 has no transfer encodings.")
        self._check_host(version)
        if self.parser.get_method() == b"CONNECT":
            raise BadRequestHead("This service is no proxy.", 501)
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        self._in_body = True
        self.slots.idle.pop(self, None)
        if self._overflow:
            self.scope["state"][OVERFLOW] = True
        super().on_headers_complete()
        if self.slots.draining:
            self.cycle.keep_alive = False

    def _check_host(self, version: str) -> None:
        """RFC 9112, 3.2; HTTP/1.0 has requests without it."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts)):
            raise BadRequestHead("The request must have one valid Host header.")
        if version == "1.1" and not hosts:
            raise BadRequestHead("The request has no Host header.")

    def on_body(self, body: bytes) -> None:
        # Twice: chunk headers may take as many bytes as the chunks.
        self._non_body_bytes = max(self._non_body_bytes - 2 * len(body), 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._non_body_bytes = 0
        self._in_body = False
        if not self._upgrading:
            super().on_message_complete()

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read the request again without its ``Upgrade`` header, as RFC 9110 (7.8) allows.
        Java's HTTP client asks for HTTP/2 in this way with every POST; the parser would
        take the body for data of that protocol."""
        self._upgrading = False
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _reject(self, reason: BaseException | None) -> None:
        """Close the connection, with a response unless the client would take it for the
        response to an earlier request."""
        if self.transport.is_closing():
            return
        self.logger.info("A malformed request was rejected.")
        if self._may_answer():
            status = reason.status if isinstance(reason, BadRequestHead) else 400
            message = str(reason) if isinstance(reason, BadRequestHead) else "This is not HTTP/1.1."
            self.transport.write(_raw_response(status, message))
        self.transport.close()

    def _may_answer(self) -> bool:
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return True
        if not self._in_body or self.pipeline or cycle.response_started:
            return False
        cycle.disconnected = True
        cycle.message_event.set()
        return True

    # -- responses ------------------------------------------------------------------

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._responses += 1
        if not self.transport.is_closing() and self.cycle.response_complete:
            self.slots.idle[self] = None
        self._watch_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def _watch_reading(self) -> None:
        if self._read_timer is None:
            unread = self.transport.get_write_buffer_size()
            if unread:
                self._read_timer = self.loop.call_later(
                    READ_CHECK_S, self._check_reading, unread, self._responses
                )

    def _check_reading(self, unread_before: int, responses_before: int) -> None:
        """Abort the connection of a client that has read too little since the last check:
        unread responses occupy memory. A response that ended meanwhile proves that the
        client reads, whatever is unread now."""
        self._read_timer = None
        unread = self.transport.get_write_buffer_size()
        expected = min(unread_before, READ_CHECK_S * MIN_READ_RATE)
        stalled = responses_before == self._responses and unread_before - unread < expected
        if unread and stalled:
            self.transport.abort()
        else:
            self._watch_reading()

    # -- timeout of heads -----------------------------------------------------------

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.close)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def check_connection_slot(scope: Scope) -> None:
    """Raises ``Overloaded`` for a request of a connection above the limit."""
    if OVERFLOW in scope.get("state", {}):
        raise Overloaded


def bounded_protocol(slots: ConnectionSlots) -> type[BoundedProtocol]:
    """The protocol class of a server with these connection slots."""
    return type("BoundedProtocol", (BoundedProtocol,), {"slots": slots})


def _raw_response(status: int, message: str) -> bytes:
    """A whole response, as ``asgi.problem`` would give it."""
    body = msgspec.json.encode({"code": "bad_request", "message": message})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", new_request_id(time.time()).encode()),
        *COMMON_HEADERS,
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return STATUS_LINE[status] + lines + b"\r\n" + body
