"""What a worker and its decoder say to each other: small JSON messages, one a packet.

Bytes and arrays lie beside them in the shared arena. Answers come from a process that
hostile bytes may have taken over: each is checked against its type, and every number in
it against the arena, before it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

JsonObject = dict[str, Any]

# Bytes of one message; the kernel's default for a packet is 200 kB.
MAX_MESSAGE_BYTES = 128 * 1024

# What a decoder says first, once it is locked in; anything else is why it cannot be.
LOCKED = b"locked"

# Arrays begin at multiples of this in the arena, as numpy's own do.
ALIGNMENT = 64

MAX_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding gives: ``arrays``, and ``told``, a small JSON object.

    In the decoder ``arrays`` may be a generator: each is copied out before the next is
    asked for, so that a clip need not lie there whole, and ``told`` may be completed
    meanwhile.
    """

    arrays: Iterable[NDArray[Any]]
    metadata: JsonObject = field(default_factory=dict)


class DecodeTask(msgspec.Struct, frozen=True):
    """One piece of work: ``size`` bytes of input lie at the arena's begin, and the arrays
    may take ``output_bytes`` bytes from ``start`` on. ``seconds`` bound the processor's time."""

    work: str
    size: int
    output_offset: int
    output_bytes: int
    seconds: float
    options: Mapping[str, Any]


class ArrayRef(msgspec.Struct, frozen=True, array_like=True):
    """An array of the arena, in C order."""

    offset: int
    dtype: Literal["uint8", "int16", "int64", "float32", "float64"]
    shape: tuple[int, ...]

    def view(self, arena: memoryview, start: int, room: int) -> NDArray[Any]:
        """The array itself, not copied. Raises ``ValueError`` when it does not lie within
        the room from ``start`` on."""
        if len(self.shape) > MAX_DIMENSIONS or min(self.shape, default=1) < 0:
            raise ValueError("no array has this shape")
        size = np.dtype(self.dtype).itemsize
        for side in self.shape:
            size *= side
        if self.offset % ALIGNMENT or not start <= self.offset <= start + room - size:
            raise ValueError("the array lies outside of the arena")
        flat = np.frombuffer(arena[self.offset : self.offset + size], self.dtype)
        return flat.reshape(self.shape)


class DecodeResult(msgspec.Struct, frozen=True, tag=True):
    """``last``: the decoder ends now, of old age."""

    arrays: list[ArrayRef]
    metadata: JsonObject
    last: bool = False


class DecodeFailure(msgspec.Struct, frozen=True, tag=True):
    """The work raised: ``code`` of a ``BadInput``, ``memory``, ``output_bytes``, or ``fault`` for
    an exception that nobody foresaw."""

    code: str
    message: str
    last: bool = False


class DecoderStarted(msgspec.Struct, frozen=True, tag=True):
    """The fork server made a decoder, whose channel comes along; ``status`` is how the one
    before ended, as ``os.waitpid`` tells it, None when there was none."""

    status: int | None


Reply = DecodeResult | DecodeFailure

encode = msgspec.json.Encoder().encode
decode_task = msgspec.json.Decoder(DecodeTask).decode
decode_started = msgspec.json.Decoder(DecoderStarted).decode
decode_reply = msgspec.json.Decoder(Reply).decode
