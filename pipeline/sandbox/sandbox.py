"""A worker's side of its sandbox: hand over bytes, get arrays back.

    sandbox = open_sandbox(settings, ["pipeline.stages.decode:decode_here"])
    made = sandbox.run("pipeline.stages.decode:decode_here", data, options, room=width * height * 3)

Beside the worker runs a *fork server*, started with a clean environment; it forks *decoders*,
each locked in (``confinement``) before it sees a byte. Input and arrays lie in the *arena*,
memory that worker and decoder share. A picture that crashes its decoder, or takes too
long or too much memory, costs that decoder: the worker gets a ``BadInput`` and goes on.
"""

from __future__ import annotations

import contextlib
import logging
import mmap
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from pipeline.config.settings import Settings
from pipeline.errors import BadInput, DecoderUnavailable, FaceError, PictureCorrupt
from pipeline.sandbox import messages
from pipeline.sandbox.decoder import WALL_CLOCK_FACTOR, DecoderRules
from pipeline.sandbox.messages import Decoded, DecodeFailure, DecodeResult, DecodeTask
from pipeline.sandbox.processes import DecoderProcesses, readable

LOG = logging.getLogger(__name__)

MB = 1024 * 1024

# Seconds on top of a task's, for what is not its own work.
SLACK_S = 5.0
# Bytes of the arena that stay in memory between tasks; a photo of 4 megapixels.
KEPT_BYTES = 16 * MB
# Decoders are replaced before what one picture may have left behind adds up.
TASKS, GROWTH_BYTES = 2_000, 256 * MB

# Characters of a decoder's message that are passed on.
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """The most that any task may ask for: bytes of input, bytes of arrays, bytes of
    memory while it works, seconds of processor time."""

    input_bytes: int
    output_bytes: int
    memory_bytes: int
    seconds: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Room for the largest picture, and as much input as a body or a clip may bring."""
        return cls(
            input_bytes=max(settings.max_body_bytes, settings.max_clip_bytes),
            output_bytes=max(3 * settings.max_pixels, settings.max_body_bytes),
            memory_bytes=settings.decode_memory_mb * MB,
            seconds=settings.decode_limit_s,
        )


class DecoderDied(Exception):
    """The decoder is gone; ``text`` says how, ``again`` whether it may not have been the
    task's fault."""

    def __init__(self, text: str, *, again: bool) -> None:
        self.description, self.retry = text, again
        super().__init__(text)


