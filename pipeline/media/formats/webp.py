"""WebP (the WebP container specification, RFC 9649)."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.media.formats.base import (
    MAX_CHUNKS,
    UPRIGHT,
    BrokenPicture,
    CutOff,
    PictureLayout,
    read_exactly,
    unpack,
)
from pipeline.media.formats.tiff import exif_orientation

CHUNK = 8
FRAME_HEADER = 16
ANIMATED = 0x02


def read(data: bytes) -> PictureLayout:
    layout = _layout(data)
    if len(data) < _stated_size(data):
        raise CutOff
    return layout


def _layout(data: bytes) -> PictureLayout:
    name, start = data[12:16], 20
    if name != b"VP8X":
        return *_stream_size(name, data, start), UPRIGHT
    flags = read_exactly(data, start, 1)[0]
    canvas = 1 + _three(data, start + 4), 1 + _three(data, start + 7)
    orientation, shown = UPRIGHT, False
    for name, start, end in _chunks(data):
        if name == b"EXIF":
            orientation = exif_orientation(data[start:end].removeprefix(b"Exif\0\0"))
        elif name == b"ANMF" and not shown:
            _check_frame(data, start, canvas)
            shown = True
        elif name in (b"VP8 ", b"VP8L") and not shown:
            if _stream_size(name, data, start) != canvas and not flags & ANIMATED:
                raise BrokenPicture("its picture and its canvas differ in size")
            shown = True
    if not shown:
        raise BrokenPicture("there is no picture inside")
    return *canvas, orientation


def _check_frame(data: bytes, start: int, canvas: tuple[int, int]) -> None:
    """Checks that the first frame of an animation lies within the canvas."""
    left, top = 2 * _three(data, start), 2 * _three(data, start + 3)
    width, height = 1 + _three(data, start + 6), 1 + _three(data, start + 9)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise BrokenPicture("a frame reaches over its canvas")
    position = start + FRAME_HEADER
    name = read_exactly(data, position, CHUNK)[:4]
    if name == b"ALPH":
        (length,) = unpack("<I", data, position + 4)
        position += CHUNK + length + length % 2
        name = read_exactly(data, position, CHUNK)[:4]
    if _stream_size(name, data, position + CHUNK) != (width, height):
        raise BrokenPicture("a frame has not the size that it announces")


def _stream_size(name: bytes, data: bytes, start: int) -> tuple[int, int]:
    """(width, height) in the coded picture."""
    if name == b"VP8L":
        signature, bits = unpack("<BI", data, start)
        if signature != 0x2F:
            raise BrokenPicture("its picture has no signature")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name == b"VP8 ":
        code, width, height = unpack("<3sHH", data, start + 3)
        if code != b"\x9d\x01\x2a":
            raise BrokenPicture("its picture has no start code")
        return width & 0x3FFF, height & 0x3FFF  # the upper bits are a scale
    raise BrokenPicture("its first chunk is of no known kind")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk's payload; the file may end early."""
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + CHUNK > len(data):
            return
        name, length = unpack("<4sI", data, position)
        start = position + CHUNK
        yield name, start, min(start + length, len(data))
        position = start + length + length % 2  # chunks are padded to even lengths
    raise BrokenPicture("it has too many chunks")


def _stated_size(data: bytes) -> int:
    """Bytes of the file by its header, less the padding that may be missing at its end."""
    return 8 + int(unpack("<I", data, 4)[0]) - 1


def _three(data: bytes, start: int) -> int:
    return int.from_bytes(read_exactly(data, start, 3), "little")
