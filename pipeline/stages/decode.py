"""Decodes a file's bytes to upright pixels.

OpenCV decodes, so that the pixels equal those of ``cv2.imread``. This module corrects two
things: it blends transparency over white (OpenCV shows the colour beneath), and one function
applies the EXIF orientation for every format (OpenCV always applies it to TIFF and never to
GIF and BMP).
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    TiffImagePlugin,  # noqa: F401  # else imported at the first TIFF, where no file can be opened
)

from pipeline.errors import PictureCorrupt
from pipeline.media.formats import gif, png, tiff
from pipeline.media.picture_formats import PictureFormat
from pipeline.media.pictures import PictureHeader, PictureLimits, inspect
from pipeline.sandbox.messages import Decoded
from pipeline.sandbox.sandbox import Sandbox
from pipeline.types import JsonObject, Picture

Pixels = NDArray[np.uint8]

WHITE = 255

# The function that the sandbox runs.
DECODE_FUNCTION = "pipeline.stages.decode:decode_here"


def decode(
    data: bytes, limits: PictureLimits, sandbox: Sandbox | None = None, *, borrow: bool = False
) -> Picture:
    """The upright picture in ``data``: BGR, uint8, shape (height, width, 3).

    GIF and WebP give their first frame, TIFF its first page. 16-bit samples keep their upper
    byte. Colour profiles and bytes after the picture's end are ignored. Without a
    ``sandbox`` it decodes in this process, which is only for the operator's own pictures. A
    borrowed picture lies in the sandbox's memory and is valid until its next task. Raises as
    ``inspect`` does, and ``PictureCorrupt`` when the pixels are truncated or damaged, or cost
    more than their size explains.
    """
    return decode_inspected(data, inspect(data, limits), sandbox, borrow=borrow)


def decode_inspected(
    data: bytes, header: PictureHeader, sandbox: Sandbox | None = None, *, borrow: bool = False
) -> Picture:
    """As ``decode``, for a file with an inspected ``header``."""
    if sandbox is None:
        return _decode(data, header)
    width, height = header.upright_size
    decoded = sandbox.run(
        DECODE_FUNCTION, data, asdict(header), output_bytes=width * height * 3, borrow=borrow
    )
    for picture in decoded.arrays:
        if picture.shape == (height, width, 3) and picture.dtype == np.uint8:
            return picture
    raise PictureCorrupt


def decode_here(data: bytes, header: JsonObject) -> Decoded:
    """As ``decode``, inside the sandbox, for a header that is within the limits."""
    cv2.setNumThreads(1)  # the sandbox forbids threads
    return Decoded([_decode(data, PictureHeader(**header))])


def _decode(data: bytes, header: PictureHeader) -> Picture:
    try:
        pixels = _READERS[header.format](data, header)
    except MemoryError as error:
        raise PictureCorrupt("The picture needs more memory than its size explains.") from error
    except (ValueError, struct.error) as error:  # from the readers of structures
        raise PictureCorrupt from error
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise PictureCorrupt
    return np.ascontiguousarray(_turn_upright(pixels, header.orientation))


# Readers -----------------------------------------------------------------------


def _opaque(data: bytes, header: PictureHeader) -> Pixels | None:
    return _imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def _maybe_transparent(data: bytes, header: PictureHeader) -> Pixels | None:
    pixels = _imdecode(data, cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return None
    if pixels.ndim == 2:
        return _as_bytes(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    return _over_white(pixels) if pixels.shape[2] == 4 else pixels


def _png(data: bytes, header: PictureHeader) -> Pixels | None:
    plain = png.only_pixels(data)
    clear = png.transparent_grey(data)
    if clear is None:
        return _maybe_transparent(plain, header)
    # OpenCV handles the transparent colour of every other kind of PNG.
    stored = _stored(plain, cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2:
        return None
    grey = np.where(stored == clear, np.uint8(WHITE), _as_bytes(stored))
    return _as_bytes(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def _gif(data: bytes, header: PictureHeader) -> Pixels | None:
    return _maybe_transparent(gif.first_frame(data), header)


def _tiff(data: bytes, header: PictureHeader) -> Pixels | None:
    plain = tiff.only_first_page(data)
    if tiff.first_page(data).beyond_opencv:
        return _with_pillow(plain, header)
    return _opaque(plain, header)


_READERS: dict[PictureFormat, Callable[[bytes, PictureHeader], Pixels | None]] = {
    "jpeg": _opaque,
    "bmp": _opaque,
    "png": _png,
    "gif": _gif,
    "webp": _maybe_transparent,
    "tiff": _tiff,
}


def _imdecode(data: bytes, flags: int) -> Pixels | None:
    stored = _stored(data, flags)
    return None if stored is None else _as_bytes(stored)


def _stored(data: bytes, flags: int) -> NDArray[Any] | None:
    """The samples as OpenCV decodes them, 8 or 16 bits each."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise PictureCorrupt from error


def _with_pillow(data: bytes, header: PictureHeader) -> Pixels | None:
    # Pillow warns of damage that it can work around; ignore it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[header.format.upper()]) as image:
                if image.size != (header.width, header.height):
                    return None
                if image.mode.startswith("I;16"):  # Pillow would clip it to 255
                    grey = _as_bytes(np.asarray(image).astype(np.uint16))
                    return _as_bytes(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
                rgba = np.asarray(image.convert("RGBA"), dtype=np.uint8)
        except Exception as error:  # Pillow raises any kind of error for hostile bytes
            raise PictureCorrupt from error
    return _over_white(rgba[:, :, [2, 1, 0, 3]])


# Pixels ------------------------------------------------------------------------


def _as_bytes(stored: NDArray[Any]) -> Pixels:
    """The upper byte of 16-bit samples, as OpenCV itself reduces them."""
    return (stored >> 8).astype(np.uint8) if stored.dtype == np.uint16 else stored


def _over_white(bgra: Pixels) -> Pixels:
    """Blends transparency over white, as viewers do."""
    colours = np.ascontiguousarray(bgra[:, :, :3])
    if bgra[:, :, 3].min() == WHITE:
        return colours
    for row, alpha in zip(colours, bgra[:, :, 3:], strict=True):  # by rows, to save memory
        blended = row * alpha.astype(np.uint16) + WHITE * (WHITE - alpha.astype(np.uint16))
        row[:] = (blended + WHITE // 2) // WHITE
    return colours


# EXIF orientation: (whether to transpose first, then the code for cv2.flip).
_TURNS: dict[int, tuple[bool, int | None]] = {
    1: (False, None), 2: (False, 1), 3: (False, -1), 4: (False, 0),
    5: (True, None), 6: (True, 1), 7: (True, -1), 8: (True, 0),
}


def _turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Applies the EXIF orientation 1 to 8 (CIPA DC-008, tag 0x0112).

    OpenCV's transpose takes a tenth of NumPy's time on a phone's picture.
    """
    transposed, flip = _TURNS[orientation]
    if transposed:
        pixels = _as_bytes(cv2.transpose(pixels))
    return pixels if flip is None else _as_bytes(cv2.flip(pixels, flip))
