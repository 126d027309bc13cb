"""Where each picture format keeps its size and its EXIF orientation.

Only headers are read; no pixel is decoded and nothing is allocated that the file did
not bring. Every reader takes hostile bytes: it raises ``struct.error`` when the file
ends too early and ``ValueError`` when it contradicts its format, and it looks at a
bounded number of segments, however long the file is.

Sources: ITU-T T.81 (JPEG), W3C PNG 3rd edition, the BITMAPINFOHEADER family (BMP),
GIF89a, TIFF 6.0, the WebP container specification, CIPA DC-008 (EXIF).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Literal

PictureFormat = Literal["jpeg", "png", "bmp", "gif", "tiff", "webp"]

Layout = tuple[int, int, int]
"""Stored width, stored height, EXIF orientation (1 to 8)."""

# A camera's JPEG has some 20 segments, one with a long extended XMP a few hundred.
MAX_JPEG_SEGMENTS = 4_096
# Each scan of a progressive JPEG costs a walk over all its pixels, yet as few as a
# hundred bytes; encoders write about ten. libtiff draws the same line.
MAX_JPEG_SCANS = 100
# Encoders write IDAT chunks of 8 kB and more: this is a PNG of at least 160 MB.
MAX_CHUNKS = 20_000
MAX_IFD_ENTRIES = 1_024
# Grey, RGB, CMYK, each with alpha, in whole numbers of up to 16 bits: a file that
# announces more asks for memory only. So does a tile that is larger than the picture by
# more than what tiles are rounded up to.
MAX_TIFF_SAMPLES, MAX_TIFF_BITS, MAX_TILE_OVERHANG = 5, 16, 1_024

UPRIGHT = 1
TAG_WIDTH, TAG_HEIGHT, TAG_BITS, TAG_PHOTOMETRIC = 0x100, 0x101, 0x102, 0x106
TAG_ORIENTATION, TAG_SAMPLES, TAG_TILE_WIDTH, TAG_TILE_HEIGHT = 0x112, 0x115, 0x142, 0x143
TIFF_SHORT, TIFF_LONG = 3, 4
PHOTOMETRIC_CMYK = 5


def picture_format(data: bytes) -> PictureFormat | None:
    """The format by its magic bytes; None when it is none of ours."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


_MAGIC: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)


# JPEG --------------------------------------------------------------------------

SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
STANDALONE = frozenset({0x01, *range(0xD0, 0xD9)})
APP1, SOS, EOI = 0xE1, 0xDA, 0xD9


def _jpeg(data: bytes) -> Layout:
    if data.count(b"\xff\xda") > MAX_JPEG_SCANS:  # in a scan FF is followed by 00 or RST
        raise ValueError("too many scans")
    size: tuple[int, int] | None = None
    orientation: int | None = None
    for marker, start, end in _jpeg_segments(data):
        if marker in SOF and size is None:
            height, width = struct.unpack_from(">HH", data, start + 1)
            size = (width, height)
        elif marker == APP1 and orientation is None and data[start : start + 6] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 6 : end])
    if size is None:
        raise ValueError("no frame header before the scan")
    return *size, orientation or UPRIGHT


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's payload before the first scan."""
    position = 2
    for _ in range(MAX_JPEG_SEGMENTS):
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


# PNG ---------------------------------------------------------------------------


def _png(data: bytes) -> Layout:
    if data[12:16] != b"IHDR":
        raise ValueError("IHDR is not the first chunk")
    width, height = struct.unpack_from(">II", data, 16)
    orientation = UPRIGHT
    for name, start, end in _png_chunks(data):
        if name == b"eXIf":
            orientation = exif_orientation(data[start:end].removeprefix(b"Exif\0\0"))
    return width, height, orientation


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk's payload, up to IEND.

    The whole chain is walked: OpenCV allocates what a chunk announces before it looks
    whether the file has it, 4 GB for one flipped byte.
    """
    position = 8
    for _ in range(MAX_CHUNKS):
        length, name = struct.unpack_from(">I4s", data, position)
        if position + 12 + length > len(data):
            raise ValueError("chunk reaches over the end")
        yield name, position + 8, position + 8 + length
        if name == b"IEND":
            return
        position += 12 + length
    raise ValueError("too many chunks")


# BMP and GIF -------------------------------------------------------------------


def _bmp(data: bytes) -> Layout:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size == 12:
        width, height = struct.unpack_from("<HH", data, 18)
    elif 40 <= header_size <= 124:
        width, height = struct.unpack_from("<ii", data, 18)
    else:
        raise ValueError("unknown BMP header")
    return width, abs(height), UPRIGHT  # a negative height: stored from the top down


def _gif(data: bytes) -> Layout:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height, UPRIGHT


# TIFF and EXIF -----------------------------------------------------------------


def _tiff(data: bytes) -> Layout:
    tags = dict(_ifd(data))
    if TAG_WIDTH not in tags or TAG_HEIGHT not in tags:
        raise ValueError("no size")
    width, height = tags[TAG_WIDTH], tags[TAG_HEIGHT]
    if tags.get(TAG_SAMPLES, 1) > MAX_TIFF_SAMPLES or _tiff_bits(data) > MAX_TIFF_BITS:
        raise ValueError("too many samples a pixel, or bits a sample")
    if (
        tags.get(TAG_TILE_WIDTH, 0) > width + MAX_TILE_OVERHANG
        or tags.get(TAG_TILE_HEIGHT, 0) > height + MAX_TILE_OVERHANG
    ):
        raise ValueError("tiles larger than the picture")
    return width, height, _turn(tags.get(TAG_ORIENTATION, UPRIGHT))


def _tiff_bits(data: bytes) -> int:
    """Bits of the widest sample."""
    order = _byte_order(data)
    widest = 1
    for tag, entry in _ifd_entries(data):
        if tag == TAG_BITS:
            kind, values, offset = struct.unpack_from(order + "HII", data, entry + 2)
            if kind != TIFF_SHORT or values > MAX_TIFF_SAMPLES:
                raise ValueError("bits a sample are not as they should be")
            start = entry + 8 if values <= 2 else offset
            widest = max(widest, *struct.unpack_from(f"{order}{values}H", data, start), 1)
    return widest


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block that starts with its TIFF header; 1 when there
    is none or the block is damaged: a bad thumbnail must not cost the picture."""
    try:
        return _turn(dict(_ifd(exif)).get(TAG_ORIENTATION, UPRIGHT))
    except (struct.error, ValueError):
        return UPRIGHT


