"""BMP (the BITMAPINFOHEADER family)."""

from __future__ import annotations

from pipeline.media.formats.base import (
    UPRIGHT,
    BrokenPicture,
    ImplausibleSize,
    PictureLayout,
    UnsupportedVariant,
    unpack,
)

CORE_HEADER = 12
PLAIN, RLE8, RLE4, BITFIELDS = 0, 1, 2, 3

# Valid bits per pixel for each compression.
BITS = {PLAIN: (1, 4, 8, 16, 24, 32), RLE8: (8,), RLE4: (4,), BITFIELDS: (16, 32)}
# Masks of red, green and blue that programs write. OpenCV misreads all others.
MASKS = {16: ((0x7C00, 0x3E0, 0x1F), (0xF800, 0x7E0, 0x1F)), 32: ((0xFF0000, 0xFF00, 0xFF),)}
MASKS_AT = 54
# Bytes after the last row, which some programs do not write.
MAX_PADDING = 3
# Most pixels in a run of two bytes.
LONGEST_RUN = 255


def read(data: bytes) -> PictureLayout:
    pixels_at, header_size = unpack("<II", data, 10)
    if header_size == CORE_HEADER:
        width, height, _, bits = unpack("<HHHH", data, 18)
        compression, colours = PLAIN, 0
    elif 40 <= header_size <= 124:
        width, height, _, bits, compression = unpack("<iiHHI", data, 18)
        (colours,) = unpack("<I", data, 46)
    else:
        raise BrokenPicture("its header is of no known kind")
    if bits not in BITS.get(compression, ()):
        raise UnsupportedVariant(f"compression {compression} with {bits} bits a pixel")
    if compression == BITFIELDS and unpack("<3I", data, MASKS_AT) not in MASKS[bits]:
        raise UnsupportedVariant("colours in unusual places")
    if bits <= 8 and colours > 1 << bits:
        raise BrokenPicture("the palette has more colours than its pixels can name")
    height = abs(height)  # negative: stored from the top down
    _check_size(len(data) - max(pixels_at, 14 + header_size), width, height, bits, compression)
    return width, height, UPRIGHT


def _check_size(there: int, width: int, height: int, bits: int, compression: int) -> None:
    """Checks that the file can hold its pixels. RLE encoders may skip parts and the end of
    the picture, which then show background."""
    row = (width * bits + 31) // 32 * 4
    if compression in (RLE8, RLE4):
        least = 2 * (width * height // (LONGEST_RUN * 64))
    else:
        least = max(row * height - MAX_PADDING, 0)
    if there < least:
        raise ImplausibleSize(width, height)
