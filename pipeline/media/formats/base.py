"""What the readers of all formats share."""

from __future__ import annotations

PictureLayout = tuple[int, int, int]
"""Stored width, stored height, EXIF orientation (1 to 8)."""

UPRIGHT = 1

# Encoders write PNG chunks of 8 kB and more: 20,000 are a PNG of at least 160 MB.
MAX_CHUNKS = 20_000


class UnsupportedVariant(ValueError):
    """A kind of the format that is not taken; the message says which."""


class ImplausibleSize(ValueError):
    """The file announces pixels that it cannot hold, however well it is packed."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        super().__init__("too little data for its pixels")


def read_exactly(data: bytes, start: int, count: int) -> bytes:
    """``count`` bytes from ``start`` on. Raises ``ValueError`` when they are not there."""
    part = data[start : start + count]
    if len(part) < count:
        raise ValueError("the file ends too early")
    return part
