"""The picture formats: their magic bytes and the readers of their headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pipeline.media.formats import bmp, gif, heif, jpeg, png, tiff, webp
from pipeline.media.formats.base import PictureLayout
from pipeline.media.iso_boxes import brands

PictureFormat = Literal["jpeg", "png", "bmp", "gif", "tiff", "webp", "heic", "avif"]


# As a client reads them.
SPOKEN: dict[PictureFormat, str] = {
    "jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "gif": "GIF", "tiff": "TIFF", "webp": "WebP",
    "heic": "HEIC", "avif": "AVIF",
}


def picture_format(data: bytes) -> PictureFormat | None:
    """The format by its magic bytes; None for an unknown format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    named = next((name for magic, name in _MAGIC if data.startswith(magic)), None)
    return named or next((_BRANDS[each] for each in brands(data) if each in _BRANDS), None)


_MAGIC: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\xff\xd8", "jpeg"),
    (png.SIGNATURE, "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)

# Phones name `heic` or `heix` (10 bits) beside the neutral `mif1`, bursts `hevc` beside `msf1`.
_BRANDS: dict[bytes, PictureFormat] = {
    b"avif": "avif", b"avis": "avif", b"heic": "heic", b"heix": "heic", b"heim": "heic",
    b"heis": "heic", b"hevc": "heic", b"hevx": "heic",
}

READERS: dict[PictureFormat, Callable[[bytes], PictureLayout]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "bmp": bmp.read,
    "gif": gif.read,
    "tiff": tiff.read,
    "webp": webp.read,
    "heic": heif.read_heic,
    "avif": heif.read_avif,
}
