"""Shared parts of the format readers."""

from __future__ import annotations

PictureLayout = tuple[int, int, int]
"""Stored width, stored height, EXIF orientation (1 to 8)."""

UPRIGHT = 1

# Encoders write PNG chunks of 8 kB and more: 20,000 are a PNG of at least 160 MB.
MAX_CHUNKS = 20_000


class UnsupportedVariant(ValueError):
    """A variant of the format that is not accepted; the message says which."""


class ImplausibleSize(ValueError):
    """The file announces more pixels than it can hold under any compression."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        super().__init__("too little data for its pixels")


def read_exactly(data: bytes, start: int, count: int) -> bytes:
    """``count`` bytes from ``start`` on. Raises ``ValueError`` when the file is too short."""
    part = data[start : start + count]
    if len(part) < count:
        raise ValueError("the file ends too early")
    return part
