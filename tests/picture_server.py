"""A web server on loopback that stands in for the internet, as well-behaved or as faulty
as a test needs.

    def test_one_picture(pictures: PictureServer) -> None:
        url = pictures.serve("/a.jpg", body(jpeg))
        stack = Stack(folder, **pictures.settings)      # may fetch from here
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest

Answer = Callable[[socket.socket], None]
"""Writes a response, or what is meant for one."""

QUIET_S = 5.0  # no client of these tests is silent for longer


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that came in. Header names are lower case."""

    line: str
    headers: dict[str, str]


@dataclass
class PictureServer:
    """Listens on ``host`` from ``start`` to ``close``; with ``tls``, for https."""

    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    asked: list[Asked] = field(default_factory=list)
    _answers: dict[str, Answer] = field(default_factory=dict)

    def start(self) -> Self:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        self._listener = socket.create_server((self.host, 0), family=family)
        self.port = int(self._listener.getsockname()[1])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="pictures", daemon=True)
        self._thread.start()
        return self

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> dict[str, object]:
        """Settings with which a service fetches from here, and from nowhere else on this
        machine."""
        return {
            "fetch_urls": True, "fetch_allow_networks": self.host, "fetch_ports": str(self.port),
        }

    def url(self, path: str = "/", host: str | None = None) -> str:
        scheme = "http" if self.tls is None else "https"
        shown = host or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{scheme}://{shown}:{self.port}{path}"

    def serve(self, path: str, answer: Answer) -> str:
        """Answer requests for ``path`` so; its URL."""
        self._answers[path] = answer
        return self.url(path)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        # Clients that leave in the middle are what many tests are about.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(QUIET_S)
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                asked = _read(connection)
                self.asked.append(asked)
                path = asked.line.split(" ")[1]
                self._answers.get(path, status(404))(connection)


def _read(connection: socket.socket) -> Asked:
    head = b""
    while b"\r\n\r\n" not in head:
        got = connection.recv(4096)
        if not got or got.startswith(b"\x16"):  # the first byte of a TLS handshake
            raise ConnectionError
        head += got
    line, *rest = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    pairs = (header.split(": ", 1) for header in rest)
    return Asked(line, {name.lower(): value for name, value in pairs})


# Answers --------------------------------------------------------------------------


def raw(*parts: bytes, pause_s: float = 0.0) -> Answer:
    """These bytes, with a pause before each part but the first."""
    def answer(connection: socket.socket) -> None:
        for number, part in enumerate(parts):
            if number and pause_s:
                threading.Event().wait(pause_s)
            connection.sendall(part)

    return answer


def body(data: bytes, *headers: str, length: int | None = None) -> Answer:
    """200 with ``data``; ``length`` is claimed in its stead."""
    claimed = len(data) if length is None else length
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {claimed}", *headers]
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + data)


def chunked(*chunks: bytes, end: bool = True, pause_s: float = 0.0) -> Answer:
    framed = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return raw(head, *framed, *([b"0\r\n\r\n"] if end else []), pause_s=pause_s)


def status(code: int) -> Answer:
    return raw(f"HTTP/1.1 {code} Because\r\nContent-Length: 0\r\n\r\n".encode())


def redirect(location: str, code: int = 302) -> Answer:
    head = f"HTTP/1.1 {code} Elsewhere\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    return raw(head.encode())


def drip(data: bytes, pause_s: float = 0.05) -> Answer:
    """A byte at a time."""
    return raw(*(data[at : at + 1] for at in range(len(data))), pause_s=pause_s)


@pytest.fixture
def pictures() -> Iterator[PictureServer]:
    with PictureServer() as server:
        yield server