def _turn(value: int) -> int:
    return value if 1 <= value <= 8 else UPRIGHT


def tiff_has_alpha(data: bytes) -> bool:
    """Whether the first page's pixels bring their transparency along."""
    tags = dict(_ifd(data))
    cmyk = tags.get(TAG_PHOTOMETRIC) == PHOTOMETRIC_CMYK
    return tags.get(TAG_SAMPLES, 1) in ((5,) if cmyk else (2, 4))


def without_tiff_turn(data: bytes) -> bytes:
    """The same TIFF with its orientation set to upright: decoders differ in whether
    they apply it, so none of them gets to see it."""
    order = _byte_order(data)
    changed = bytearray(data)
    for tag, entry in _ifd_entries(data):
        if tag == TAG_ORIENTATION:
            struct.pack_into(order + "HHIHH", changed, entry, tag, TIFF_SHORT, 1, UPRIGHT, 0)
    return bytes(changed)


def _ifd(data: bytes) -> Iterator[tuple[int, int]]:
    """(tag, value) of the single whole numbers in the first directory."""
    order = _byte_order(data)
    for tag, entry in _ifd_entries(data):
        kind, values = struct.unpack_from(order + "HI", data, entry + 2)
        if values == 1 and kind in (TIFF_SHORT, TIFF_LONG):
            (value,) = struct.unpack_from(order + "HI"[kind - TIFF_SHORT], data, entry + 8)
            yield tag, value


def _ifd_entries(data: bytes) -> Iterator[tuple[int, int]]:
    """(tag, offset) of each entry of the first directory."""
    order = _byte_order(data)
    (offset,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, offset)
    if count > MAX_IFD_ENTRIES:
        raise ValueError("too many entries")
    for entry in range(offset + 2, offset + 2 + 12 * count, 12):
        yield struct.unpack_from(order + "H", data, entry)[0], entry


def _byte_order(data: bytes) -> str:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        raise ValueError("not a TIFF header")
    return order


# WebP --------------------------------------------------------------------------


def _webp(data: bytes) -> Layout:
    name, start = data[12:16], 20
    if name == b"VP8X":
        width = 1 + int.from_bytes(_exactly(data, start + 4, 3), "little")
        height = 1 + int.from_bytes(_exactly(data, start + 7, 3), "little")
        return width, height, _webp_orientation(data)
    if name == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, start)
        if signature != 0x2F:
            raise ValueError("no VP8L signature")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), UPRIGHT
    if name == b"VP8 ":
        signature, width, height = struct.unpack_from("<3sHH", data, start + 3)
        if signature != b"\x9d\x01\x2a":
            raise ValueError("no VP8 start code")
        return width & 0x3FFF, height & 0x3FFF, UPRIGHT  # the upper bits are a scale
    raise ValueError("unknown WebP chunk")


def _webp_orientation(data: bytes) -> int:
    position = 12
    for _ in range(MAX_CHUNKS):
        if position + 8 > len(data):
            return UPRIGHT
        name, length = struct.unpack_from("<4sI", data, position)
        if name == b"EXIF":
            exif = data[position + 8 : position + 8 + length]
            return exif_orientation(exif.removeprefix(b"Exif\0\0"))
        position += 8 + length + length % 2  # chunks are padded to even lengths
    raise ValueError("too many chunks")


def _exactly(data: bytes, start: int, count: int) -> bytes:
    part = data[start : start + count]
    if len(part) < count:
        raise ValueError("the file ends too early")
    return part


READERS: dict[PictureFormat, Callable[[bytes], Layout]] = {
    "jpeg": _jpeg,
    "png": _png,
    "bmp": _bmp,
    "gif": _gif,
    "tiff": _tiff,
    "webp": _webp,
}
