"""A worker's side of its sandbox: hand over bytes, get arrays back.

    sandbox = open_sandbox(settings, ["pipeline.stages.decode:decode_here"])
    decoded = sandbox.run(
        "pipeline.stages.decode:decode_here", data, options, output_bytes=3 * width * height
    )

A *fork server* with a clean environment forks *decoders*, which are confined
(``confinement``) before they read a byte. The processes of a worker group share one
(``open_fork_server``); a decoder serves one of them. Input and arrays are in the *arena*,
memory shared by a process and its decoder. A picture that crashes its decoder, or takes too
long or too much memory, costs that decoder; the worker gets a ``BadInput`` and continues.
A decoder without work ends, and the next task has another one within milliseconds.
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
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from pipeline.config.settings import Settings
from pipeline.errors import BadInput, DecoderUnavailable, FaceError, PictureCorrupt
from pipeline.periodic import Ticker
from pipeline.sandbox import messages
from pipeline.sandbox.decoder import WALL_CLOCK_FACTOR, DecoderRules
from pipeline.sandbox.messages import Decoded, DecodeFailure, DecodeTask, Reply
from pipeline.sandbox.processes import DecoderProcesses, ForkServer, readable

LOG = logging.getLogger(__name__)

MB = 1024 * 1024

# Seconds in addition to a task's limit, for starting and transfers.
SLACK_S = 5.0
# Bytes of the arena that stay in memory between tasks: a photo of 4 megapixels.
KEPT_BYTES = 16 * MB
# A decoder is replaced after so many tasks or so much growth, before leaks add up.
TASKS, GROWTH_BYTES = 2_000, 256 * MB
# Seconds without a task after which a decoder ends, and seconds between two looks.
IDLE_S, CHECK_EVERY_S = 30.0, 10.0

# Characters of a decoder's error message that are kept.
MAX_TEXT = 300


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """The limits of any task: bytes of input, bytes of arrays, bytes of memory, and seconds
    of processor time."""

    input_bytes: int
    output_bytes: int
    memory_bytes: int
    seconds: float

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Limits for the largest picture, and for the input of a request or a clip."""
        return cls(
            input_bytes=max(settings.max_body_bytes, settings.max_clip_bytes),
            output_bytes=max(3 * settings.max_pixels, settings.max_body_bytes),
            memory_bytes=settings.decode_memory_mb * MB,
            seconds=settings.decode_limit_s,
        )


class DecoderDied(Exception):
    """The decoder died. ``description`` says how; ``retry`` whether the task may not be the
    cause."""

    def __init__(self, description: str, *, retry: bool) -> None:
        self.description, self.retry = description, retry
        super().__init__(description)


