from __future__ import annotations

import contextlib
import random
import struct
import subprocess
import sys

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import MediaTooLarge, NotAPicture, PictureCorrupt, PictureOutOfRange
from pipeline.media.formats.base import MAX_CHUNKS
from pipeline.media.formats.jpeg import MAX_SCANS, MAX_SEGMENTS
from pipeline.media.formats.tiff import MAX_IFD_ENTRIES, exif_orientation
from pipeline.media.picture_formats import READERS
from pipeline.media.pictures import PictureLimits, inspect
from tests.unit import writers
from tests.unit.pictures import (
    HEIGHT,
    WIDTH,
    encoded,
    image,
    png_bomb,
    png_chunk,
    samples,
    turned,
)

LIMITS = PictureLimits.from_settings(Settings())
SAMPLES = samples()


@pytest.mark.parametrize("name", SAMPLES)
def test_size_and_format_of_every_kind(name: str) -> None:
    header = inspect(SAMPLES[name], LIMITS)
    assert header.format == name.split()[0]
    assert (header.width, header.height, header.orientation) == (WIDTH, HEIGHT, 1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["jpeg", "png", "tiff", "webp"])
def test_orientation(file_format: str, orientation: int) -> None:
    header = inspect(turned(file_format, orientation), LIMITS)
    assert header.orientation == orientation
    assert (header.width, header.height) == (WIDTH, HEIGHT)
    assert header.upright_size == ((WIDTH, HEIGHT) if orientation < 5 else (HEIGHT, WIDTH))


@pytest.mark.parametrize("orientation", [0, 9, 6000])
def test_an_impossible_orientation_is_upright(orientation: int) -> None:
    assert inspect(turned("jpeg", orientation), LIMITS).orientation == 1


def test_damaged_exif_does_not_cost_the_picture() -> None:
    whole = turned("jpeg", 6)
    broken = whole.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert broken != whole
    assert inspect(broken, LIMITS).orientation == 1


def test_exif_in_intel_byte_order() -> None:
    entry = struct.pack("<HHIHH", 0x112, 3, 1, 8, 0)
    assert exif_orientation(b"II*\0\x08\0\0\0\x01\0" + entry) == 8


def test_the_name_of_a_format_is_its_first_bytes() -> None:
    assert inspect(encoded(image(), "gif"), LIMITS).format == "gif"
    with pytest.raises(NotAPicture):
        inspect(b"%PDF-1.7 and so on", LIMITS)
    with pytest.raises(NotAPicture):
        inspect(b"", LIMITS)


def test_a_format_that_is_not_taken() -> None:
    narrow = PictureLimits(10**6, 1, 4096, 10**7, frozenset({"jpeg", "png", "bmp"}))
    assert inspect(SAMPLES["bmp"], narrow).format == "bmp"
    with pytest.raises(NotAPicture):
        inspect(SAMPLES["gif"], narrow)


def test_too_many_bytes() -> None:
    data = SAMPLES["png"]
    assert inspect(data, PictureLimits(len(data), 1, 100, 10_000))
    with pytest.raises(MediaTooLarge):
        inspect(data, PictureLimits(len(data) - 1, 1, 100, 10_000))


@pytest.mark.parametrize(
    "limits",
    [
        PictureLimits(10**6, HEIGHT + 1, 1_000, 10**6),
        PictureLimits(10**6, 1, WIDTH - 1, 10**6),
        PictureLimits(10**6, 1, 1_000, WIDTH * HEIGHT - 1),
        PictureLimits(10**6, 1, 1_000, 10**6, max_short_side=HEIGHT - 1),
    ],
)
def test_pixels_out_of_range(limits: PictureLimits) -> None:
    with pytest.raises(PictureOutOfRange, match=f"{WIDTH}x{HEIGHT}"):
        inspect(SAMPLES["jpeg"], limits)


def test_pixels_at_the_limit_pass() -> None:
    assert inspect(SAMPLES["jpeg"], PictureLimits(10**6, HEIGHT, WIDTH, WIDTH * HEIGHT))


