from __future__ import annotations

import base64
import contextlib
import random
import re
import struct
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from pipeline.config.settings import Settings
from pipeline.errors import (
    FormatNotAccepted,
    MediaTooLarge,
    NotAPicture,
    PictureCorrupt,
    PictureOutOfRange,
)
from pipeline.media.formats.base import MAX_CHUNKS
from pipeline.media.formats.jpeg import MAX_SCANS, MAX_SEGMENTS
from pipeline.media.formats.tiff import MAX_IFD_ENTRIES, exif_orientation
from pipeline.media.picture_formats import READERS, SPOKEN
from pipeline.media.pictures import PictureLimits, inspect
from tests.mutations import mutated
from tests.unit import writers
from tests.unit.heif_files import grid_of, heic, heic_grid, size_of
from tests.unit.pictures import (
    HEIGHT,
    WIDTH,
    encoded,
    face_like,
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


# Words -------------------------------------------------------------------------

# What Python and the libraries say of damage.
FOREIGN_WORDS = re.compile(
    r"unpack|buffer|struct|byte 0x|codec|errno|assert|cv2|OpenCV|index out|invalid literal|"
    r"Error|Exception|Traceback|<class|None|range\(", re.IGNORECASE
)


def words_for(data: bytes) -> str:
    """What is said of a file that is not taken; empty for one that is."""
    try:
        inspect(data, LIMITS)
    except (NotAPicture, PictureCorrupt, PictureOutOfRange) as error:
        return error.message
    return ""


@pytest.mark.parametrize("name", SAMPLES)
def test_a_cut_file_is_told_so_in_words(name: str) -> None:
    """At every length that cuts the structure off."""
    data = SAMPLES[name]
    lengths = [*range(12, 300), *range(300, len(data), 97), *range(len(data) - 20, len(data))]
    said = {words_for(data[:length]) for length in lengths}
    assert not [words for words in said if FOREIGN_WORDS.search(words)]
    assert f"The {SPOKEN[inspect(data, LIMITS).format]} is cut off: its end is missing." in said


def test_the_end_of_a_png() -> None:
    """It may be cut off behind its pixels, too: without its end nobody knows."""
    for lost in (12, 8, 1):
        with pytest.raises(PictureCorrupt, match=r"^The PNG is cut off: its end is missing\.$"):
            inspect(SAMPLES["png"][:-lost], LIMITS)


def test_words_for_damage_are_our_own() -> None:
    chance = random.Random(8)
    names = sorted(SAMPLES)
    for _ in range(4_000):
        words = words_for(mutated(SAMPLES[chance.choice(names)], chance))
        assert not FOREIGN_WORDS.search(words), words


FOREIGN = {
    "a PDF document": b"%PDF-1.7\n" + bytes(60),
    "a web page (HTML)": b"<!DOCTYPE html><html><body>404</body></html>",
    "a JSON text": b'{"error": "not found"}',
    "a text in Base64": base64.b64encode(SAMPLES["png"]),
    "the text of a data URI": b"data:image/png;base64," + base64.b64encode(SAMPLES["png"]),
    "the text of a URL": b"https://example.org/photo.jpg",
    "an empty file": b"",
    "a file of zero bytes": bytes(5000),
    "a ZIP archive": b"PK\3\4" + bytes(30),
    "a clip": b"\0\0\0\x18ftypqt  \0\0\0\0qt  ",
    "a sound file": b"ID3\4\0\0" + bytes(90),
    "a text, not": b"no picture at all",
}
PICTURES = {
    "a JPEG XL picture": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20),
    "a JPEG 2000 picture": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20),
    "an SVG drawing": b'<?xml version="1.0"?>\n<!-- by hand --><svg width="9"></svg>',
    "a DICOM picture": bytes(128) + b"DICM" + bytes(40) + b"x",
    "an icon": b"\0\0\1\0\1\0" + bytes(40),
    "a Photoshop file": b"8BPS\0\1" + bytes(40),
    "a Netpbm picture": b"P6 2 2 255\n" + bytes(12),
    "a camera's raw file (Canon CR3)": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "a camera's raw file (Fujifilm RAF)": b"FUJIFILMCCD-RAW 0201" + bytes(40),
    "a HEIF picture in JPEG 2000": b"\0\0\0\x18ftypj2ki\0\0\0\0mif1j2ki",
    "a HEIF picture of an unknown coder": b"\0\0\0\x14ftypmif1\0\0\0\0miaf",
}


