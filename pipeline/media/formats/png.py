"""PNG (W3C PNG, third edition)."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.media.formats.base import (
    MAX_CHUNKS,
    UPRIGHT,
    BrokenPicture,
    CutOff,
    ImplausibleSize,
    PictureLayout,
    UnsupportedVariant,
    unpack,
)
from pipeline.media.formats.tiff import exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Valid bits per sample for each colour type, and its samples per pixel.
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
GREY = 0

# Most bytes per byte of a deflate stream (RFC 1951: 258 per symbol of two bits).
MAX_INFLATED = 1032

# The chunks that pixels need. All others are removed before decoding: colour profiles and
# texts are compressed streams that can be bombs, and frames of an animation are not shown.
NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
MAX_CHUNK_BYTES = {b"IHDR": 13, b"PLTE": 3 * 256, b"tRNS": 256, b"IEND": 0}


def read(data: bytes) -> PictureLayout:
    if data[12:16] == b"CgBI":
        raise UnsupportedVariant("packed for an Apple device")
    if data[12:16] != b"IHDR":
        raise BrokenPicture("its first chunk is not a header")
    width, height = unpack(">II", data, 16)
    row_bits = width * _pixel_bits(data)
    orientation, packed, headers = UPRIGHT, 0, 0
    for name, start, end in _chunks(data):
        if end - start > MAX_CHUNK_BYTES.get(name, len(data)):
            raise BrokenPicture(f"its {name.decode()} chunk is too long")
        headers += name == b"IHDR"
        if name == b"IDAT":
            packed += end - start
        elif name == b"eXIf":
            orientation = exif_orientation(data[start:end].removeprefix(b"Exif\0\0"))
    if headers != 1:
        raise BrokenPicture("it has two headers")
    if (1 + row_bits // 8) * height > packed * MAX_INFLATED:
        raise ImplausibleSize(width, height)
    return width, height, orientation


def _pixel_bits(data: bytes) -> int:
    depth, colour, compression, filtering, interlace = unpack("5B", data, 24)
    if depth not in DEPTHS.get(colour, ()) or (compression, filtering) != (0, 0) or interlace > 1:
        raise BrokenPicture("its header is impossible")
    return int(depth * SAMPLES[colour])


def only_pixels(data: bytes) -> bytes:
    """The same picture with only the chunks that pixels need."""
    parts = [SIGNATURE]
    for name, start, end in _chunks(data):
        if name in NEEDED:
            parts.append(data[start - 8 : end + 4])
    return b"".join(parts)


def transparent_grey(data: bytes) -> int | None:
    """The transparent grey value as a decoder returns it, scaled to 8 bits or of 16; None
    when there is none, or the picture is not grey without alpha."""
    depth, colour = data[24], data[25]
    if colour != GREY:
        return None
    for name, start, end in _chunks(data):
        if name == b"tRNS" and end - start == 2:
            value = int.from_bytes(data[start:end], "big") & (1 << depth) - 1
            return value if depth == 16 else value * 255 // ((1 << depth) - 1)
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk's payload, up to IEND.

    Checks the whole chain: OpenCV allocates the announced size of a chunk before it checks
    the file, 4 GB for one flipped byte.
    """
    position = 8
    for _ in range(MAX_CHUNKS):
        length, name = unpack(">I4s", data, position)
        if position + 12 + length > len(data):
            raise CutOff
        yield name, position + 8, position + 8 + length
        if name == b"IEND":
            return
        position += 12 + length
    raise BrokenPicture("it has too many chunks")