def test_bombs_are_refused_by_their_header() -> None:
    wide = struct.pack("<6sHH", b"GIF89a", 65_535, 65_535)
    bitmap = struct.pack("<2sIIIIii", b"BM", 0, 0, 54, 40, -(2**31), -(2**31))
    empty = png_bomb(20_000, rows=0)
    for bomb in (empty, wide, bitmap):
        with pytest.raises((PictureOutOfRange, PictureCorrupt)):
            inspect(bomb, LIMITS)


@pytest.mark.parametrize(
    "endless",
    [
        b"\xff\xd8" + b"\xff\xe0\x00\x02" * (MAX_SEGMENTS + 1),
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0))
        + png_chunk(b"IDAT", b"") * (MAX_CHUNKS + 1),
        b"II*\0\x08\0\0\0" + struct.pack("<H", MAX_IFD_ENTRIES + 1),
        b"RIFF\0\0\0\0WEBPVP8X" + struct.pack("<I", 10) + b"\x08\0\0\0" + b"\x20\0\0" * 2
        + b"JUNK\0\0\0\0" * (MAX_CHUNKS + 1),
    ],
    ids=["jpeg", "png", "tiff", "webp"],
)
def test_endless_headers_are_given_up(endless: bytes) -> None:
    with pytest.raises(PictureCorrupt, match="too many"):
        inspect(endless, LIMITS)


def test_a_jpeg_of_endless_scans_is_given_up() -> None:
    """A decoder walks all pixels for each scan, however few bytes it has."""
    data = SAMPLES["jpeg progressive"]
    last = data[data.rindex(b"\xff\xda") : -2]
    assert inspect(data[:-2] + last * 20 + data[-2:], LIMITS)
    with pytest.raises(PictureCorrupt, match="too many scans"):
        inspect(data[:-2] + last * MAX_SCANS + data[-2:], LIMITS)


@pytest.mark.parametrize(
    "entries",
    [
        ((0x115, 6),), ((0x115, 65_535),), ((0x102, 64),), ((0x102, 17),),
        ((0x142, 16_384),), ((0x142, 16), (0x143, 16_384)),
    ],
)
def test_a_tiff_that_asks_for_more_than_its_pixels(entries: tuple[tuple[int, int], ...]) -> None:
    assert inspect(tiff(), LIMITS).width == 20
    with pytest.raises((PictureCorrupt, NotAPicture)):
        inspect(tiff(*entries), LIMITS)


def tiff(*entries: tuple[int, int]) -> bytes:
    """A TIFF of 20 x 20 pixels with other numbers in some entries."""
    pixels = np.zeros((20, 20, 4), np.int64)
    return writers.tiff(pixels, 16, 2, extra=[(tag, 3, [value]) for tag, value in entries])


@pytest.mark.parametrize(
    "wrong",
    [
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\xff\xff",
        b"\x89PNG\r\n\x1a\n",
        b"BM" + bytes(50),
        b"GIF89a",
        b"GIF89a" + bytes(4),
        b"II*\0\x08\0\0\0\0\0",
        b"MM\0*\0\0\0\x08\0\0",
        b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WEBPVP8L" + bytes(20),
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(20),
        b"RIFF\0\0\0\0WEBPVP8X",
    ],
)
def test_headers_that_cannot_be(wrong: bytes) -> None:
    with pytest.raises(PictureCorrupt):
        inspect(wrong, LIMITS)


def test_nothing_but_our_errors_comes_out() -> None:
    chance = random.Random(20)
    heads = [data[:200] for data in SAMPLES.values()]
    for _ in range(3_000):
        head = bytearray(chance.choice(heads))
        for _ in range(chance.randint(1, 20)):
            head[chance.randrange(len(head))] = chance.randrange(256)
        with contextlib.suppress(NotAPicture, PictureCorrupt, PictureOutOfRange):
            inspect(bytes(head[: chance.randrange(len(head))]), LIMITS)


def test_every_format_has_a_reader() -> None:
    assert {name.split()[0] for name in SAMPLES} == set(READERS) == LIMITS.formats


def test_the_web_floor_gets_no_image_library() -> None:
    ask = (
        "import sys, pipeline.media.pictures; "
        "print([name for name in ('cv2', 'PIL', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
