"""One HTTP/1.1 exchange on one connection, under a deadline.

h11 implements HTTP/1.1 without sockets, so that this module reads every byte and enforces
the limits on time and size.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import h11

from pipeline.fetching.base import Deadline, FetchRefused, FetchTooLarge, refused_as
from pipeline.fetching.connections import mapped_errors
from pipeline.fetching.urls import FetchTarget

REDIRECTS = frozenset({301, 302, 303, 307, 308})

# Bytes of a response's headers.
MAX_HEAD_BYTES = 32 * 1024

# Interim responses (1xx) before the final one.
MAX_INTERIM_RESPONSES = 8

# A body in more pieces than this must average so many bytes per piece: chunks of one byte
# would take seconds of a core.
SMALL_PIECES_ALLOWED = 1000
SMALL_PIECE = 64

READ_BYTES = 64 * 1024

# Characters of h11's error message, which quotes the server.
MAX_REASON_CHARS = 120

# Of every request.
_HEADERS = (("User-Agent", "faceline"), ("Connection", "close"))


class HttpExchange:
    """One request and its response on one connection. Raises ``FetchRefused``,
    ``FetchTimedOut``."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    def get(
        self, target: FetchTarget, headers: Mapping[str, str], max_bytes: int
    ) -> bytes | str:
        """The body at ``target``, or the location of a redirect. Raises ``FetchTooLarge``, too."""
        with _mapped():
            self._send("GET", target, headers)
            head = self._head()
            if head.status_code in REDIRECTS:
                return _location(head)
            _check_head(head, max_bytes)
            return self._body(max_bytes)

    def post(self, target: FetchTarget, headers: Mapping[str, str], body: bytes) -> h11.Response:
        """The status and headers that answer ``body``; what follows them is not read."""
        with _mapped():
            self._send("POST", target, {**headers, "Content-Length": str(len(body))}, body)
            return self._head()

    def _send(
        self, method: str, target: FetchTarget, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        lines = [("Host", target.authority), *_HEADERS, *headers.items()]
        request = h11.Request(method=method, target=target.path, headers=lines)
        events = (request, *([h11.Data(body)] if body else []), h11.EndOfMessage())
        data = b"".join(self._http.send(event) or b"" for event in events)
        self._connection.settimeout(self._deadline.left("asking"))
        self._connection.sendall(data)

    def _head(self) -> h11.Response:
        for _ in range(MAX_INTERIM_RESPONSES + 1):
            event = self._next()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                break
        raise FetchRefused("no response")

    def _body(self, max_bytes: int) -> bytes:
        body = bytearray()
        pieces = 0
        while isinstance(event := self._next(), h11.Data):
            body += event.data
            pieces += 1
            if len(body) > max_bytes:
                raise FetchTooLarge
            if pieces > SMALL_PIECES_ALLOWED and len(body) < pieces * SMALL_PIECE:
                raise FetchRefused("a body in tiny pieces")
        if not isinstance(event, h11.EndOfMessage):
            raise FetchRefused("a response that does not end")
        return bytes(body)

    def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            # Set for every read: a server that sends a byte per second gains no time.
            self._connection.settimeout(self._deadline.left("reading"))
            self._http.receive_data(self._connection.recv(READ_BYTES))
        self._deadline.left("reading")
        return event


@contextmanager
def _mapped() -> Iterator[None]:
    with mapped_errors("the exchange"):
        try:
            yield
        except h11.ProtocolError as error:
            raise FetchRefused(f"no proper HTTP: {str(error)[:MAX_REASON_CHARS]}") from error


def _check_head(head: h11.Response, max_bytes: int) -> None:
    if head.status_code != 200:
        raise FetchRefused(f"status {head.status_code}")
    if _values(head, b"content-encoding") not in ([], [b"identity"]):
        raise FetchRefused("a compressed body")
    # h11 ensures that there is at most one, and that it is a number.
    if any(int(length) > max_bytes for length in _values(head, b"content-length")):
        raise FetchTooLarge


def _values(head: h11.Response, name: bytes) -> list[bytes]:
    return [value.strip().lower() for key, value in head.headers if key == name]


def _location(head: h11.Response) -> str:
    found = [value for key, value in head.headers if key == b"location"]
    if len(found) != 1:
        raise FetchRefused(f"{len(found)} headers location")
    with refused_as("a redirect that is not UTF-8"):
        return found[0].decode()
