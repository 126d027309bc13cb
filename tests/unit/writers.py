"""Writers of pictures, for kinds of files that libraries read but do not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.unit.pictures import png_chunk

Samples = NDArray[np.integer]
"""Samples of a picture, shape (height, width, samples a pixel), in the file's own units."""

TiffEntry = tuple[int, int, Sequence[int]]
"""Tag, type (1 byte, 3 short, 4 long), values."""

# PNG's passes of an interlaced picture: first column and row, steps (Adam7).
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))


def packed_rows(samples: Samples, bits: int, big_endian: bool = True) -> list[bytes]:
    """Each row's samples one after the other, padded to whole bytes."""
    flat = samples.reshape(samples.shape[0], -1)
    if bits == 16:
        return [row.astype(">u2" if big_endian else "<u2").tobytes() for row in flat]
    if bits == 8:
        return [row.astype(np.uint8).tobytes() for row in flat]
    spread = (flat[:, :, None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in spread.reshape(len(flat), -1)]


def png(
    samples: Samples, bits: int, colour: int, *, interlaced: bool = False,
    chunks: Sequence[tuple[bytes, bytes]] = (),
) -> bytes:
    """A PNG of colour type ``colour``; ``chunks`` precede the pixels."""
    height, width = samples.shape[:2]
    parts = [samples]
    if interlaced:
        parts = [samples[top::down, left::across] for left, top, across, down in ADAM7]
    body = b"".join(
        b"\0" + row for part in parts if part.size for row in packed_rows(part, bits)
    )
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, int(interlaced))
    inside = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in inside)


def tiff(
    samples: Samples, bits: int, photometric: int, *, big_endian: bool = False,
    planar: bool = False, tile: int = 0, rows_per_strip: int = 0, deflate: bool = False,
    extra: Sequence[TiffEntry] = (),
) -> bytes:
    """A TIFF of one page; entries in ``extra`` replace its own."""
    height, width, count = samples.shape
    rows = rows_per_strip or height
    planes = [samples[:, :, index : index + 1] for index in range(count)] if planar else [samples]
    parts = [
        part for plane in planes for part in (_tiles(plane, tile) if tile else _strips(plane, rows))
    ]
    bodies = [b"".join(packed_rows(part, bits, big_endian)) for part in parts]
    if deflate:
        bodies = [zlib.compress(body) for body in bodies]
    starts = [8 + sum(map(len, bodies[:index])) for index in range(len(bodies))]
    sizes = [len(body) for body in bodies]
    entries: list[TiffEntry] = [
        (0x100, 4, [width]), (0x101, 4, [height]), (0x102, 3, [bits] * count),
        (0x103, 3, [8 if deflate else 1]), (0x106, 3, [photometric]), (0x115, 3, [count]),
        (0x11C, 3, [2 if planar else 1]),
    ]
    if tile:
        entries += [(0x142, 3, [tile]), (0x143, 3, [tile]), (0x144, 4, starts), (0x145, 4, sizes)]
    else:
        entries += [(0x111, 4, starts), (0x116, 4, [rows]), (0x117, 4, sizes)]
    replaced = {tag: (tag, kind, values) for tag, kind, values in [*entries, *extra]}
    return tiff_file(b"".join(bodies), sorted(replaced.values()), big_endian=big_endian)


def tiff_file(
    body: bytes, entries: Sequence[TiffEntry], *, big_endian: bool = False, next_page: int = 0
) -> bytes:
    """The header, ``body`` at byte 8, and a directory of ``entries`` behind it."""
    order = ">" if big_endian else "<"
    at = 8 + len(body) + len(body) % 2
    behind = at + 2 + 12 * len(entries) + 4
    directory, values_behind = struct.pack(order + "H", len(entries)), b""
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind]}", *values)
        directory += struct.pack(order + "HHI", tag, kind, len(values))
        if len(packed) <= 4:
            directory += packed.ljust(4, b"\0")
        else:
            directory += struct.pack(order + "I", behind + len(values_behind))
            values_behind += packed
    magic = b"MM\0*" if big_endian else b"II*\0"
    start = magic + struct.pack(order + "I", at) + body + bytes(len(body) % 2)
    return start + directory + struct.pack(order + "I", next_page) + values_behind


def _strips(plane: Samples, rows: int) -> list[Samples]:
    return [plane[top : top + rows] for top in range(0, len(plane), rows)]


def _tiles(plane: Samples, side: int) -> list[Samples]:
    height, width = plane.shape[:2]
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)), mode="edge")
    return [
        padded[top : top + side, left : left + side]
        for top in range(0, height, side) for left in range(0, width, side)
    ]


def bmp(
    body: bytes, width: int, height: int, bits: int, *, compression: int = 0,
    palette: bytes = b"", colours: int | None = None, masks: Sequence[int] = (),
) -> bytes:
    """A BMP with the 40-byte header; a negative height stores from the top down."""
    extra = struct.pack(f"<{len(masks)}I", *masks) + palette
    at = 54 + len(extra)
    named = len(palette) // 4 if colours is None else colours
    return (
        struct.pack("<2sIHHI", b"BM", at + len(body), 0, 0, at)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0,
                      named, 0)
        + extra + body
    )


def bmp_rows(samples: Samples, bits: int) -> bytes:
    """Rows from the bottom up, each padded to four bytes."""
    rows = packed_rows(samples[::-1], bits, big_endian=False)
    return b"".join(row + bytes(-len(row) % 4) for row in rows)


def run_lengths(samples: Samples) -> bytes:
    """A plane of indexes as BMP's RLE8: runs, ends of lines, the end."""
    body = b""
    for row in samples[::-1, :, 0].astype(int).tolist():
        place = 0
        while place < len(row):
            end = place
            while end < len(row) and row[end] == row[place] and end - place < 255:
                end += 1
            body += bytes([end - place, row[place]])
            place = end
        body += b"\0\0"
    return body + b"\0\1"


def gif(
    frames: Sequence[tuple[Samples, int, int]], screen: tuple[int, int], palette: bytes, *,
    background: int = 0, control: bytes = b"", blocks: bytes = b"",
) -> bytes:
    """A GIF of ``frames`` (a plane of indexes, its left and top), each after ``control``;
    the palette has 2 to 256 colours. ``blocks`` precede the first."""
    size = max((len(palette) // 3 - 1).bit_length(), 1)
    head = struct.pack("<6sHHBBB", b"GIF89a", *screen, 0x80 | size - 1, background, 0)
    table = palette.ljust(3 << size, b"\0")
    images = b"".join(
        control
        + struct.pack("<BHHHHB", 0x2C, left, top, plane.shape[1], plane.shape[0], 0)
        + gif_data(plane)
        for plane, left, top in frames
    )
    return head + table + blocks + images + b";"


def gif_data(plane: Samples) -> bytes:
    """The plane as LZW codes of nine bits, with a clear code before the table grows."""
    codes: list[int] = []
    for count, value in enumerate(plane.reshape(-1).tolist()):
        if count % 200 == 0:
            codes.append(256)
        codes.append(value)
    codes.append(257)
    bits = (np.array(codes)[:, None] >> np.arange(9)) & 1
    packed = np.packbits(bits.reshape(-1).astype(np.uint8), bitorder="little").tobytes()
    return b"\x08" + sub_blocks(packed)


def sub_blocks(data: bytes) -> bytes:
    parts = (data[start : start + 255] for start in range(0, len(data), 255))
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"
