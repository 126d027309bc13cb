"""What a decoder does: take a task, run its function on the bytes, lay arrays down."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from pipeline.errors import BadInput
from pipeline.sandbox import messages
from pipeline.sandbox.messages import (
    ALIGNMENT,
    ArrayRef,
    Decoded,
    DecodeFailure,
    DecodeResult,
    DecodeTask,
    JsonObject,
)

DecodeFunction = Callable[[bytes, JsonObject], Decoded]
"""A function that decodes: the bytes and the options that the worker gave. It raises a
``BadInput`` for what it refuses. It has no file, no network, no thread of its own and no
module that was not imported when the fork server started."""

# Clocks run this much longer than the processor may be used: the cores are shared.
WALL_CLOCK_FACTOR = 4.0


class DecoderRules(msgspec.Struct, frozen=True):
    """``functions`` are the functions a decoder may be asked to run, as ``module:function``.
    A task may take ``memory_bytes`` beside the arena. A decoder ends after ``tasks`` of
    them, or once it has grown by ``growth_bytes``."""

    functions: tuple[str, ...]
    memory_bytes: int
    tasks: int
    growth_bytes: int


class _OutOfSpace(Exception):
    pass


def serve(
    channel: int, arena: mmap.mmap, functions: dict[str, DecodeFunction], rules: DecoderRules
) -> None:
    """Answer tasks until the worker hangs up or this decoder is old."""
    old = _peak_bytes() + rules.growth_bytes
    for served in range(1, rules.tasks + 1):
        packet = os.read(channel, messages.MAX_MESSAGE_BYTES)
        if not packet:
            return
        task = messages.decode_task(packet)
        reply = _work(task, arena, functions[task.work])
        last = served == rules.tasks or _peak_bytes() > old
        os.write(channel, _packed(msgspec.structs.replace(reply, last=last)))
        if last:
            return


def _work(task: DecodeTask, arena: mmap.mmap, work: DecodeFunction) -> DecodeResult | DecodeFailure:
    # The default actions of both signals end the process, whatever native code it is in.
    signal.setitimer(signal.ITIMER_PROF, task.seconds)
    signal.setitimer(signal.ITIMER_REAL, task.seconds * WALL_CLOCK_FACTOR)
    try:
        made = work(arena[: task.size], dict(task.options))
        return DecodeResult(_lay_down(made, memoryview(arena), task), made.metadata)
    except BadInput as error:
        return DecodeFailure(error.code, error.message)
    except MemoryError:
        return DecodeFailure("memory", "")
    except _OutOfSpace:
        return DecodeFailure("room", "")
    except Exception as error:  # noqa: BLE001  # the worker says what to make of it
        return DecodeFailure("fault", repr(error)[:500])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _lay_down(made: Decoded, arena: memoryview, task: DecodeTask) -> list[ArrayRef]:
    notes: list[ArrayRef] = []
    free, end = task.output_offset, task.output_offset + task.output_bytes
    for array in made.arrays:
        if free + array.nbytes > end:
            raise _OutOfSpace
        kind: Any = array.dtype.name
        note = ArrayRef(free, kind, array.shape)
        np.copyto(note.view(arena, task.output_offset, task.output_bytes), array)
        notes.append(note)
        free += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return notes


def _packed(reply: DecodeResult | DecodeFailure) -> bytes:
    packet = messages.encode(reply)
    if len(packet) <= messages.MAX_MESSAGE_BYTES:
        return packet
    return messages.encode(DecodeFailure("room", "", last=reply.last))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
