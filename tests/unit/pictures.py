"""Pictures made on the spot, in every format and mode that the service takes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pipeline.types import Picture
from tests.unit.heif_files import heic, heic_grid

WIDTH, HEIGHT = 96, 64

FINE_AVIF = {"quality": 100, "subsampling": "4:4:4", "speed": 8, "max_threads": 1}


def face_like() -> Picture:
    """A drawn face that looks different from each of eight sides; BGR."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    picture = np.stack([across * 2, down * 3, 200 - across - down], axis=2).astype(np.uint8)
    cv2.ellipse(picture, (40, 30), (20, 26), 10, 0, 360, (150, 180, 230), -1)
    cv2.circle(picture, (33, 22), 4, (40, 40, 40), -1)
    cv2.circle(picture, (48, 24), 3, (90, 40, 20), -1)
    cv2.line(picture, (34, 44), (48, 41), (60, 60, 200), 2)
    return picture


def image(mode: str = "RGB") -> Image.Image:
    """The drawn face in one of Pillow's modes; the left of it fades out in RGBA and LA."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image("L")).astype(np.uint16) * 257)
    rgb = Image.fromarray(np.ascontiguousarray(face_like()[:, :, ::-1]))
    if mode in ("RGBA", "LA"):
        fade = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8), (HEIGHT, 1))
        rgb.putalpha(Image.fromarray(fade))
    return rgb.convert(mode)


def encoded(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    """The picture as a file."""
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def turned(file_format: str, orientation: int) -> bytes:
    """The drawn face with an EXIF orientation; its pixels are stored as they are."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if file_format == "webp" else {}
    return encoded(image(), file_format, exif=exif, **lossless)


def png_bomb(side: int, rows: int | None = None) -> bytes:
    """A grey PNG of ``side`` x ``side`` pixels, a thousandth of that in bytes; valid
    when it holds all its ``rows``."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side)
    count = side if rows is None else rows
    body = b"".join(packer.compress(row) for _ in range(count)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
        + png_chunk(b"IDAT", body)
        + png_chunk(b"IEND", b"")
    )


def png_chunk(name: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def samples() -> dict[str, bytes]:
    """One file of each kind, by a speaking name; all show the drawn face."""
    colour, grey, palette = image(), image("L"), image("P")
    deep = cv2.imencode(".png", face_like().astype(np.uint16) * 257)[1].tobytes()
    return {
        "jpeg": encoded(colour, "jpeg", quality=95),
        "jpeg progressive": encoded(colour, "jpeg", quality=95, progressive=True),
        "jpeg grey": encoded(grey, "jpeg", quality=95),
        "jpeg cmyk": encoded(image("CMYK"), "jpeg", quality=95),
        "png": encoded(colour, "png"),
        "png grey": encoded(grey, "png"),
        "png palette": encoded(palette, "png"),
        "png bilevel": encoded(image("1"), "png"),
        "png grey 16": encoded(image("I;16"), "png"),
        "png colour 16": deep,
        "png animated": encoded(
            colour, "png", save_all=True, append_images=[colour.rotate(90)]
        ),
        "bmp": encoded(colour, "bmp"),
        "bmp grey": encoded(grey, "bmp"),
        "bmp palette": encoded(palette, "bmp"),
        "gif": encoded(colour, "gif"),
        "gif animated": encoded(colour, "gif", save_all=True, append_images=[colour.rotate(90)]),
        "tiff": encoded(colour, "tiff"),
        "tiff lzw": encoded(colour, "tiff", compression="tiff_lzw"),
        "tiff grey 16": encoded(image("I;16"), "tiff"),
        "tiff cmyk": encoded(image("CMYK"), "tiff"),
        "tiff fax": encoded(image("1"), "tiff", compression="group4"),
        "tiff pages": encoded(colour, "tiff", save_all=True, append_images=[colour.rotate(90)]),
        "webp": encoded(colour, "webp", quality=95),
        "webp lossless": encoded(colour, "webp", lossless=True),
        "webp animated": encoded(
            colour, "webp", lossless=True, save_all=True, append_images=[colour.rotate(90)]
        ),
        "png rgba": encoded(image("RGBA"), "png"),
        "png grey alpha": encoded(image("LA"), "png"),
        "webp rgba": encoded(image("RGBA"), "webp", lossless=True),
        "tiff rgba": encoded(image("RGBA"), "tiff"),
        "heic": heic(face_like(), form="yuv444p").to_bytes(),
        "heic grid": heic_grid(face_like(), 32, form="yuv444p").to_bytes(),
        "heic deep": heic(face_like(), form="yuv444p10le", brand=b"heix").to_bytes(),
        "avif": encoded(colour, "avif", **FINE_AVIF),
        "avif animated": encoded(
            colour, "avif", save_all=True, append_images=[colour.rotate(90)], **FINE_AVIF
        ),
        "avif rgba": encoded(image("RGBA"), "avif", **FINE_AVIF),
    }
