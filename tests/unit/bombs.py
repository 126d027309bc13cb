"""Files that are small to send and expensive to open, each under its name.

``REFUSED`` must be refused by their structure, ``HOLLOW`` announce pixels within the
limits that they do not bring, as decoding shows, and ``DEFUSED`` show the drawn face when
the dangerous parts are removed. All are generated here.
"""

from __future__ import annotations

import functools
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from pipeline.types import Picture
from tests.unit import heif_files, writers
from tests.unit.heif_files import FIRST_TILE, PRIMARY, grid_of, heic, heic_grid, size_of
from tests.unit.pictures import encoded, face_like, image, png_bomb, png_chunk
from tests.unit.writers import TiffEntry, tiff_file

MB = 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n"
# Pixels a side of a picture just within the limits.
SIDE = 6_000


# PNG ---------------------------------------------------------------------------


def png_head(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    return PNG + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))


def png_end(body: bytes = b"") -> bytes:
    return png_chunk(b"IDAT", body) + png_chunk(b"IEND", b"")


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """The drawn face with chunks between its header and its pixels."""
    data = encoded(image(), "png")
    return data[:33] + b"".join(png_chunk(*chunk) for chunk in chunks) + data[33:]


@functools.cache
def packed_zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(MB)) for _ in range(megabytes)) + packer.flush()


def animated_png(frames: int) -> bytes:
    """An animation of ``frames`` frames, each as large as the picture."""
    data = encoded(image(), "png")
    body = zlib.compress(bytes(64 * (1 + 96 * 3)), 9)
    control = struct.pack(">IIIIHHBB", 96, 64, 0, 0, 1, 10, 0, 0)
    parts = [
        png_chunk(b"fcTL", struct.pack(">I", 2 * index) + control)
        + png_chunk(b"fdAT", struct.pack(">I", 2 * index + 1) + body)
        for index in range(frames)
    ]
    note = png_chunk(b"acTL", struct.pack(">II", frames, 0))
    return data[:33] + note + data[33:-12] + b"".join(parts) + data[-12:]


# JPEG --------------------------------------------------------------------------


def jpeg_as(width: int, height: int, **options: Any) -> bytes:
    """The drawn face's JPEG with another size in its header."""
    data = encoded(image(), "jpeg", **options)
    place = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """The drawn face's JPEG with segments before everything else."""
    data = encoded(image(), "jpeg")
    inside = b"".join(
        bytes([0xFF, marker]) + struct.pack(">H", 2 + len(body)) + body
        for marker, body in segments
    )
    return data[:2] + inside + data[2:]


