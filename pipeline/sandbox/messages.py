"""The messages between a worker and its decoder: small JSON, one per packet.

Input bytes and arrays are in the shared arena. Replies come from a process that hostile
bytes may have taken over: each is checked against its type, and every number in it against
the arena, before use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.types import JsonObject

# Bytes of one message. The kernel's default limit for a packet is 200 kB.
MAX_MESSAGE_BYTES = 128 * 1024

# The first message of a confined decoder. Any other message says why confinement failed.
LOCKED = b"locked"

# Arrays in the arena start at multiples of this, like numpy's own.
ALIGNMENT = 64

MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of decoding: ``arrays``, and ``metadata``, a small JSON object.

    In the decoder ``arrays`` may be a generator: each array is copied before the next is
    produced, so that a clip need not be in memory as a whole, and the generator may still
    complete ``metadata``.
    """

    arrays: Iterable[NDArray[Any]]
    metadata: JsonObject = field(default_factory=dict)


class DecodeTask(msgspec.Struct, frozen=True):
    """One task: ``size`` bytes of input are at the start of the arena, and the arrays may
    take ``output_bytes`` from ``output_offset`` on. ``seconds`` limit the processor time."""

    function: str
    size: int
    output_offset: int
    output_bytes: int
    seconds: float
    options: Mapping[str, Any]


class ArrayRef(msgspec.Struct, frozen=True, array_like=True):
    """An array in the arena, in C order."""

    offset: int
    dtype: Literal["uint8", "int16", "int64", "float32", "float64"]
    shape: tuple[int, ...]

    def view(self, arena: memoryview, start: int, space: int) -> NDArray[Any]:
        """The array, not copied. Raises ``ValueError`` when it does not lie within the output
        area."""
        if len(self.shape) > MAX_DIMENSIONS or min(self.shape, default=1) < 0:
            raise ValueError("invalid shape")
        size = np.dtype(self.dtype).itemsize
        for side in self.shape:
            size *= side
        if self.offset % ALIGNMENT or not start <= self.offset <= start + space - size:
            raise ValueError("the array lies outside of the arena")
        flat = np.frombuffer(arena[self.offset : self.offset + size], self.dtype)
        return flat.reshape(self.shape)


class DecodeResult(msgspec.Struct, frozen=True, tag=True):
    """``last``: the decoder ends after this reply."""

    arrays: list[ArrayRef]
    metadata: JsonObject
    last: bool = False


class DecodeFailure(msgspec.Struct, frozen=True, tag=True):
    """The function raised: ``code`` of a ``BadInput``, ``memory``, ``output``, or ``fault`` for
    any other exception."""

    code: str
    message: str
    last: bool = False


class DecoderStarted(msgspec.Struct, frozen=True, tag=True):
    """The fork server has a new decoder and passes its channel. ``status`` is the exit status
    of the previous one (``os.waitpid``), None for the first."""

    status: int | None


Reply = DecodeResult | DecodeFailure

encode = msgspec.json.Encoder().encode
decode_task = msgspec.json.Decoder(DecodeTask).decode
decode_started = msgspec.json.Decoder(DecoderStarted).decode
decode_reply = msgspec.json.Decoder(Reply).decode
