"""Shared parts of the format readers."""

from __future__ import annotations

import struct
from typing import Any

PictureLayout = tuple[int, int, int]
"""Stored width, stored height, EXIF orientation (1 to 8)."""

UPRIGHT = 1

# Encoders write PNG chunks of 8 kB and more: 20,000 are a PNG of at least 160 MB.
MAX_CHUNKS = 20_000


class BrokenPicture(Exception):
    """The file contradicts its format. The message says how, in words for the client."""

    def __init__(self, words: str) -> None:
        self.words = words
        super().__init__(words)


class CutOff(BrokenPicture):
    """The file ends too early."""

    def __init__(self) -> None:
        super().__init__("its end is missing")


class UnsupportedVariant(BrokenPicture):
    """A variant of the format that is not accepted; the message says which."""


class ImplausibleSize(BrokenPicture):
    """The file announces more pixels than it can hold under any compression."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        super().__init__("too little data for its pixels")


def read_exactly(data: bytes, start: int, count: int) -> bytes:
    """``count`` bytes from ``start`` on. Raises ``CutOff``."""
    part = data[start : start + count]
    if len(part) < count:
        raise CutOff
    return part


def unpack(form: str, data: bytes, start: int = 0) -> tuple[Any, ...]:
    """The values of a ``struct`` format at ``start``. Raises ``CutOff``."""
    try:
        return struct.unpack_from(form, data, start)
    except struct.error as error:
        raise CutOff from error