def jpeg_of_scans(scans: int, side: int = 64) -> bytes:
    data = jpeg_as(side, side, progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * scans + data[-2:]


def jpeg_of_restarts() -> bytes:
    """A marker after every block, and no block."""
    data = jpeg_as(SIDE, SIDE, subsampling=0)
    scan = data.rindex(b"\xff\xda")
    markers = b"".join(bytes([0xFF, 0xD0 + index % 8]) for index in range(SIDE * SIDE // 64))
    interval = b"\xff\xdd\0\4\0\1"
    return data[:scan] + interval + data[scan : scan + 14] + markers + b"\xff\xd9"


# GIF, TIFF, BMP, WebP ----------------------------------------------------------


def gif_head(width: int, height: int) -> bytes:
    return struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0) + bytes(6)


def gif_image(width: int, height: int, body: bytes, left: int = 0) -> bytes:
    return struct.pack("<BHHHHB", 0x2C, left, 0, width, height, 0) + body + b";"


def gif_of_frames(frames: int) -> bytes:
    plane = np.zeros((8, 8, 1), np.int64)
    first = np.asarray(image("L")).astype(np.int64)[:, :, None]
    rest = [(plane, 0, 0)] * frames
    palette = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    return writers.gif([(first, 0, 0), *rest], (96, 64), palette)


def tiff_with(*extra: TiffEntry, side: int = 16, next_page: int = 0) -> bytes:
    """A grey TIFF whose entries were replaced by ``extra``."""
    own: list[TiffEntry] = [
        (0x100, 4, [side]), (0x101, 4, [side]), (0x102, 3, [8]), (0x103, 3, [1]),
        (0x106, 3, [1]), (0x111, 4, [8]), (0x115, 3, [1]), (0x116, 4, [side]),
        (0x117, 4, [256]),
    ]
    entries = {entry[0]: entry for entry in [*own, *extra]}
    return tiff_file(bytes(256), sorted(entries.values()), next_page=next_page)


def tiff_of_shared_strips() -> bytes:
    """Every row of a large picture is the same megabyte."""
    return tiff_file(
        bytes(MB),
        [(0x100, 4, [SIDE]), (0x101, 4, [SIDE]), (0x102, 3, [8]), (0x103, 3, [8]),
         (0x106, 3, [1]), (0x111, 4, [8] * SIDE), (0x115, 3, [1]), (0x116, 4, [1]),
         (0x117, 4, [MB] * SIDE)],
    )


def tiff_of_crumbs() -> bytes:
    """Tiles of one pixel, each with an entry of its own."""
    count = 400 * 400
    return tiff_file(
        bytes(256),
        [(0x100, 4, [400]), (0x101, 4, [400]), (0x102, 3, [8]), (0x103, 3, [1]), (0x106, 3, [1]),
         (0x115, 3, [1]), (0x142, 3, [1]), (0x143, 3, [1]), (0x144, 4, [8] * count),
         (0x145, 4, [1] * count)],
    )


def tiff_loop(*, drawn: bool) -> bytes:
    """Pages that follow each other without end."""
    grey = np.asarray(image("L")).astype(np.int64)[:, :, None]
    data = bytearray(writers.tiff(grey, 8, 1))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first if drawn else 4)
    return bytes(data)


def webp_file(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(part)) + part + bytes(len(part) % 2) for name, part in chunks
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + size


def webp_stream() -> tuple[bytes, bytes]:
    """The drawn face as a lossless stream."""
    data = encoded(image(), "webp", lossless=True)
    (length,) = struct.unpack_from("<I", data, 16)
    return data[12:16], data[20 : 20 + length]


def webp_frame(left: int, width: int, height: int) -> tuple[bytes, bytes]:
    numbers = (left // 2, 0, width - 1, height - 1, 100)
    name, stream = webp_stream()
    head = b"".join(number.to_bytes(3, "little") for number in numbers) + b"\0"
    return b"ANMF", head + name + struct.pack("<I", len(stream)) + stream


# HEIC, AVIF --------------------------------------------------------------------


def heic_grid_of(rows: int, columns: int, width: int, height: int, tile: int = 32) -> bytes:
    """Tiles of one pixel's worth of data, in a grid of another size."""
    file = heic_grid(face_like(), 32)
    file.data[PRIMARY] = grid_of(rows, columns, width, height)
    file.derived[PRIMARY] = [FIRST_TILE] * (rows * columns)
    file.properties = [size_of(tile, tile) if b"ispe" in each else each for each in file.properties]
    return file.to_bytes()


def heic_of_shared_tiles() -> bytes:
    """Every tile is the same half megabyte."""
    file = heic_grid(face_like(), 32)
    file.data[PRIMARY] = grid_of(20, 20, 640, 640)
    file.derived[PRIMARY] = [FIRST_TILE] * 400
    file.data[FIRST_TILE] += bytes(MB // 2)
    return file.to_bytes()


def heic_with(box: bytes) -> bytes:
    """The drawn face with another box at the end of its description."""
    data = heic(face_like()).to_bytes()
    start = data.index(b"meta") - 4
    (size,) = struct.unpack_from(">I", data, start)
    end = start + size
    return data[:start] + struct.pack(">I", size + len(box)) + data[start + 4 : end] + box


def heic_as(width: int, height: int, picture: Picture | None = None) -> bytes:
    """A picture, the drawn face if none is given, with another size in its header."""
    file = heic(face_like() if picture is None else picture)
    file.properties[1] = size_of(width, height)
    return file.to_bytes()


def heic_of_properties(count: int) -> bytes:
    file = heic(face_like())
    file.named[PRIMARY] = [1] * 200
    entry = struct.pack(">HB200B", PRIMARY, 200, *[1] * 200)
    named = heif_files.full_box(b"ipma", 0, 0, struct.pack(">I", count), entry * count)
    return heic_with(heif_files.box(b"iprp", heif_files.box(b"ipco", size_of(9, 9)), named))


def avif_as(width: int, height: int) -> bytes:
    data = encoded(image(), "avif")
    place = data.index(b"ispe") + 8
    return data[:place] + struct.pack(">II", width, height) + data[place + 8 :]


REFUSED: dict[str, Callable[[], bytes]] = {
    "png of 400 megapixels": lambda: png_bomb(20_000),
    "png of one line": lambda: png_head(2**31 - 1, 1) + png_end(zlib.compress(bytes(1000))),
    "png without pixels": lambda: png_head(SIDE, SIDE) + png_end(zlib.compress(bytes(1000))),
    "png of 16 bits without pixels": lambda: png_head(SIDE, SIDE, 16, 6) + png_end(bytes(99)),
    "png chunk of 2 GB": lambda: png_head(64, 64) + struct.pack(">I4s", 2**31 - 1, b"IDAT"),
    "png of endless chunks": lambda: png_head(64, 64) + png_chunk(b"IDAT", b"") * 21_000
    + png_end(zlib.compress(bytes(65 * 64))),
    "png palette of a megabyte": lambda: png_head(64, 64, 8, 3)
    + png_chunk(b"PLTE", bytes(3 * 350_000)) + png_end(zlib.compress(bytes(65 * 64))),
    "png transparency of a megabyte": lambda: png_with((b"tRNS", bytes(MB))),
    "png of two headers": lambda: png_with(
        (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
    ),
    "jpeg of 4 gigapixels": lambda: jpeg_as(65_535, 65_535),
    "jpeg of a thousand scans": lambda: jpeg_of_scans(1_000),
    "jpeg of dear scans": lambda: jpeg_of_scans(40, SIDE) + bytes(100_000),
    "jpeg without codes": lambda: jpeg_as(SIDE, SIDE),
    "jpeg of progressive nothing": lambda: jpeg_as(SIDE, SIDE, progressive=True),
    "jpeg of endless segments": lambda: jpeg_with(*[(0xE5, b"")] * 5_000),
    "jpeg of two frames": lambda: jpeg_with(
        (0xC0, struct.pack(">BHHB", 8, SIDE, SIDE, 1) + b"\1\x11\0")
    ),
    "jpeg of arithmetic codes": lambda: jpeg_with((0xCC, b"\0\x10")),
    "jpeg of impossible factors": lambda: encoded(image(), "jpeg").replace(
        b"\3\1\x22", b"\3\1\xff"
    ),
    "gif of 4 gigapixels": lambda: gif_head(65_535, 65_535) + gif_image(1, 1, b"\2\1\0\0"),
    "gif frame larger than its screen": lambda: gif_head(64, 64)
    + gif_image(65_535, 65_535, b"\2\1\0\0"),
    "gif frame beside its screen": lambda: gif_head(64, 64)
    + gif_image(64, 64, b"\2\1\0\0", left=60_000),
    "gif without pixels": lambda: gif_head(SIDE, SIDE) + gif_image(SIDE, SIDE, b"\2\1\0\0"),
    "gif of endless extensions": lambda: gif_head(64, 64) + b"\x21\xfe\0" * 21_000,
    "tiff of endless entries": lambda: b"II*\0\x08\0\0\0\xff\xff" + bytes(12 * 65_535 + 4),
    "tiff of 4 gigapixels": lambda: tiff_with((0x100, 4, [65_535]), (0x101, 4, [65_535])),
    "tiff of shared strips": tiff_of_shared_strips,
    "tiff of crumbs": tiff_of_crumbs,
    "tiff tile of 4 GB": lambda: tiff_with(
        (0x142, 3, [65_520]), (0x143, 3, [65_520]), (0x144, 4, [8]), (0x145, 4, [256])
    ),
    "tiff of 65535 samples": lambda: tiff_with((0x115, 3, [65_535])),
    "tiff without pixels": lambda: tiff_with(
        (0x103, 3, [8]), (0x116, 4, [SIDE]), side=SIDE
    ),
    "tiff directory in itself": lambda: b"II*\0\x04\0\0\0",
    "tiff of strange compression": lambda: tiff_with((0x103, 3, [34_661])),
    "bmp of 4 exapixels": lambda: writers.bmp(bytes(99), -(2**31), -(2**31), 24),
    "bmp of runs, 400 megapixels": lambda: writers.bmp(b"\0\1", 20_000, 20_000, 8, compression=1),
    "bmp without pixels": lambda: writers.bmp(bytes(1000), SIDE, SIDE, 24),
    "bmp of 4 billion colours": lambda: writers.bmp(bytes(64), 8, 8, 8, colours=2**32 - 1),
    "bmp of another's codes": lambda: writers.bmp(bytes(1000), SIDE, SIDE, 0, compression=4),
    "webp canvas of 281 terapixels": lambda: webp_file(webp_canvas(1 << 24, 1 << 24),
                                                      webp_stream()),
    "webp larger than its picture": lambda: webp_file(webp_canvas(SIDE, SIDE), webp_stream()),
    "webp of endless chunks": lambda: webp_file(webp_canvas(64, 64), *[(b"JUNK", b"")] * 21_000),
    "webp frame beside its canvas": lambda: webp_file(
        webp_canvas(64, 64, 2), (b"ANIM", bytes(6)), webp_frame(60_000, 96, 64)
    ),
    "heic of 4 gigapixels": lambda: heic_grid_of(1, 1, 65_535, 65_535, 65_536),
    "heic grid without tiles": lambda: heic_grid_of(2, 3, 6_000, 6_000),
    "heic tile of 4 gigapixels": lambda: heic_grid_of(1, 1, 96, 64, 65_535),
    "heic of shared tiles": heic_of_shared_tiles,
    "heic of endless boxes": lambda: heic_with(heif_files.box(b"iinf", bytes(6), b"\0\0\0\x08infe"
                                                              * 100_000)),
    "heic of endless places": lambda: heic_with(
        heif_files.full_box(b"iloc", 2, 0, struct.pack(">BBI", 0, 0, 2**32 - 1), bytes(MB))
    ),
    "heic of endless references": lambda: heic_with(heif_files.full_box(
        b"iref", 0, 0, heif_files.box(b"dimg", struct.pack(">HH", 1, 65_535), bytes(2 * 65_535))
    )),
    "heic of endless properties": lambda: heic_of_properties(3_000),
    "heic of itself": lambda: heic_with(
        heif_files.full_box(b"iref", 0, 0, heif_files.box(b"dimg", struct.pack(">3H", 1, 1, 1)))
    ).replace(b"hvc1", b"iden"),
    "avif of 4 gigapixels": lambda: avif_as(65_535, 65_535),
    "webp frame of another size": lambda: webp_file(
        webp_canvas(SIDE, SIDE, 2), (b"ANIM", bytes(6)), webp_frame(0, SIDE, SIDE)
    ),
}

HOLLOW: dict[str, Callable[[], bytes]] = {
    "png that ends early": lambda: png_head(SIDE, SIDE) + png_end(packed_zeros(20) + bytes(99_000)),
    "gif that ends early": lambda: gif_head(SIDE, SIDE)
    + gif_image(SIDE, SIDE, b"\2" + writers.sub_blocks(bytes(15_000))),
    "tiff that ends early": lambda: tiff_file(
        zlib.compress(bytes(1000)) + bytes(99_000),
        [(0x100, 4, [SIDE]), (0x101, 4, [SIDE]), (0x102, 3, [8]), (0x103, 3, [8]),
         (0x106, 3, [1]), (0x111, 4, [8]), (0x115, 3, [1]), (0x116, 4, [SIDE]),
         (0x117, 4, [99_000])],
    ),
    "heic larger than its code": lambda: heic_as(SIDE, SIDE),
    "heic smaller than its code": lambda: heic_as(16, 16, np.zeros((800, 800, 3), np.uint8)),
    "webp that ends early": lambda: webp_file(
        (b"VP8L", b"\x2f" + struct.pack("<I", SIDE - 1 | SIDE - 1 << 14) + bytes(99)),
    ),
}

# Bombs that a decoder accepts: each costs as much as a whole picture of its size.
GRANTED: dict[str, Callable[[], bytes]] = {
    "jpeg of restarts": jpeg_of_restarts,
    "avif larger than its code": lambda: avif_as(SIDE, SIDE),
}

DEFUSED: dict[str, Callable[[], bytes]] = {
    "png colour profile of 100 MB": lambda: png_with((b"iCCP", b"x\0\0" + packed_zeros(100))),
    "png text of 100 MB": lambda: png_with((b"zTXt", b"x\0\0" + packed_zeros(100))),
    "png text of 100 MB in Unicode": lambda: png_with(
        (b"iTXt", b"x\0\1\0\0\0" + packed_zeros(100))
    ),
    "png of a thousand texts": lambda: png_with(*[(b"zTXt", b"x\0\0" + packed_zeros(1))] * 1_000),
    "png of 5000 frames": lambda: animated_png(5_000),
    "jpeg of 4000 comments": lambda: jpeg_with(*[(0xFE, bytes(2_000))] * 4_000),
    "gif of 5000 frames": lambda: gif_of_frames(5_000),
    "gif of 10 MB behind": lambda: gif_of_frames(0) + bytes(10 * MB),
    "tiff of endless pages": lambda: tiff_loop(drawn=True),
    "tiff with a page in its header": lambda: tiff_loop(drawn=False),
    "webp with a megabyte of notes": lambda: webp_file(
        webp_canvas(96, 64), (b"ICCP", bytes(MB)), webp_stream()
    ),
}
