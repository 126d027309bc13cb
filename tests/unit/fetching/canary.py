"""A listener that must never be connected to, and a client that checks nothing."""

from __future__ import annotations

import errno
import selectors
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Self
from urllib.parse import unquote, urljoin, urlsplit

LookUp = Callable[[str], list[str]]

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"
PORTS = 2
CONNECT_S = 0.3  # on loopback the kernel answers at once, whatever else runs
READ_S = 10.0


class Canary:
    """Listens on every IPv4 and IPv6 address of this machine, on several ports."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.ports: list[int] = []
        while len(self.ports) < PORTS:
            self._listen()

    def _listen(self) -> None:
        listener = socket.create_server(("", 0))
        port = int(listener.getsockname()[1])
        try:
            self.join("::", port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:  # another port, then
                listener.close()
                return
        self.ports.append(port)
        self._watch(listener)

    def join(self, host: str, port: int) -> None:
        """Listen there, too."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._watch(socket.create_server((host, port), family=family))

    def _watch(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ)

    def visits(self, wait_s: float = 0.0) -> int:
        """Connections that have come since it was asked the last time; each is answered.
        The kernel holds one from its first packet on: none can be under way unseen."""
        count = 0
        while ready := self._selector.select(0.0 if count else wait_s):
            for key, _ in ready:
                listener = key.fileobj
                assert isinstance(listener, socket.socket)
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    connection.settimeout(READ_S)
                    connection.recv(4096)
                    connection.sendall(REPLY)
                count += 1
        return count

    def reached_by(self, work: Callable[[], object]) -> bool:
        """Whether ``work`` has connected here; it is answered while it runs."""
        count = 0
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(work)
            while not done.done():
                count += self.visits(0.01)
        return count + self.visits() > 0

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def careless_fetch(url: str, look_up: LookUp, redirects: int = 4) -> None:
    """A fetch without any care: it follows redirects, believes credentials, decodes, and
    looks names up once to check and once to connect."""
    with suppress(OSError, ValueError, IndexError):
        parts = urlsplit(url.strip().replace("\\", "/"))
        host = unquote(parts.hostname or "")
        look_up(host)
        address = look_up(host)[-1]
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((address, port), CONNECT_S) as connection:
            connection.settimeout(READ_S)
            request = f"GET {parts.path or '/'} HTTP/1.0\r\nHost: {host}\r\n\r\n"
            connection.sendall(request.encode())
            answer = connection.recv(4096).decode("latin-1")
        _, found, rest = answer.partition("Location: ")
        if found and redirects:
            careless_fetch(urljoin(url, rest.split("\r\n")[0]), look_up, redirects - 1)

