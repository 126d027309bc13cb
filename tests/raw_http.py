"""HTTP written by hand, for requests that no client library sends."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.face2_client import Json

ANSWER_S = 30.0


@dataclass(frozen=True)
class Answer:
    """A whole response; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        assert self.headers["content-type"] == "application/json"
        found: Json = json.loads(self.body)
        return found


class Connection:
    """One connection to a service."""

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self._socket = socket.create_connection((place.hostname, place.port or 80), ANSWER_S)
        self._read = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send all of it, or as much as the other side takes before it closes."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def request(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Answer:
        """Send a request as these words make it, and read the answer."""
        lines = [f"{method} {target} HTTP/1.1", "Host: shim"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.answer()

    def answer(self) -> Answer:
        """The next response that is final."""
        while True:
            line = self._read.readline()
            assert line.startswith(b"HTTP/1.1 "), f"no answer: {line!r}"
            status, headers = int(line.split()[1]), {}
            while (line := self._read.readline().rstrip()) != b"":
                name, _, value = line.decode("latin-1").partition(": ")
                assert name.lower() not in headers, f"{name} stands twice"
                headers[name.lower()] = value
            if status != 100:
                return Answer(status, headers, self._read.read(int(headers["content-length"])))

    def has_answer(self) -> bool:
        """Whether data can be read; returns at once."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def ended(self) -> bool:
        """Whether the server has closed the connection without more data."""
        try:
            return self._read.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        self._read.close()
        self._socket.close()


@contextlib.contextmanager
def connect(url: str) -> Iterator[Connection]:
    connection = Connection(url)
    try:
        yield connection
    finally:
        connection.close()


def ask(
    url: str, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request on a connection of its own."""
    with connect(url) as connection:
        return connection.request(method, target, headers, body)
