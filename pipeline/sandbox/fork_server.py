"""The program that forks decoders: ``python -m pipeline.sandbox.fork_server``.

A worker group starts it. It imports the decoding modules and never reads bytes from outside.
It forks itself for each decoder, which takes milliseconds; only the fork is confined and
reads pictures. Arguments: the process number of its parent, the descriptor of the inherited
*hub*, then ``decoder.DecoderRules`` as JSON.

A worker process introduces itself by a message on the hub with two descriptors: one end of a
control socket of its own, and the memory file of its arena. Each byte on its control socket
requests a new decoder, which replaces its previous one; the end of the socket ends its
decoder. Only a decoder maps an arena, and only that of its worker process.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import NoReturn

import msgspec

from pipeline.sandbox import confinement, messages
from pipeline.sandbox.decoder import DecodeFunction, DecoderRules, serve


@dataclass(slots=True)
class _Client:
    """A worker process: its control socket, its arena's memory file, its decoder, and the
    exit status of the decoder before."""

    control: socket.socket
    arena: int
    decoder: int | None = None
    status: int | None = None


class _ForkServer:
    def __init__(
        self, hub: socket.socket, functions: Mapping[str, DecodeFunction], rules: DecoderRules
    ) -> None:
        self._hub = hub
        self._functions = functions
        self._rules = rules
        self._clients: dict[int, _Client] = {}
        # The clients of running decoders, by the descriptor that tells of a decoder's end.
        self._watched: dict[int, _Client] = {}
        self._poll = select.poll()
        self._poll.register(hub, select.POLLIN)

    def run(self) -> None:
        """Forks decoders until nobody holds the other end of the hub."""
        while True:
            for number, _ in self._poll.poll():
                if number == self._hub.fileno():
                    if not self._welcome():
                        return
                elif number in self._watched:
                    self._reap(number)
                elif (client := self._clients.get(number)) is not None:
                    self._handle(client)

    def _welcome(self) -> bool:
        """Admits a worker process; False at the end of the hub."""
        packet, handed, _, _ = socket.recv_fds(self._hub, 1, 2)
        if not packet:
            return False
        control, arena = handed
        client = _Client(socket.socket(fileno=control), arena)
        self._clients[control] = client
        self._poll.register(control, select.POLLIN)
        return True

    def _handle(self, client: _Client) -> None:
        with contextlib.suppress(ConnectionError):
            if client.control.recv(1):
                self._replace(client)
                return
        self._dismiss(client)

    def _dismiss(self, client: _Client) -> None:
        self._end(client)
        number = client.control.fileno()
        self._poll.unregister(number)
        del self._clients[number]
        client.control.close()
        os.close(client.arena)

    def _replace(self, client: _Client) -> None:
        self._end(client)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        client.decoder = os.fork()
        if client.decoder == 0:
            _become_decoder(ours, client.arena, self._functions, self._rules, parent)
        ours.close()
        with contextlib.suppress(OSError):  # an old kernel: it is reaped when it is replaced
            number = os.pidfd_open(client.decoder)
            self._watched[number] = client
            self._poll.register(number, select.POLLIN)
        started = messages.encode(messages.DecoderStarted(client.status))
        with theirs, contextlib.suppress(ConnectionError):
            socket.send_fds(client.control, [started], [theirs.fileno()])

    def _end(self, client: _Client) -> None:
        """Kills the decoder of ``client`` if it still runs, and takes its exit status."""
        if client.decoder is None:
            return
        done, client.status = os.waitpid(client.decoder, os.WNOHANG)
        if not done:
            os.kill(client.decoder, signal.SIGKILL)
            client.status = os.waitpid(client.decoder, 0)[1]
        self._unwatch(client)

    def _reap(self, number: int) -> None:
        client = self._watched[number]
        assert client.decoder is not None
        client.status = os.waitpid(client.decoder, 0)[1]
        self._unwatch(client)

    def _unwatch(self, client: _Client) -> None:
        client.decoder = None
        for number in [each for each, watched in self._watched.items() if watched is client]:
            del self._watched[number]
            self._poll.unregister(number)
            os.close(number)


def main(hub_number: int, rules: DecoderRules) -> None:
    """Forks decoders until no worker is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    functions = {name: _import_function(name) for name in rules.functions}
    gc.freeze()  # forks share memory that they do not write to
    _ForkServer(socket.socket(fileno=hub_number), functions, rules).run()


def _import_function(name: str) -> DecodeFunction:
    """The function, after its module has prepared this process for it."""
    module_name, _, function = name.partition(":")
    module = import_module(module_name)
    getattr(module, "prepare_decoder", lambda: None)()
    found: DecodeFunction = getattr(module, function)
    return found


def _become_decoder(
    channel: socket.socket, arena_file: int, functions: Mapping[str, DecodeFunction],
    rules: DecoderRules, parent: int,
) -> NoReturn:
    """Runs the decoder. Never returns: a fork must not continue its parent's code."""
    status = 1
    try:
        confinement.die_with(parent)
        arena = mmap.mmap(arena_file, 0)
        number = channel.detach()
        _close_others(number)
        try:
            confinement.lock(rules.memory_bytes)
        except (OSError, ValueError, OverflowError) as error:
            os.write(number, str(error).encode())
            raise
        os.write(number, messages.LOCKED)
        serve(number, arena, functions, rules)
        status = 0
    finally:
        os._exit(status)


def _close_others(kept: int) -> None:
    """Closes everything but the channel. Messages of C libraries go to the null device; the
    arena is already mapped."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


if __name__ == "__main__":
    confinement.die_with(int(sys.argv[1]))
    main(int(sys.argv[2]), msgspec.json.decode(sys.argv[3], type=DecoderRules))