@pytest.mark.parametrize("kind", [*FOREIGN, *PICTURES])
def test_other_kinds_are_named_with_what_to_send_instead(kind: str) -> None:
    data = {**FOREIGN, **PICTURES}[kind]
    with pytest.raises(NotAPicture, match=f"^This is {re.escape(kind)}.* Send ") as caught:
        inspect(data, LIMITS)
    assert isinstance(caught.value, FormatNotAccepted) == (kind in PICTURES)


@pytest.mark.parametrize(
    ("name", "spoken"),
    [("heic", "HEIC"), ("avif", "AVIF"), ("webp", "WebP"), ("gif", "GIF"), ("tiff", "TIFF")],
)
def test_a_format_that_this_operation_does_not_take(name: str, spoken: str) -> None:
    narrow = replace(LIMITS, formats=frozenset({"jpeg", "png", "bmp"}))
    words = f"This is an? {spoken} picture, which is not taken here. Send a JPEG, PNG or BMP."
    with pytest.raises(FormatNotAccepted, match=words):
        inspect(SAMPLES[name], narrow)


def test_a_kind_of_a_taken_format() -> None:
    apple = SAMPLES["png"][:8] + png_chunk(b"CgBI", bytes(4)) + SAMPLES["png"][8:]
    with pytest.raises(FormatNotAccepted, match="kind of PNG is not taken: packed for an Apple"):
        inspect(apple, LIMITS)
    raw = tiff((0xFE, 1), (0xC612, 1))
    with pytest.raises(FormatNotAccepted, match="kind of TIFF is not taken: a camera's raw file"):
        inspect(raw, LIMITS)


# HEIC and AVIF -----------------------------------------------------------------


def test_a_grid_that_cannot_be() -> None:
    def grid(rows: int, columns: int, width: int, height: int, **sizes: int) -> bytes:
        file = heic_grid(face_like(), 32)
        file.data[1] = grid_of(rows, columns, width, height)
        return file.to_bytes()

    assert inspect(grid(2, 3, 96, 64), LIMITS).width == 96
    for numbers in ((2, 3, 97, 64), (2, 3, 64, 64), (3, 2, 96, 64), (1, 3, 96, 64), (2, 3, 96, 0)):
        with pytest.raises(PictureCorrupt):
            inspect(grid(*numbers), LIMITS)


def test_a_heic_larger_than_the_limits_by_its_header() -> None:
    file = heic(face_like())
    file.properties[1] = size_of(60_000, 60_000)
    with pytest.raises(PictureOutOfRange, match="60000x60000"):
        inspect(file.to_bytes(), LIMITS)


def test_items_that_cannot_be() -> None:
    crossed = heic(face_like())
    crossed.kinds[1] = b"vvc1"
    with pytest.raises(FormatNotAccepted, match="the coder vvc1"):
        inspect(crossed.to_bytes(), LIMITS)
    lost = heic(face_like())
    lost.primary = 77
    with pytest.raises(PictureCorrupt, match="not there"):
        inspect(lost.to_bytes(), LIMITS)
    shared = heic_grid(face_like(), 32)
    shared.data[100] = shared.data[100] + bytes(4000)
    shared.derived[1] = [100] * 6
    with pytest.raises(PictureCorrupt, match="on top of each other"):
        inspect(shared.to_bytes(), LIMITS)


def test_every_format_has_a_reader() -> None:
    assert {name.split()[0] for name in SAMPLES} == set(READERS) == LIMITS.formats


def test_the_web_floor_gets_no_image_library() -> None:
    ask = (
        "import sys, pipeline.media.pictures; "
        "print([name for name in ('cv2', 'PIL', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
