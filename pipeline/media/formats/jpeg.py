"""JPEG (ITU-T T.81)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pipeline.media.formats.base import UPRIGHT, ImplausibleSize, PictureLayout, UnsupportedVariant
from pipeline.media.formats.tiff import exif_orientation

# A camera's JPEG has some 20 segments, one with a long extended XMP a few hundred.
MAX_SEGMENTS = 4_096
# Each scan of a progressive JPEG costs a pass over all its pixels, yet as few as a hundred
# bytes of file; encoders write about ten. libtiff has the same limit.
MAX_SCANS = 100
# Scans times pixels: sixteen scans over the largest picture by default.
MAX_SCANNED = 16 * 40_000_000

# Most pixels per byte of coded data: a block of 64 takes at least one bit for its mean and
# one for the rest, which progressive files can defer.
MAX_UNPACKED = {True: 8 * 64, False: 8 * 64 // 2}

# Baseline, extended and progressive, Huffman-coded. The other frames are lossless,
# hierarchical or arithmetic-coded: no camera and no browser writes them.
PROGRESSIVE = 0xC2
SOF_TAKEN = frozenset({0xC0, 0xC1, PROGRESSIVE})
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
APP1, DAC, SOS, EOI = 0xE1, 0xCC, 0xDA, 0xD9
SCAN = SOS << 8 | 0xFF  # the marker of a scan, read as a two-byte number


def read(data: bytes) -> PictureLayout:
    frame: tuple[int, int] | None = None
    progressive = False
    orientation: int | None = None
    for marker, start, end in _segments(data):
        if marker in SOF:
            if frame is not None:
                raise ValueError("two frame headers")
            frame = _frame(data, marker, start, end)
            progressive = marker == PROGRESSIVE
        elif marker == DAC:
            raise UnsupportedVariant("arithmetic coding")
        elif marker == APP1 and orientation is None and data[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 6 : end])
    if frame is None:
        raise ValueError("no frame header before the scan")
    if frame[0] * frame[1] > len(data) * MAX_UNPACKED[progressive]:
        raise ImplausibleSize(*frame)
    _check_scans(data, *frame)
    return *frame, orientation or UPRIGHT


def _frame(data: bytes, marker: int, start: int, end: int) -> tuple[int, int]:
    """(width, height) of the frame header between ``start`` and ``end``."""
    precision, height, width, components = struct.unpack_from(">BHHB", data, start)
    if marker not in SOF_TAKEN:
        raise UnsupportedVariant(f"frame type {marker - 0xC0}")
    if precision != 8:
        raise UnsupportedVariant(f"{precision} bits a sample")
    if components not in (1, 3, 4):
        raise UnsupportedVariant(f"{components} components")
    if end - start != 6 + 3 * components:
        raise ValueError("the frame header has a wrong length")
    factors = data[start + 7 : end : 3]
    if any(not (1 <= factor >> 4 <= 4 and 1 <= factor & 15 <= 4) for factor in factors):
        raise ValueError("impossible sampling factors")
    return width, height


def _check_scans(data: bytes, width: int, height: int) -> None:
    # Inside a scan FF is followed by 00 or RST; thumbnails add one or two.
    scans = _count_scans(data)
    if scans > MAX_SCANS or (scans - 2) * width * height > MAX_SCANNED:
        raise ValueError("too many scans")


def _count_scans(data: bytes) -> int:
    """How often FF DA occurs in ``data``, searched as two-byte numbers from even
    places and from odd ones: a tenth of the time that bytes.count takes."""
    # Imported here: reading limits alone needs no numpy.
    import numpy as np

    return sum(
        int(np.count_nonzero(np.frombuffer(data, "<u2", (len(data) - first) // 2, first) == SCAN))
        for first in (0, 1) if len(data) >= first + 2
    )


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's payload before the first scan."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        position = data.find(b"\xff", position)
        if position < 0:
            raise ValueError("no scan")
        marker = data[position + 1] if position + 1 < len(data) else EOI
        if marker in (SOS, EOI):
            return
        position += 1
        if marker in STANDALONE or marker in (0x00, 0xFF):
            continue
        (length,) = struct.unpack_from(">H", data, position + 1)
        if length < 2 or position + 1 + length > len(data):
            raise ValueError("segment reaches over the end")
        yield marker, position + 3, position + 1 + length
        position += 1 + length
    raise ValueError("too many segments")
