"""Downloads one picture: a GET over a checked connection, with one deadline.

The request carries no cookies and no credentials, and ignores proxies of the environment.
h11 implements HTTP/1.1 without sockets, so that this module reads every byte and enforces
the limits on time and size.
"""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass

import h11

from pipeline.errors import DownloadRefused, DownloadTimedOut, MediaTooLarge
from pipeline.fetching.base import Deadline, FetchRefused, FetchTimedOut, FetchTooLarge, refused_as
from pipeline.fetching.connections import Connector, mapped_errors
from pipeline.fetching.urls import FetchTarget, follow_redirect, read_url

LOG = logging.getLogger(__name__)

MAX_REDIRECTS = 3
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

HEADERS = (
    ("User-Agent", "faceline"),
    ("Accept", "image/*"),
    # A compressed body can be small on the wire and huge in memory.
    ("Accept-Encoding", "identity"),
    ("Connection", "close"),
)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one download: bytes of the file, seconds in total, allowed ports."""

    max_bytes: int
    deadline_s: float
    ports: frozenset[int]


class WebFetcher:
    """Downloads from untrusted URLs; thread-safe."""

    def __init__(self, connector: Connector, limits: FetchLimits) -> None:
        self._connector = connector
        self._limits = limits

    def fetch(self, url: str) -> bytes:
        """The whole body at ``url``. Raises ``MediaTooLarge``, ``DownloadTimedOut``, and
        ``DownloadRefused`` for every other failure. The client does not learn the reason; the
        log has it and the host, but not the rest of the URL, which may hold secrets."""
        try:
            return self._follow(url, Deadline(self._limits.deadline_s))
        except FetchRefused as reason:
            _note(reason)
            raise DownloadRefused from None
        except FetchTimedOut as reason:
            _note(reason)
            raise DownloadTimedOut from None
        except FetchTooLarge:
            raise MediaTooLarge(
                f"The file is larger than {self._limits.max_bytes} bytes."
            ) from None

    def _follow(self, url: str, deadline: Deadline) -> bytes:
        target = read_url(url, self._limits.ports)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._ask(target, deadline)
            if isinstance(answer, bytes):
                return answer
            target = follow_redirect(target, answer, self._limits.ports)
        raise FetchRefused(f"more than {MAX_REDIRECTS} redirects")

    def _ask(self, target: FetchTarget, deadline: Deadline) -> bytes | str:
        """The body, or the location of a redirect."""
        try:
            with self._connector.open(target, deadline) as connection:
                return _HttpExchange(connection, deadline).get(target, self._limits.max_bytes)
        except FetchRefused as reason:
            raise FetchRefused(f"{target.host}: {reason}") from reason
        except FetchTimedOut as reason:
            raise FetchTimedOut(f"{target.host}: {reason}") from reason


def _note(reason: Exception) -> None:
    LOG.info(
        "A picture could not be downloaded: %s", reason,
        extra={"action": "fetch_failed", "kind": type(reason).__name__},
    )


class _HttpExchange:
    """One request and its response on one connection."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    def get(self, target: FetchTarget, max_bytes: int) -> bytes | str:
        with mapped_errors("the exchange"):
            try:
                self._send(target)
                head = self._head()
                if head.status_code in REDIRECTS:
                    return _location(head)
                _check_head(head, max_bytes)
                return self._body(max_bytes)
            except h11.ProtocolError as error:
                raise FetchRefused(f"no proper HTTP: {str(error)[:MAX_REASON_CHARS]}") from error

    def _send(self, target: FetchTarget) -> None:
        request = h11.Request(
            method="GET", target=target.path, headers=[("Host", target.authority), *HEADERS]
        )
        data = (self._http.send(request) or b"") + (self._http.send(h11.EndOfMessage()) or b"")
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
