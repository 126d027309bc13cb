"""The picture formats: their magic bytes and the readers of their headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from pipeline.media.formats import bmp, gif, jpeg, png, tiff, webp
from pipeline.media.formats.base import PictureLayout

PictureFormat = Literal["jpeg", "png", "bmp", "gif", "tiff", "webp"]


def picture_format(data: bytes) -> PictureFormat | None:
    """The format by its magic bytes; None for an unknown format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


_MAGIC: tuple[tuple[bytes, PictureFormat], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (png.SIGNATURE, "png"),
    (b"BM", "bmp"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
)

READERS: dict[PictureFormat, Callable[[bytes], PictureLayout]] = {
    "jpeg": jpeg.read,
    "png": png.read,
    "bmp": bmp.read,
    "gif": gif.read,
    "tiff": tiff.read,
    "webp": webp.read,
}
