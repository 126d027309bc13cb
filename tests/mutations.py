"""Damaged media files: a seed gives the same ones everywhere."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator

import numpy as np

from tests.unit import writers
from tests.unit.bombs import HOLLOW, REFUSED
from tests.unit.pictures import encoded, image, samples, turned

SEED = 20_000
# Bombs that are slow to make, or large, are tested by their names.
SMALL_BOMB = 20_000
# A file in so many is a bomb.
BOMB_EVERY = 40

# Values that break parsers: ends of ranges, lengths that overflow, markers.
TOKENS = (
    b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0",
    b"\0\0\0\x80", b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xdd\0\4",
    b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"iCCP", b"VP8 ", b"VP8L", b"ANMF",
    b"\x21\xf9", b"\x2c", b";", b"\xff\xe1", b"Exif\0\0II*\0",
)


@functools.cache
def whole_files() -> dict[str, bytes]:
    """Files as they should be, of every format and most of their kinds, by name."""
    grey = np.asarray(image("L")).astype(np.int64)[:, :, None]
    colour = np.asarray(image()).astype(np.int64)
    mixed = np.concatenate([colour, grey], axis=2)
    greys = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()
    table = np.repeat(np.arange(256, dtype=np.uint8), 4).tobytes()
    return {
        **samples(),
        "jpeg restarts": encoded(image(), "jpeg", restart_marker_blocks=3),
        "jpeg turned": turned("jpeg", 6),
        "png interlaced": writers.png(colour, 8, 2, interlaced=True),
        "png 16 interlaced": writers.png(mixed * 257, 16, 6, interlaced=True),
        "png two bits": writers.png(grey >> 6, 2, 0, chunks=[(b"tRNS", b"\0\1")]),
        "png turned": turned("png", 3),
        "gif parts": writers.gif([(grey[:30], 3, 4), (grey[:9], 0, 0)], (96, 64), greys),
        "tiff tiles": writers.tiff(colour, 8, 2, tile=16),
        "tiff planes": writers.tiff(colour, 16, 2, planar=True),
        "tiff strips": writers.tiff(mixed, 8, 2, rows_per_strip=5, extra=[(0x152, 3, [2])]),
        "tiff four bits": writers.tiff(grey >> 4, 4, 1, big_endian=True),
        "tiff jpeg": encoded(image(), "tiff", compression="jpeg"),
        "tiff deflate": encoded(image(), "tiff", compression="tiff_adobe_deflate"),
        "tiff packbits": encoded(image("P"), "tiff", compression="packbits"),
        "bmp runs": writers.bmp(writers.run_lengths(grey >> 4), 96, 64, 8, compression=1,
                                palette=table),
        "bmp fields": writers.bmp(writers.bmp_rows(mixed, 8), 96, -64, 32, compression=3,
                                  masks=(0xFF0000, 0xFF00, 0xFF)),
        "webp turned": turned("webp", 8),
    }


def damaged_files(count: int, seed: int = SEED) -> Iterator[tuple[str, bytes]]:
    """``count`` files as (name of the damaged part, bytes)."""
    chance = random.Random(seed)
    whole = whole_files()
    named = {**REFUSED, **HOLLOW}
    bombs = {name: data for name, make in named.items() if len(data := make()) <= SMALL_BOMB}
    for number in range(count):
        pool = bombs if number % BOMB_EVERY == 0 else whole
        name = chance.choice(sorted(pool))
        yield name, damaged(pool[name], chance, whole)


def damaged(data: bytes, chance: random.Random, others: dict[str, bytes]) -> bytes:
    """Bytes overwritten, cut out, put in, doubled; ends cut off; two files in one."""
    if chance.random() < 0.05:
        data = data[: chance.randrange(1, len(data))]
    if chance.random() < 0.03:
        other = others[chance.choice(sorted(others))]
        data = data[: chance.randrange(len(data))] + other[chance.randrange(len(other)) :]
    return mutated(data, chance)


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The bytes with 1 to 40 changes, half of them near the head."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 3, 10, 40))):
        reach = min(len(changed), 200) if chance.random() < 0.5 else len(changed)
        place = chance.randrange(max(reach, 1))
        match chance.randrange(6):
            case 0:
                changed[place : place + 1] = chance.randbytes(1)
            case 1:
                token = chance.choice(TOKENS)
                changed[place : place + len(token)] = token
            case 2:
                del changed[place : place + chance.randrange(1, 9)]
            case 3:
                changed[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 4:
                changed[place:place] = changed[place : place + chance.randrange(1, 200)]
            case _:
                changed[place : place + 1] = bytes([changed[place] ^ 1 << chance.randrange(8)]
                                                   if place < len(changed) else [0])
    return bytes(changed)
