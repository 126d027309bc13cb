"""Decodes a file's bytes to upright pixels.

OpenCV decodes, so that the pixels equal those of ``cv2.imread``; FFmpeg decodes HEIC, Pillow AVIF
and unusual TIFF. This module corrects two things: it blends transparency over white (OpenCV shows
the colour beneath), and one function applies the EXIF orientation for every format (OpenCV always
applies it to TIFF and never to GIF and BMP).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import (
    Image,
    TiffImagePlugin,  # noqa: F401  # else imported at the first TIFF, where no file can be opened
)

from pipeline.errors import PictureCorrupt
from pipeline.media.formats import bmp, gif, heif, jpeg, png, tiff
from pipeline.media.formats.base import BrokenPicture
from pipeline.media.picture_formats import SPOKEN, PictureFormat
from pipeline.media.pictures import PictureHeader, PictureLimits, inspect
from pipeline.sandbox.messages import Decoded
from pipeline.sandbox.sandbox import Sandbox
from pipeline.types import JsonObject, Picture

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

Pixels = NDArray[np.uint8]

WHITE = 255

# Grey levels by which a block that a JPEG's decoder makes up differs from mid-grey: none but for
# rounding.
MID_GREY, ROUNDING = 128, 2
# The lowest row of blocks may be missing where it is at most so large a part of the picture.
MOST_MISSING = 1 / 8

# Pixels a side of HEVC's largest coding block.
LARGEST_BLOCK = 64

# The function that the sandbox runs.
DECODE_FUNCTION = "pipeline.stages.decode:decode_here"


def decode(
    data: bytes, limits: PictureLimits, sandbox: Sandbox | None = None, *, borrow: bool = False
) -> Picture:
    """The upright picture in ``data``: BGR, uint8, shape (height, width, 3).

    GIF, WebP and AVIF give their first frame, TIFF its first page, HEIC its primary picture.
    16-bit samples keep their upper byte. Colour profiles and bytes after the picture's end are
    ignored. A JPEG whose end is missing is shown when at most its lowest row of blocks is lost.
    Without a ``sandbox`` it decodes in this process, which is only for the operator's own
    pictures. A borrowed picture lies in the sandbox's memory and is valid until its next task.
    Raises as ``inspect`` does, and ``PictureCorrupt`` when the pixels are truncated or damaged,
    or cost more than their size explains.
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


def prepare_decoder() -> None:
    """Import what HEIC and AVIF need, before the sandbox forbids it."""
    import av  # noqa: F401
    from PIL import AvifImagePlugin

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # the sandbox forbids threads


def decode_here(data: bytes, header: JsonObject) -> Decoded:
    """As ``decode``, inside the sandbox, for a header that is within the limits."""
    cv2.setNumThreads(1)  # the sandbox forbids threads
    return Decoded([_decode(data, PictureHeader(**header))])


def _decode(data: bytes, header: PictureHeader) -> Picture:
    try:
        pixels = _READERS[header.format](data, header)
    except MemoryError as error:
        raise PictureCorrupt("The picture needs more memory than its size explains.") from error
    except (BrokenPicture, ValueError, cv2.error) as error:
        raise _damaged(header) from error
    if pixels is None or pixels.shape[:2] != (header.height, header.width):
        raise _damaged(header)
    return np.ascontiguousarray(_turn_upright(pixels, header.orientation))


def _damaged(header: PictureHeader) -> PictureCorrupt:
    name = SPOKEN[header.format]
    return PictureCorrupt(f"The {name} is cut off or damaged: its pixels cannot all be decoded.")


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


def _jpeg(data: bytes, header: PictureHeader) -> Pixels | None:
    """Only the first picture of the file. One whose end is missing counts as whole when it is
    there down to its lowest row of blocks: cameras and messengers lose the last bytes."""
    found = jpeg.first_picture(data)
    if found.end is not None:
        return _opaque(data[: found.end], header)
    if not found.shown_without_end:
        return None
    pixels = _opaque(data + jpeg.END, header)
    return pixels if pixels is not None and _reaches_end(pixels, found) else None


def _reaches_end(pixels: Pixels, found: jpeg.JpegPicture) -> bool:
    """Whether the lowest row of blocks is there, or the one above if little is missing. A
    decoder makes missing blocks grey."""
    height, width = pixels.shape[:2]
    across, down = found.mcu
    left, top = (width - 1) // across * across, (height - 1) // down * down
    if height - top <= height * MOST_MISSING:
        top, height = top - down, top
    grey = cv2.cvtColor(pixels[top:height, left:], cv2.COLOR_BGR2GRAY)
    return int(np.abs(grey.astype(np.int16) - MID_GREY).max()) > ROUNDING


