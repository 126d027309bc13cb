"""Colours of every kind of file come out right, or the file is refused: never wrong ones.

Files are written here or by Pillow, and compared with their known content.
"""

from __future__ import annotations

import itertools
import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from pipeline.config.settings import Settings
from pipeline.errors import FaceError, NotAPicture, PictureCorrupt
from pipeline.media.pictures import PictureLimits
from pipeline.stages.decode import decode
from tests.unit import writers
from tests.unit.pictures import HEIGHT, WIDTH, encoded, face_like, image
from tests.unit.writers import Samples

LIMITS = PictureLimits.from_settings(Settings())
BGR = face_like().astype(np.int64)
RGB = BGR[:, :, ::-1]
GREY = np.asarray(image("L")).astype(np.int64)[:, :, None]
FADE = np.tile(np.linspace(0, 255, WIDTH).astype(np.int64), (HEIGHT, 1))[:, :, None]
CMYK = np.concatenate([255 - RGB, np.zeros_like(GREY)], axis=2)


def check(data: bytes, expected: NDArray[Any], mean: float = 0.0, most: float = 1.0) -> None:
    """The picture differs from ``expected`` (BGR, or grey) by ``mean`` and ``most``."""
    off = np.abs(decode(data, LIMITS).astype(np.int64) - expected)
    assert off.mean() <= mean + 0.5 * (most > 0)
    assert off.max() <= most


def shrunk(samples: Samples, bits: int) -> Samples:
    """Samples of 8 bits in fewer, or in 16."""
    return samples * 257 if bits == 16 else samples >> (8 - bits)


def spread(samples: Samples, bits: int) -> Samples:
    return samples // 257 if bits == 16 else samples * 255 // ((1 << bits) - 1)


def over_white(colours: Samples, alpha: Samples) -> Samples:
    return (colours * alpha + 255 * (255 - alpha) + 127) // 255