class Sandbox:
    """One decoder at a time, made at the first use; not for use across a fork."""

    def __init__(
        self, functions: Sequence[str], limits: SandboxLimits, *, tasks: int = TASKS,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """``functions`` are the functions that it may run, as ``module:function``: each takes
        ``(data, options)`` and returns ``Made``."""
        self.limits = limits
        self._lock = threading.Lock()
        self._served = 0
        self._lent = 0
        self._arena_file = os.memfd_create("faceline-arena", os.MFD_CLOEXEC)
        os.ftruncate(self._arena_file, _aligned(limits.input_bytes) + _aligned(limits.output_bytes))
        self._arena = mmap.mmap(self._arena_file, 0)
        rules = DecoderRules(tuple(functions), limits.memory_bytes, tasks, GROWTH_BYTES)
        self._processes = DecoderProcesses(rules, self._arena_file, environment or {})

    def start(self) -> None:
        """Start the decoder now, so that the first task need not wait for it.

        Raises ``DecoderUnavailable``.
        """
        with self._lock:
            self._processes.start()

    def run(
        self, function: str, data: bytes, options: Mapping[str, Any], *, output_bytes: int,
        seconds: float | None = None, failure: type[BadInput] = PictureCorrupt,
        borrow: bool = False,
    ) -> Decoded:
        """What the function ``work`` makes of ``input_bytes``: its arrays, copied, and what it
        told. ``output_bytes`` is the most bytes that its arrays take. Arrays that are borrowed
        are not copied: the next task overwrites them, and whoever took the decoder over
        may do so at any time.

        Raises the ``BadInput`` that the function raised; ``blame`` when the decoder
        died of the data or needed more memory, room or time than it may have;
        ``DecoderUnavailable`` when none can be started; ``FaceError`` for a fault in the
        function. What was told and the arrays' contents come from a process that hostile
        bytes may have taken over: check them.
        """
        if len(data) > self.limits.input_bytes or output_bytes > self.limits.output_bytes:
            raise failure("It is larger than what a decoder takes.")
        limit = min(seconds or self.limits.seconds, self.limits.seconds)
        task = DecodeTask(function, len(data), _aligned(len(data)), output_bytes, limit, options)
        with self._lock:
            self._shrink()
            try:
                reply = self._attempt_twice(task, data)
            except DecoderDied as death:
                raise failure(f"Decoding it failed: {death.description}.") from death
            return self._made(task, reply, failure, borrow=borrow)

    def close(self) -> None:
        """End the processes. It may be used again."""
        with self._lock:
            self._processes.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One task --------------------------------------------------------------------

    def _attempt_twice(self, task: DecodeTask, data: bytes) -> DecodeResult | DecodeFailure:
        try:
            return self._attempt(task, data)
        except DecoderDied as death:
            if not death.retry:
                raise
        return self._attempt(task, data)

    def _attempt(self, task: DecodeTask, data: bytes) -> DecodeResult | DecodeFailure:
        used = self._served > 0
        try:
            channel = self._processes.channel or self._start_decoder()
            self._arena[: len(data)] = data
            reply = self._converse(channel, task)
        except BaseException as error:
            # Also when a signal interrupts the wait: a late answer must not be taken for
            # that to the next task, nor a late write spoil it.
            self._processes.drop()
            if not isinstance(error, DecoderDied):
                raise
            raise self._autopsy(error, used=used) from error
        self._served += 1
        if reply.last:
            self._processes.drop()
        return reply

    def _converse(self, channel: socket.socket, task: DecodeTask) -> DecodeResult | DecodeFailure:
        try:
            channel.send(messages.encode(task))
            if not readable(channel, task.seconds * WALL_CLOCK_FACTOR + SLACK_S):
                raise DecoderDied("it took too long", again=False)
            packet = channel.recv(messages.MAX_MESSAGE_BYTES)
        except OSError as error:
            raise DecoderDied("its decoder was gone", again=True) from error
        if not packet:
            raise DecoderDied("its decoder died", again=True)
        try:
            reply: DecodeResult | DecodeFailure = messages.decode_reply(packet)
        except msgspec.MsgspecError as error:
            raise DecoderDied("its decoder gave no sense", again=False) from error
        return reply

    def _autopsy(self, death: DecoderDied, *, used: bool) -> DecoderDied:
        """How the decoder ended, once its successor is there. A task is tried again when
        the decoder had served others, or was killed from outside: it may have been
        their fault. One that ran out of time is not."""
        with contextlib.suppress(DecoderUnavailable):
            self._start_decoder()
        status = self._processes.last_status
        if death.retry and status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in (signal.SIGPROF, signal.SIGALRM):
                death = DecoderDied("it took too long", again=False)
            else:
                name = signal.Signals(number).name
                again = used or number == signal.SIGKILL
                death = DecoderDied(f"its decoder died of {name}", again=again)
        else:
            death = DecoderDied(death.description, again=death.retry and used)
        LOG.warning(
            "A decoder ended: %s", death.description,
            extra={"action": "decoder_died", "again": death.retry},
        )
        return death

    def _start_decoder(self) -> socket.socket:
        self._served = 0
        return self._processes.start()

    def _made(
        self,
        task: DecodeTask,
        reply: DecodeResult | DecodeFailure,
        blame: type[BadInput],
        *,
        borrow: bool,
    ) -> Decoded:
        if isinstance(reply, DecodeFailure):
            raise _error(reply, blame)
        view = memoryview(self._arena)
        try:
            arrays = [
                note.view(view, task.output_offset, task.output_bytes) for note in reply.arrays
            ]
        except (ValueError, OverflowError) as error:
            self._processes.drop()
            raise blame("Its decoder gave no sense.") from error
        self._lent = task.output_offset + sum(array.nbytes for array in arrays)
        if not borrow:
            arrays = [array.copy() for array in arrays]
            self._shrink()
        return Decoded(arrays, reply.metadata)

    def _shrink(self) -> None:
        """Give back the memory that only a large task needed."""
        if self._lent > KEPT_BYTES:
            self._arena.madvise(mmap.MADV_REMOVE, KEPT_BYTES, len(self._arena) - KEPT_BYTES)
        self._lent = 0


def open_sandbox(settings: Settings, functions: Sequence[str]) -> Sandbox | None:
    """The sandbox that the settings ask for, not started yet; None for none."""
    if not settings.decode_sandbox:
        return None
    if sys.platform != "linux":
        LOG.warning(
            "Media are decoded in the worker's own process: only Linux has what it takes",
            extra={"action": "sandbox_unavailable"},
        )
        return None
    return Sandbox(
        functions, SandboxLimits.from_settings(settings),
        environment={"OPENCV_IO_MAX_IMAGE_PIXELS": str(settings.max_pixels)},
    )


def _error(refusal: DecodeFailure, blame: type[BadInput]) -> FaceError:
    """The error that a decoder's refusal stands for."""
    if refusal.code == "memory":
        return blame("It needs more memory than its size explains.")
    if refusal.code == "room":
        return blame("It gives more than its header says.")
    known = _errors_by_code(BadInput).get(refusal.code)
    if known is not None:
        return known(refusal.message[:MAX_TEXT])
    LOG.error(
        "A decoder's function failed: %r", refusal.message[:MAX_TEXT],
        extra={"action": "decoder_fault"},
    )
    return FaceError()


def _errors_by_code(root: type[BadInput]) -> dict[str, type[BadInput]]:
    found = {root.code: root}
    for kind in root.__subclasses__():
        found |= _errors_by_code(kind)
    return found


def _aligned(size: int) -> int:
    """``size`` rounded up to whole pages, which is more than arrays need."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