def _bmp(data: bytes, header: PictureHeader) -> Pixels | None:
    return _opaque(data + bytes(bmp.MAX_PADDING), header)


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
        return _with_pillow(plain, header, (header.width, header.height))
    return _opaque(plain, header)


def _avif(data: bytes, header: PictureHeader) -> Pixels | None:
    found = heif.picture(data)
    return _cropped(_with_pillow(data, header, found.full), found)


def _heic(data: bytes, header: PictureHeader) -> Pixels | None:
    """FFmpeg decodes the tiles: libheif needs threads, which the sandbox forbids."""
    found = heif.picture(data)
    whole = np.empty((found.full[1], found.full[0], 3), np.uint8)
    for number, tile in enumerate(found.tiles):
        row, column = divmod(number, found.columns)
        top, left = row * tile.height, column * tile.width
        part = whole[top : top + tile.height, left : left + tile.width]
        pixels = _hevc(tile, found)
        if pixels is None:
            return None
        part[:] = pixels[: part.shape[0], : part.shape[1]]
    return _cropped(whole, found)


def _hevc(tile: heif.CodedTile, found: heif.HeifPicture) -> Pixels | None:
    import av

    context = av.CodecContext.create("hevc", "r")
    context.extradata = tile.configuration
    context.thread_count = 1
    # A coded picture is padded to whole blocks.
    most = (tile.width + LARGEST_BLOCK) * (tile.height + LARGEST_BLOCK)
    context.options = {"max_pixels": str(most)}
    try:
        frames = [*context.decode(av.Packet(tile.data)), *context.decode(None)]
    except av.FFmpegError as error:
        raise ValueError from error
    frame = next((each for each in frames if isinstance(each, av.VideoFrame)), None)
    if frame is None or frame.width < tile.width or frame.height < tile.height:
        return None
    return _colours(frame, found)


def _colours(frame: VideoFrame, found: heif.HeifPicture) -> Pixels:
    """The frame as BGR. What the file says of its colours comes before what the stream says."""
    from av.video.reformatter import ColorRange, Colorspace

    spaces = {1: Colorspace.ITU709, 9: Colorspace.BT2020, 10: Colorspace.BT2020}
    stated = frame.colorspace if found.matrix is None else found.matrix
    full = frame.color_range != ColorRange.MPEG if found.full_range is None else found.full_range
    pixels = frame.reformat(
        format="bgr24", src_colorspace=spaces.get(stated, Colorspace.ITU601),
        dst_colorspace=Colorspace.ITU601,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG, threads=1,
    ).to_ndarray()
    return np.asarray(pixels, dtype=np.uint8)


def _cropped(pixels: Pixels | None, found: heif.HeifPicture) -> Pixels | None:
    if pixels is None:
        return None
    left, top, width, height = found.crop
    return pixels[top : top + height, left : left + width]


_READERS: dict[PictureFormat, Callable[[bytes, PictureHeader], Pixels | None]] = {
    "jpeg": _jpeg,
    "bmp": _bmp,
    "png": _png,
    "gif": _gif,
    "webp": _maybe_transparent,
    "tiff": _tiff,
    "heic": _heic,
    "avif": _avif,
}


def _imdecode(data: bytes, flags: int) -> Pixels | None:
    stored = _stored(data, flags)
    return None if stored is None else _as_bytes(stored)


def _stored(data: bytes, flags: int) -> NDArray[Any] | None:
    """The samples as OpenCV decodes them, 8 or 16 bits each."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)


def _with_pillow(
    data: bytes, header: PictureHeader, size: tuple[int, int]
) -> Pixels | None:
    """The picture of ``size`` (width, height) as Pillow decodes it."""
    # Pillow warns of damage that it can work around; ignore it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[header.format.upper()]) as image:
                if image.size != size:
                    return None
                if image.mode.startswith("I;16"):  # Pillow would clip it to 255
                    grey = _as_bytes(np.asarray(image).astype(np.uint16))
                    return _as_bytes(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
                rgba = np.asarray(image.convert("RGBA"), dtype=np.uint8)
        except Exception as error:  # Pillow raises any kind of error for hostile bytes
            raise _damaged(header) from error
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