def odd_palette(bits: int) -> tuple[Samples, Samples, Samples]:
    """(indexes, the palette as (colours, 3) in RGB, the picture in BGR)."""
    ramp = np.arange(1 << bits) * 255 // ((1 << bits) - 1)
    palette = np.stack([255 - ramp, ramp, ramp // 2], axis=1)
    indexes = shrunk(GREY, bits)
    return indexes, palette, palette[indexes[:, :, 0]][:, :, ::-1]


# PNG ---------------------------------------------------------------------------

PNG_KINDS = [*itertools.product((1, 2, 4, 8, 16), (False, True))]


@pytest.mark.parametrize(("bits", "interlaced"), PNG_KINDS)
def test_png(bits: int, interlaced: bool) -> None:
    grey = shrunk(GREY, bits)
    shown = spread(grey, bits)
    check(writers.png(grey, bits, 0, interlaced=interlaced), shown)
    clear = int(grey[0, 0, 0])
    mark = [(b"tRNS", struct.pack(">H", clear))]
    check(
        writers.png(grey, bits, 0, interlaced=interlaced, chunks=mark),
        np.where(grey == clear, 255, shown),
    )
    if bits >= 8:
        check_deep_png(bits, interlaced)
    if bits <= 8:
        check_png_palette(bits, interlaced)


def check_deep_png(bits: int, interlaced: bool) -> None:
    grey, colour, fade = (shrunk(samples, bits) for samples in (GREY, RGB, FADE))
    check(writers.png(colour, bits, 2, interlaced=interlaced), BGR)
    mark = [(b"tRNS", struct.pack(">3H", *colour[0, 0].tolist()))]
    clear = (colour == colour[0, 0]).all(axis=2)[:, :, None]
    check(
        writers.png(colour, bits, 2, interlaced=interlaced, chunks=mark),
        np.where(clear, 255, BGR),
    )
    with_alpha = np.concatenate([grey, fade], axis=2)
    check(writers.png(with_alpha, bits, 4, interlaced=interlaced), over_white(GREY, FADE))
    with_alpha = np.concatenate([colour, fade], axis=2)
    check(writers.png(with_alpha, bits, 6, interlaced=interlaced), over_white(BGR, FADE))


def check_png_palette(bits: int, interlaced: bool) -> None:
    indexes, palette, shown = odd_palette(bits)
    chunks = [(b"PLTE", palette.astype(np.uint8).tobytes())]
    check(writers.png(indexes, bits, 3, interlaced=interlaced, chunks=chunks), shown)
    alpha = np.linspace(0, 255, 1 << bits).astype(np.int64)
    chunks.append((b"tRNS", alpha.astype(np.uint8).tobytes()))
    check(
        writers.png(indexes, bits, 3, interlaced=interlaced, chunks=chunks),
        over_white(shown, alpha[indexes]),
    )


# TIFF --------------------------------------------------------------------------

SHAPES: list[dict[str, Any]] = [
    {}, {"rows_per_strip": 7}, {"tile": 16}, {"tile": 48}, {"tile": 64}, {"deflate": True},
    {"deflate": True, "tile": 32},
]
ALPHA, PREMULTIPLIED = [(0x152, 3, [2])], [(0x152, 3, [1])]


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tiff(shape: dict[str, Any], big_endian: bool) -> None:
    shape = {**shape, "big_endian": big_endian}
    for bits in (1, 2, 4, 8, 16):
        grey, white = shrunk(GREY, bits), (1 << bits) - 1
        check(writers.tiff(grey, bits, 1, **shape), spread(grey, bits))
        if bits < 16 or not {"tile", "deflate"} & shape.keys():
            check(writers.tiff(white - grey, bits, 0, **shape), spread(grey, bits))
    for bits in (8, 16):
        colour, fade = shrunk(RGB, bits), shrunk(FADE, bits)
        check(writers.tiff(colour, bits, 2, **shape), BGR)
        check(writers.tiff(shrunk(CMYK, bits), bits, 5, **shape), BGR)
        mixed: Samples = np.concatenate([colour, fade], axis=2)
        check(writers.tiff(mixed, bits, 2, extra=ALPHA, **shape), over_white(BGR, FADE))
        faded: Samples = shrunk(RGB * FADE // 255, bits)
        mixed = np.concatenate([faded, fade], axis=2)
        off = over_white(BGR, FADE)
        # Colours that were multiplied by a small alpha have lost digits.
        check(writers.tiff(mixed, bits, 2, extra=PREMULTIPLIED, **shape), off, 1, 3)
    for bits in (1, 2, 4, 8):
        indexes, palette, shown = odd_palette(bits)
        colours = [(0x140, 3, (palette.T * 257).reshape(-1).tolist())]
        check(writers.tiff(indexes, bits, 3, extra=colours, **shape), shown)
    veiled = np.concatenate([GREY, FADE], axis=2)
    check(writers.tiff(veiled, 8, 1, extra=ALPHA, **shape), over_white(GREY, FADE))


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_of_planes(bits: int) -> None:
    check(writers.tiff(shrunk(RGB, bits), bits, 2, planar=True), BGR)
    check(writers.tiff(shrunk(CMYK, 8), 8, 5, planar=True), BGR)
    check(writers.tiff(shrunk(GREY, bits), bits, 1, planar=True), GREY)


@pytest.mark.parametrize(
    "compression", ["tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "jpeg"]
)
def test_compressed_tiff(compression: str) -> None:
    off = 4.0 if compression == "jpeg" else 0.0
    for mode in ("RGB", "L", "CMYK", "YCbCr", "RGBA"):
        data = encoded(image(mode), "tiff", compression=compression)
        expected: Samples = RGB if mode != "L" else GREY
        if mode == "RGBA":
            expected = over_white(RGB, np.asarray(image("RGBA"))[:, :, 3:].astype(np.int64))
        lossy = off or (1.0 if mode == "YCbCr" else 0.0)
        check(data, expected[:, :, ::-1], mean=lossy, most=80 if off else 4 * lossy + 1)


def lab() -> Image.Image:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    shown = ImageCms.applyTransform(
        image(), ImageCms.buildTransform(*profiles, "RGB", "LAB")
    )
    assert shown is not None
    return shown


FEW = np.concatenate([GREY, GREY, GREY, GREY], axis=2)
FLOATS = [(0x153, 3, [3])]


@pytest.mark.parametrize(
    "data",
    [
        encoded(lab(), "tiff"),
        encoded(image("F"), "tiff"),
        encoded(image("I"), "tiff"),
        encoded(image(), "tiff", compression="lzma"),
        encoded(image(), "tiff", compression="zstd"),
        writers.tiff(GREY, 8, 1, extra=[(0x153, 3, [2])]),
        writers.tiff(GREY, 16, 1, extra=FLOATS),
        writers.tiff(FEW, 8, 2, planar=True, extra=ALPHA),
        writers.tiff(np.concatenate([GREY, FADE], axis=2), 16, 1, extra=ALPHA),
        writers.tiff(np.concatenate([GREY, FADE], axis=2), 8, 0, extra=ALPHA),
        writers.tiff(np.concatenate([CMYK, FADE], axis=2), 8, 5, extra=ALPHA),
        writers.tiff(GREY >> 4, 4, 3, extra=[(0x140, 3, list(range(48)))]),
        writers.tiff(GREY, 16, 0, tile=64),
        writers.tiff(RGB, 8, 32803),
        b"II+\0\x08\0\0\0" + bytes(8) + encoded(image(), "tiff"),
    ],
    ids=["lab", "float", "int32", "lzma", "zstd", "signed", "half", "planes", "grey-alpha-16",
         "white-alpha", "cmyk-alpha", "palette-8", "white-16-tiles", "sensor", "bigtiff"],
)
def test_kinds_of_tiff_that_are_refused(data: bytes) -> None:
    with pytest.raises(NotAPicture):
        decode(data, LIMITS)


# BMP and GIF -------------------------------------------------------------------


@pytest.mark.parametrize("upward", [True, False])
def test_bmp(upward: bool) -> None:
    height = HEIGHT if upward else -HEIGHT

    def rows(samples: Samples, bits: int) -> bytes:
        return writers.bmp_rows(samples if upward else samples[::-1], bits)

    for bits in (1, 4, 8):
        indexes, palette, shown = odd_palette(bits)
        table = np.pad(palette[:, ::-1], ((0, 0), (0, 1))).astype(np.uint8).tobytes()
        check(writers.bmp(rows(indexes, bits), WIDTH, height, bits, palette=table), shown)
    check(writers.bmp(rows(BGR, 8), WIDTH, height, 24), BGR)
    # The fourth byte is padding: hardly a program writes transparency there.
    mixed = np.concatenate([BGR, FADE], axis=2)
    masks = (0xFF0000, 0xFF00, 0xFF)
    check(writers.bmp(rows(mixed, 8), WIDTH, height, 32), BGR)
    check(writers.bmp(rows(mixed, 8), WIDTH, height, 32, compression=3, masks=masks), BGR)
    with pytest.raises(NotAPicture):
        decode(writers.bmp(rows(mixed, 8), WIDTH, height, 32, compression=3, masks=(1, 2, 4)),
               LIMITS)
    blue, green, red = (BGR[:, :, index : index + 1] for index in range(3))
    check(writers.bmp(rows(red >> 3 << 10 | green >> 3 << 5 | blue >> 3, 16), WIDTH, height, 16),
          BGR, mean=4, most=8)
    masks = (0xF800, 0x7E0, 0x1F)
    packed = rows(red >> 3 << 11 | green >> 2 << 5 | blue >> 3, 16)
    check(writers.bmp(packed, WIDTH, height, 16, compression=3, masks=masks), BGR, 4, 8)


def test_bmp_of_runs() -> None:
    ramp = np.arange(256)
    table = np.stack([ramp, ramp, ramp, 0 * ramp], axis=1).astype(np.uint8).tobytes()
    coarse = GREY >> 2 << 2
    runs = writers.run_lengths(coarse)
    check(writers.bmp(runs, WIDTH, HEIGHT, 8, compression=1, palette=table), coarse)
    # Encoders may leave out the rest: it is background.
    expected = np.zeros((HEIGHT, WIDTH, 1))
    expected[-1, :5] = 7
    check(writers.bmp(b"\5\7\0\1", WIDTH, HEIGHT, 8, compression=1, palette=table), expected)
    expected[:] = 0
    expected[-11, 48:88] = 200
    jump = b"\0\2" + bytes([48, 10, 40, 200]) + b"\0\1"
    check(writers.bmp(jump, WIDTH, HEIGHT, 8, compression=1, palette=table), expected)


GREYS = np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes()


def control(flags: int, clear: int = 0) -> bytes:
    """GIF's graphic control extension; bit 0 of ``flags``: ``clear`` is transparent."""
    return b"\x21\xf9\4" + bytes([flags, 0, 0, clear]) + b"\0"


def test_gif() -> None:
    screen = (WIDTH, HEIGHT)
    check(writers.gif([(GREY, 0, 0)], screen, GREYS), GREY)
    check(encoded(image("L"), "gif", interlace=1), GREY)
    two = [(GREY, 0, 0), (255 - GREY, 0, 0)]
    check(writers.gif(two, screen, GREYS, control=control(4)), GREY)
    clear = int(GREY[0, 0, 0])
    check(
        writers.gif([(GREY, 0, 0)], screen, GREYS, control=control(1, clear)),
        np.where(clear == GREY, 255, GREY),
    )


def test_a_gif_frame_that_is_smaller_than_its_screen() -> None:
    part = [(GREY[10:40, 20:60], 20, 10)]
    expected = np.full_like(GREY, 77)
    expected[10:40, 20:60] = GREY[10:40, 20:60]
    screen = (WIDTH, HEIGHT)
    check(writers.gif(part, screen, GREYS, background=77), expected)
    unused = min(set(range(256)) - {77, *part[0][0].flatten().tolist()})
    expected = np.full_like(GREY, 255)
    expected[10:40, 20:60] = GREY[10:40, 20:60]
    clear = control(1, unused)
    check(writers.gif(part, screen, GREYS, background=77, control=clear), expected)


# JPEG --------------------------------------------------------------------------

ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"
FINE: dict[str, Any] = {"quality": 97, "subsampling": 0}


def jpeg_of(*planes: NDArray[Any], transform: int) -> bytes:
    """A JPEG of these components, with Adobe's note of their ``transform``."""
    bands = [Image.fromarray(np.ascontiguousarray(plane.astype(np.uint8))) for plane in planes]
    if len(bands) == 3:  # Pillow writes YCbCr as it is
        data = encoded(Image.merge("YCbCr", bands), "jpeg", **FINE)
        return data[:2] + ADOBE + bytes([transform]) + data[data.index(b"\xff\xdb") :]
    inverted = [band.point(lambda value: 255 - value) for band in bands]  # Pillow turns it back
    whole = bytearray(encoded(Image.merge("CMYK", inverted), "jpeg", **FINE))
    whole[whole.index(b"Adobe") + 11] = transform
    return bytes(whole)


def planes(samples: NDArray[Any]) -> list[NDArray[Any]]:
    return [samples[:, :, index] for index in range(samples.shape[2])]


def test_jpeg_of_inks() -> None:
    # Adobe's files hold ink inverted: 255 is none.
    full = np.full((HEIGHT, WIDTH), 255)
    check(jpeg_of(*planes(RGB), full, transform=0), BGR, 1.5, 16)
    black = [full, full, full, GREY[:, :, 0]]
    check(jpeg_of(*black, transform=0), GREY, 1.5, 16)
    negative = Image.fromarray((255 - RGB).astype(np.uint8)).convert("YCbCr")
    check(jpeg_of(*planes(np.asarray(negative)), full, transform=2), BGR, 2, 16)


def test_jpeg_of_three_colours() -> None:
    check(jpeg_of(*planes(RGB), transform=0), BGR, 1.5, 16)
    check(encoded(image(), "jpeg", keep_rgb=True, **FINE), BGR, 1.5, 16)
    check(jpeg_of(*planes(np.asarray(image("YCbCr"))), transform=1), BGR, 1.5, 16)


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"restart_marker_blocks": 1}, {"restart_marker_rows": 1},
     {"icc_profile": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()}],
    ids=lambda options: next(iter(options)),
)
def test_ways_to_write_a_jpeg(options: dict[str, Any]) -> None:
    check(encoded(image(), "jpeg", **FINE, **options), BGR, 1.5, 16)


@pytest.mark.parametrize("kind", [0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCF])
def test_kinds_of_jpeg_that_are_refused(kind: int) -> None:
    data = bytearray(encoded(image(), "jpeg"))
    data[data.index(b"\xff\xc0") + 1] = kind
    with pytest.raises(NotAPicture, match="kind of JPEG is not taken"):
        decode(bytes(data), LIMITS)


@pytest.mark.parametrize(("place", "value"), [(4, 12), (4, 16), (9, 2), (9, 5)])
def test_jpeg_of_other_depths_and_components(place: int, value: int) -> None:
    data = bytearray(encoded(image(), "jpeg"))
    data[data.index(b"\xff\xc0") + place] = value
    with pytest.raises((NotAPicture, PictureCorrupt)):
        decode(bytes(data), LIMITS)


# Two formats in one file -------------------------------------------------------

ZIP = b"PK\x03\x04" + bytes(26) + b"PK\x05\x06" + bytes(18)
SCRIPT = b"<?php system($_GET['c']); ?><script>alert(1)</script>"


@pytest.mark.parametrize("behind", [ZIP, SCRIPT, b"%PDF-1.7\n%%EOF", encoded(image("L"), "png")])
@pytest.mark.parametrize("file_format", ["jpeg", "png", "gif", "bmp", "webp"])
def test_what_stands_behind_a_picture_is_not_looked_at(file_format: str, behind: bytes) -> None:
    data = encoded(image(), file_format)
    np.testing.assert_array_equal(decode(data + behind, LIMITS), decode(data, LIMITS))


@pytest.mark.parametrize("before", [ZIP, SCRIPT, b"%PDF-1.7\n", b"\n", b"\0", b"GIF89a"])
@pytest.mark.parametrize("file_format", ["jpeg", "png", "bmp", "webp", "tiff"])
def test_a_file_is_what_it_begins_with(file_format: str, before: bytes) -> None:
    with pytest.raises(FaceError) as caught:
        decode(before + encoded(image(), file_format), LIMITS)
    assert caught.value.code in ("not_a_picture", "picture_corrupt")


def test_scripts_inside_a_picture_do_no_harm() -> None:
    comment = b"\x21\xfe" + writers.sub_blocks(SCRIPT * 9)
    check(writers.gif([(GREY, 0, 0)], (WIDTH, HEIGHT), GREYS, blocks=comment), GREY)
    check(writers.png(RGB, 8, 2, chunks=[(b"tEXt", b"Comment\0" + SCRIPT)]), BGR)
    jpeg = encoded(image(), "jpeg", comment=SCRIPT, **FINE)
    assert SCRIPT in jpeg
    check(jpeg, BGR, 1.5, 16)
