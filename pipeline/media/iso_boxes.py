"""The boxes of the ISO base media file format (ISO/IEC 14496-12): MP4, MOV, HEIC, AVIF."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Box = tuple[bytes, int, int]
"""A box's kind, and the start and end of its contents."""

_MAX_BRANDS = 64


def boxes(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes between ``start`` and ``end``; one that reaches beyond is cut at the end."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if size == 1 and start + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, start + 8), 16
        elif size == 0:
            size = end - start
        if size < head:
            return
        yield kind, start + head, min(start + size, end)
        start += size


def brands(data: bytes) -> list[bytes]:
    """The brands of the file, the major one first; none for a file of another family."""
    if data[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(data[:4], "big"), len(data), 8 + 4 * _MAX_BRANDS)
    listed = [data[place : place + 4] for place in range(8, end - 3, 4)]
    return listed[:1] + listed[2:]  # the second is a version
