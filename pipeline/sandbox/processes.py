"""The processes of sandboxes: fork servers, and the decoder that one forks for a process."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pipeline.errors import DecoderUnavailable
from pipeline.sandbox import messages
from pipeline.sandbox.decoder import DecoderRules

# Seconds for a fork server to import its modules and fork, on a busy machine.
START_S = 60.0

# Environment variables that the fork server inherits; secrets are not among them.
_KEPT_NAMES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENCV_LOG_LEVEL")

# One thread: a process with several threads cannot be forked safely. Buffers of pictures
# recur in the same sizes and are kept instead of returned to the kernel.
_FIXED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}


class ForkServer:
    """A process that forks decoders for this process and for those that it forks. It ends
    with this process."""

    def __init__(self, rules: DecoderRules, environment: Mapping[str, str]) -> None:
        """Raises ``DecoderUnavailable`` when the process cannot be started."""
        self._hub, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = [sys.executable, "-m", "pipeline.sandbox.fork_server"]
        said = msgspec.json.encode(rules).decode()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # a program of ours
                [*program, str(os.getpid()), str(theirs.fileno()), said],
                env={**_clean_environment(), **environment}, cwd="/",
                pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._hub.close()
            raise DecoderUnavailable from error
        finally:
            theirs.close()

    def introduce(self, control: socket.socket, arena: int) -> None:
        """Hand over the control socket and the arena of the calling process. Raises
        ``OSError`` when the fork server is gone."""
        socket.send_fds(self._hub, [b"+"], [control.fileno(), arena])

    def end(self) -> None:
        """End it and its decoders. Only the process that started it calls this."""
        self._hub.close()
        self._process.kill()
        self._process.wait()


class DecoderProcesses:
    """The decoder of this process, forked by ``shared``, the fork server of a worker group, or
    by one of its own without that or when that is gone.

    ``channel`` is the current decoder's, None without one. ``last_status`` is the exit
    status of the previous decoder (``os.waitpid``)."""

    def __init__(
        self, rules: DecoderRules, arena: int, environment: Mapping[str, str],
        shared: ForkServer | None = None,
    ) -> None:
        self.channel: socket.socket | None = None
        self.last_status: int | None = None
        self._rules = rules
        self._arena = arena
        self._environment = environment
        self._shared = shared
        self._own: ForkServer | None = None
        self._control: socket.socket | None = None

    def start(self) -> socket.socket:
        """Start a new decoder and return its channel; kills the previous one.

        Raises ``DecoderUnavailable``.
        """
        self.drop()
        for _ in range(2):  # the fork server may have died meanwhile
            try:
                self.channel = self._ask(self._control or self._connect())
            except (OSError, ValueError, msgspec.MsgspecError):
                self.end()
                self._shared = None
            except BaseException:
                # Also after a signal: a late reply must not be taken for the next one.
                self.end()
                raise
            else:
                return self.channel
        raise DecoderUnavailable

    def drop(self) -> None:
        """Close the channel: an idle decoder ends now, a busy one when the next starts."""
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def end(self) -> None:
        """End the decoder, and the fork server if it is this process's own."""
        self.drop()
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._own is not None:
            self._own.end()
            self._own = None

    def _ask(self, control: socket.socket) -> socket.socket:
        control.send(b"+")
        if not readable(control, START_S):
            raise OSError("the fork server does not answer")
        packet, handed, _, _ = socket.recv_fds(control, messages.MAX_MESSAGE_BYTES, 1)
        started = messages.decode_started(packet)
        self.last_status = started.status
        [number] = handed
        channel = socket.socket(fileno=number)
        said = channel.recv(messages.MAX_MESSAGE_BYTES) if readable(channel, START_S) else b""
        if said != messages.LOCKED:
            channel.close()
            raise DecoderUnavailable(f"A decoder cannot be locked in: {said[:200]!r}.")
        return channel

    def _connect(self) -> socket.socket:
        """A control socket that a fork server holds the other end of."""
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            server = self._shared
            if server is None:
                server = self._own = ForkServer(self._rules, self._environment)
            server.introduce(theirs, self._arena)
        return self._control


def _clean_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_NAMES if name in os.environ}
    path = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
    return {**kept, **_FIXED, "PYTHONPATH": path}


def readable(channel: socket.socket, within_s: float) -> bool:
    """Whether a message or the end of the channel arrives in time."""
    waiting = select.poll()
    waiting.register(channel, select.POLLIN)
    return bool(waiting.poll(within_s * 1000))
