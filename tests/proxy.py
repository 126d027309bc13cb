"""A TCP proxy that disturbs connections like a network."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from enum import StrEnum

TRICKLE_S = 0.2  # between two single bytes
POLL_S = 0.1


class Fault(StrEnum):
    """The fault of the connection once ``after`` of the server's bytes have passed."""

    NONE = "none"
    CUT = "cut"  # the connection is closed
    STALL = "stall"  # nothing more comes, the connection stays
    TRICKLE = "trickle"  # single bytes, slowly
    SWALLOW = "swallow"  # not even the client's bytes pass
    CHANGE = "change"  # bodies of answers, whatever their number, have a wrong last byte


class Proxy:
    """Listens on ``port`` and passes everything on to ``target``.

    ``fault`` and ``after`` (bytes of one connection's answer) may be changed at any
    time; ``answer`` is sent instead of asking the server at all.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.fault = Fault.NONE
        self.after = 0
        self.answer = b""
        self.connections = 0
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_S)
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client,))
            thread.start()
            self._threads.append(thread)

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.answer:
                client.recv(65536)
                client.sendall(self.answer)
                return
            with socket.create_connection(("127.0.0.1", self.target)) as server:
                upward = threading.Thread(target=self._upward, args=(client, server))
                upward.start()
                try:
                    self._downward(server, client)
                finally:
                    for end in (client, server):
                        with contextlib.suppress(OSError):
                            end.shutdown(socket.SHUT_RDWR)
                    upward.join()

    def _upward(self, client: socket.socket, server: socket.socket) -> None:
        for block in self._blocks(client):
            if self.fault is not Fault.SWALLOW:
                server.sendall(block)

    def _downward(self, server: socket.socket, client: socket.socket) -> None:
        passed = 0
        for block in self._blocks(server):
            room = max(self.after - passed, 0)
            if self.fault is Fault.CHANGE and passed + len(block) > self.after:
                client.sendall(_changed(block))
                passed += len(block)
                continue
            if self.fault is Fault.NONE or len(block) <= room:
                client.sendall(block)
                passed += len(block)
                continue
            client.sendall(block[:room])
            self._misbehave(client, block[room:])
            return

    def _misbehave(self, client: socket.socket, rest: bytes) -> None:
        if self.fault is Fault.CUT:
            return
        if self.fault is Fault.TRICKLE:
            for byte in rest:
                if self._ended.wait(TRICKLE_S):
                    return
                client.sendall(bytes([byte]))
        self._ended.wait()

    def _blocks(self, source: socket.socket) -> Iterator[bytes]:
        source.settimeout(POLL_S)
        while not self._ended.is_set():
            try:
                block = source.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                return
            if not block:
                return
            yield block


def _changed(block: bytes) -> bytes:
    """A block of an HTTP answer with another last byte, unless it ends with a head."""
    head_ends = block.endswith(b"\r\n\r\n")
    return block if head_ends else block[:-1] + bytes([block[-1] ^ 1])