class Sandbox:
    """Runs one decoder at a time, started at the first use. Not usable across a fork."""

    def __init__(
        self, functions: Sequence[str], limits: SandboxLimits, *, tasks: int = TASKS,
        environment: Mapping[str, str] | None = None, shared: ForkServer | None = None,
    ) -> None:
        """``functions`` are those that it may run, as ``module:function``: each takes
        ``(data, options)`` and returns ``Decoded``. ``shared`` is a fork server for the same
        functions and limits."""
        self.limits = limits
        self._lock = threading.Lock()
        self._served = 0
        self._used_at = 0.0
        self._ticker: Ticker | None = None
        self._lent_bytes = 0
        self._arena_file = os.memfd_create("faceline-arena", os.MFD_CLOEXEC)
        os.ftruncate(self._arena_file, _aligned(limits.input_bytes) + _aligned(limits.output_bytes))
        self._arena = mmap.mmap(self._arena_file, 0)
        rules = _rules(functions, limits, tasks)
        self._processes = DecoderProcesses(rules, self._arena_file, environment or {}, shared)

    def start(self) -> None:
        """Start the decoder now, ahead of the first task. Raises ``DecoderUnavailable``."""
        with self._lock:
            self._start_decoder()

    def run(
        self, function: str, data: bytes, options: Mapping[str, Any], *, output_bytes: int,
        seconds: float | None = None, failure: type[BadInput] = PictureCorrupt,
        borrow: bool = False,
    ) -> Decoded:
        """Run ``function`` on ``data`` and return its arrays, copied, and its metadata. The
        arrays take at most ``output_bytes``. Borrowed arrays are not copied: the next task
        overwrites them, and a hostile decoder can change them at any time.

        Raises the ``BadInput`` of the function; ``failure`` when the decoder dies of the
        data or needs more memory, space or time than allowed; ``DecoderUnavailable`` when
        none can be started; ``FaceError`` for any other error of the function. The caller
        must check metadata and arrays, because hostile bytes may have taken over the
        decoder.
        """
        if len(data) > self.limits.input_bytes or output_bytes > self.limits.output_bytes:
            raise failure("The file is larger than a decoder accepts.")
        limit = min(seconds or self.limits.seconds, self.limits.seconds)
        task = DecodeTask(function, len(data), _aligned(len(data)), output_bytes, limit, options)
        with self._lock:
            self._shrink()
            try:
                reply = self._attempt_twice(task, data)
            except DecoderDied as death:
                raise failure(f"Decoding failed: {death.description}.") from death
            finally:
                self._used_at = time.monotonic()
            return self._read_result(task, reply, failure, borrow=borrow)

    def close(self) -> None:
        """End the processes. The sandbox can be used again."""
        with self._lock:
            self._processes.end()
            if self._ticker is not None:
                self._ticker.stop()
                self._ticker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # One task --------------------------------------------------------------------

    def _attempt_twice(self, task: DecodeTask, data: bytes) -> Reply:
        try:
            return self._attempt(task, data)
        except DecoderDied as death:
            if not death.retry:
                raise
        return self._attempt(task, data)

    def _attempt(self, task: DecodeTask, data: bytes) -> Reply:
        used = self._served > 0
        try:
            channel = self._processes.channel or self._start_decoder()
            self._arena[: len(data)] = data
            reply = self._exchange(channel, task)
        except BaseException as error:
            # Also when a signal interrupts the wait: a late reply must not be taken for the
            # next task's, and a late write must not corrupt its data.
            self._processes.drop()
            if not isinstance(error, DecoderDied):
                raise
            raise self._explain_death(error, used=used) from error
        self._served += 1
        if reply.last:
            self._processes.drop()
        return reply

    def _exchange(self, channel: socket.socket, task: DecodeTask) -> Reply:
        try:
            channel.send(messages.encode(task))
            if not readable(channel, task.seconds * WALL_CLOCK_FACTOR + SLACK_S):
                raise DecoderDied("it took too long", retry=False)
            packet = channel.recv(messages.MAX_MESSAGE_BYTES)
        except OSError as error:
            raise DecoderDied("its decoder was gone", retry=True) from error
        if not packet:
            raise DecoderDied("its decoder died", retry=True)
        try:
            reply: Reply = messages.decode_reply(packet)
        except msgspec.MsgspecError as error:
            raise DecoderDied("its decoder sent an invalid reply", retry=False) from error
        return reply

    def _explain_death(self, death: DecoderDied, *, used: bool) -> DecoderDied:
        """Explain the death after starting a successor. A task is retried when the decoder
        had served other tasks or was killed from outside, because the task may not be the
        cause. A task that ran out of time is not retried."""
        with contextlib.suppress(DecoderUnavailable):
            self._start_decoder()
        status, by_signal = self._processes.last_status, None
        if death.retry and status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in (signal.SIGPROF, signal.SIGALRM):
                death = DecoderDied("it took too long", retry=False)
            else:
                by_signal = signal.Signals(number).name
                retry = used or number == signal.SIGKILL
                death = DecoderDied("its decoder died", retry=retry)
        else:
            death = DecoderDied(death.description, retry=death.retry and used)
        LOG.warning(
            "A decoder ended: %s", death.description,
            extra={"action": "decoder_died", "again": death.retry, "signal": by_signal},
        )
        return death

    def _start_decoder(self) -> socket.socket:
        self._served = 0
        self._used_at = time.monotonic()
        if self._ticker is None:
            self._ticker = Ticker("idle_decoder", CHECK_EVERY_S, self._end_if_idle)
            self._ticker.start()
        return self._processes.start()

    def _end_if_idle(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._used_at > IDLE_S:
                self._processes.drop()
        finally:
            self._lock.release()

    def _read_result(
        self, task: DecodeTask, reply: Reply, failure: type[BadInput], *, borrow: bool
    ) -> Decoded:
        if isinstance(reply, DecodeFailure):
            raise _error(reply, failure)
        view = memoryview(self._arena)
        try:
            arrays = [
                note.view(view, task.output_offset, task.output_bytes) for note in reply.arrays
            ]
        except (ValueError, OverflowError) as error:
            self._processes.drop()
            raise failure("Its decoder sent an invalid reply.") from error
        self._lent_bytes = task.output_offset + sum(array.nbytes for array in arrays)
        if not borrow:
            arrays = [array.copy() for array in arrays]
            self._shrink()
        return Decoded(arrays, reply.metadata)

    def _shrink(self) -> None:
        """Release the memory that only a large task needed."""
        if self._lent_bytes > KEPT_BYTES:
            self._arena.madvise(mmap.MADV_REMOVE, KEPT_BYTES, len(self._arena) - KEPT_BYTES)
        self._lent_bytes = 0


def open_sandbox(
    settings: Settings, functions: Sequence[str], shared: ForkServer | None = None
) -> Sandbox | None:
    """The sandbox of the settings, not started yet; None when it is switched off. ``shared``
    comes from ``open_fork_server`` with the same arguments."""
    if not settings.decode_sandbox:
        return None
    if sys.platform != "linux":
        LOG.warning(
            "Media are decoded in the worker's own process: the sandbox needs Linux",
            extra={"action": "sandbox_unavailable"},
        )
        return None
    return Sandbox(
        functions, SandboxLimits.from_settings(settings), environment=_environment(settings),
        shared=shared,
    )


def open_fork_server(settings: Settings, functions: Sequence[str]) -> ForkServer | None:
    """A fork server for the sandboxes of processes that this one forks; None where there are
    no sandboxes. Raises ``DecoderUnavailable``."""
    if not settings.decode_sandbox or sys.platform != "linux":
        return None
    rules = _rules(functions, SandboxLimits.from_settings(settings), TASKS)
    return ForkServer(rules, _environment(settings))


def _rules(functions: Sequence[str], limits: SandboxLimits, tasks: int) -> DecoderRules:
    return DecoderRules(tuple(functions), limits.memory_bytes, tasks, GROWTH_BYTES)


def _environment(settings: Settings) -> dict[str, str]:
    return {"OPENCV_IO_MAX_IMAGE_PIXELS": str(settings.max_pixels)}


def _error(reply: DecodeFailure, failure: type[BadInput]) -> FaceError:
    """The error for a decoder's failure message."""
    if reply.code == "memory":
        return failure("The file needs more memory than its size explains.")
    if reply.code == "output":
        return failure("The file holds more than its header states.")
    known = _errors_by_code(BadInput).get(reply.code)
    if known is not None:
        return known(reply.message[:MAX_TEXT])
    LOG.error(
        "A decoder's function failed: %r", reply.message[:MAX_TEXT],
        extra={"action": "decoder_fault"},
    )
    return FaceError()


def _errors_by_code(root: type[BadInput]) -> dict[str, type[BadInput]]:
    found = {root.code: root}
    for kind in root.__subclasses__():
        found |= _errors_by_code(kind)
    return found


def _aligned(size: int) -> int:
    """``size`` rounded up to whole pages, more than the alignment of arrays needs."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
