"""The program that forks decoders: ``python -m pipeline.sandbox.fork_server``.

A worker starts it. It imports the decoding modules and never reads bytes from outside. It
forks itself for each decoder, which takes milliseconds; only the fork is confined and reads
pictures. Arguments: the worker's process number, the descriptors of the inherited control
socket and of the arena's memory file, then ``decoder.DecoderRules`` as JSON. Each byte on
the control socket requests a new decoder, which replaces the previous one.
"""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import signal
import socket
import sys
from importlib import import_module
from typing import NoReturn

import msgspec

from pipeline.sandbox import confinement, messages
from pipeline.sandbox.decoder import DecodeFunction, DecoderRules, serve


def main(control_number: int, arena_number: int, rules: DecoderRules) -> None:
    """Forks decoders until the worker is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=control_number)
    arena = mmap.mmap(arena_number, 0)
    os.close(arena_number)
    functions = {name: _import_function(name) for name in rules.functions}
    gc.freeze()  # forks share memory that they do not write to
    decoder: int | None = None
    while _is_asked(control):
        status = None if decoder is None else _reap(decoder)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        decoder = os.fork()
        if decoder == 0:
            _become_decoder(ours, arena, functions, rules, parent)
        ours.close()
        started = messages.encode(messages.DecoderStarted(status))
        socket.send_fds(control, [started], [theirs.fileno()])
        theirs.close()


def _is_asked(control: socket.socket) -> bool:
    """Waits for the next request; False when the worker has closed the socket."""
    with contextlib.suppress(ConnectionError):
        return bool(control.recv(1))
    return False


def _import_function(name: str) -> DecodeFunction:
    module, _, function = name.partition(":")
    found: DecodeFunction = getattr(import_module(module), function)
    return found


def _reap(decoder: int) -> int:
    """The exit status of the decoder, which is killed if it still runs."""
    done, status = os.waitpid(decoder, os.WNOHANG)
    if done:
        return status
    os.kill(decoder, signal.SIGKILL)
    return os.waitpid(decoder, 0)[1]


def _become_decoder(
    channel: socket.socket, arena: mmap.mmap, functions: dict[str, DecodeFunction],
    rules: DecoderRules, parent: int,
) -> NoReturn:
    """Runs the decoder. Never returns: a fork must not continue its parent's code."""
    status = 1
    try:
        confinement.die_with(parent)
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
    main(int(sys.argv[2]), int(sys.argv[3]), msgspec.json.decode(sys.argv[4], type=DecoderRules))
