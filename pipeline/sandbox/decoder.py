"""The loop of a decoder: takes a task, runs its function, writes the arrays to the arena."""

from __future__ import annotations

import mmap
import os
import resource
import signal
from collections.abc import Callable, Mapping
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
    Reply,
)
from pipeline.types import JsonObject

DecodeFunction = Callable[[bytes, JsonObject], Decoded]
"""A decoding function of the bytes and the worker's options. It raises ``BadInput`` for
invalid bytes. It cannot open files or connections, start threads, or import modules that
the fork server had not imported; ``prepare_decoder()`` of its module, if there is one, imports
what else it needs."""

# Wall-clock limit in units of the limit on processor time: the cores are shared.
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
    channel: int, arena: mmap.mmap, functions: Mapping[str, DecodeFunction], rules: DecoderRules
) -> None:
    """Runs tasks until the worker closes the channel or this decoder is due for replacement."""
    old = _peak_bytes() + rules.growth_bytes
    for served in range(1, rules.tasks + 1):
        packet = os.read(channel, messages.MAX_MESSAGE_BYTES)
        if not packet:
            return
        task = messages.decode_task(packet)
        reply = _run_task(task, arena, functions[task.function])
        last = served == rules.tasks or _peak_bytes() > old
        os.write(channel, _encoded(msgspec.structs.replace(reply, last=last)))
        if last:
            return


def _run_task(task: DecodeTask, arena: mmap.mmap, function: DecodeFunction) -> Reply:
    # The default actions of both signals end the process even inside native code.
    signal.setitimer(signal.ITIMER_PROF, task.seconds)
    signal.setitimer(signal.ITIMER_REAL, task.seconds * WALL_CLOCK_FACTOR)
    try:
        decoded = function(arena[: task.size], dict(task.options))
        return DecodeResult(_write_arrays(decoded, memoryview(arena), task), decoded.metadata)
    except BadInput as error:
        return DecodeFailure(error.code, error.message)
    except MemoryError:
        return DecodeFailure("memory", "")
    except _OutOfSpace:
        return DecodeFailure("output", "")
    except Exception as error:  # noqa: BLE001  # the worker interprets it
        return DecodeFailure("fault", repr(error)[:500])
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _write_arrays(decoded: Decoded, arena: memoryview, task: DecodeTask) -> list[ArrayRef]:
    references: list[ArrayRef] = []
    free, end = task.output_offset, task.output_offset + task.output_bytes
    for array in decoded.arrays:
        if free + array.nbytes > end:
            raise _OutOfSpace
        kind: Any = array.dtype.name
        reference = ArrayRef(free, kind, array.shape)
        np.copyto(reference.view(arena, task.output_offset, task.output_bytes), array)
        references.append(reference)
        free += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    return references


def _encoded(reply: Reply) -> bytes:
    packet = messages.encode(reply)
    if len(packet) <= messages.MAX_MESSAGE_BYTES:
        return packet
    return messages.encode(DecodeFailure("output", "", last=reply.last))


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
