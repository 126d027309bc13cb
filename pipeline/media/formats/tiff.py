"""TIFF (revision 6.0), and the EXIF block, which uses its structure (CIPA DC-008)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.media.formats.base import (
    UPRIGHT,
    BrokenPicture,
    CutOff,
    ImplausibleSize,
    PictureLayout,
    UnsupportedVariant,
    unpack,
)

MAX_IFD_ENTRIES = 1_024
# Pixels by which a tile may exceed the picture. Tiles are rounded up, but larger ones only
# cost memory.
MAX_TILE_OVERHANG = 1_024
# Strips or tiles. The largest picture has fewer in tiles of 20 x 20 pixels or in strips of one
# row.
MAX_PARTS = 100_000

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 0x100, 0x101, 0x102, 0x103, 0x106
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_SIZES = 0x111, 0x112, 0x115, 0x116, 0x117
PLANAR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_SIZES = 0x11C, 0x142, 0x143, 0x144, 0x145
COLOUR_MAP, SAMPLE_FORMAT = 0x140, 0x153
# A raw file's first page is a preview, its picture a directory below (DNG 1.7, TIFF/EP).
KIND_OF_PAGE, DIRECTORIES_BELOW, DNG_VERSION = 0xFE, 0x14A, 0xC612
PREVIEW = 1

# Types of unsigned integers, with struct's format character.
NUMBERS = {1: "B", 3: "H", 4: "I"}
SHORT = 3

PLAIN, FAX_RLE, FAX_3, FAX_4, LZW, JPEG, DEFLATE, PACK_BITS, OLD_DEFLATE = (
    1, 2, 3, 4, 5, 7, 8, 32773, 32946
)
FAX = (FAX_RLE, FAX_3, FAX_4)
# Most unpacked bytes per packed byte of each compression, with a margin.
MAX_UNPACKED = {
    PLAIN: 1, FAX_RLE: 4096, FAX_3: 4096, FAX_4: 100_000, LZW: 4096, JPEG: 100_000,
    DEFLATE: 1032, PACK_BITS: 64, OLD_DEFLATE: 1032,
}

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
# Samples that carry colour; one more is transparency.
COLOUR_SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}
# Accepted bits per sample, without and with transparency.
DEPTHS = {
    WHITE_IS_ZERO: (1, 2, 4, 8, 16), BLACK_IS_ZERO: (1, 2, 4, 8, 16), RGB: (8, 16),
    PALETTE: (1, 2, 4, 8), CMYK: (8, 16), YCBCR: (8,),
}
DEPTHS_WITH_ALPHA = {BLACK_IS_ZERO: (8,), RGB: (8, 16)}


@dataclass(frozen=True, slots=True)
class TiffPage:
    """The pixel format of the first page; ``extra`` counts samples beyond colour."""

    width: int
    height: int
    bits: int
    compression: int
    photometric: int
    samples: int
    planar: bool
    tiled: bool
    orientation: int

    @property
    def extra(self) -> int:
        return self.samples - COLOUR_SAMPLES[self.photometric]

    @property
    def beyond_opencv(self) -> bool:
        """Whether Pillow must decode it, because OpenCV fails or is wrong: OpenCV multiplies
        colours by their alpha, misreads some tiles, and accepts truncated packed data.
        ``read`` rejects files that Pillow gets wrong."""
        deep_cmyk = self.photometric == CMYK and self.bits == 16
        packed = self.compression not in (PLAIN, JPEG)
        return bool(self.extra) or self.tiled or packed or self.bits in (2, 4) or deep_cmyk


def read(data: bytes) -> PictureLayout:
    page = first_page(data)
    return page.width, page.height, page.orientation


def first_page(data: bytes) -> TiffPage:
    """Raises as ``read`` does."""
    tags = _TiffTags(data)
    if tags.is_raw:
        raise UnsupportedVariant("a camera's raw file")
    if tags.get(WIDTH) is None or tags.get(HEIGHT) is None:
        raise BrokenPicture("it states no size")
    page = TiffPage(
        width=tags.one(WIDTH),
        height=tags.one(HEIGHT),
        bits=_bits(tags),
        compression=tags.one(COMPRESSION, PLAIN),
        photometric=tags.one(PHOTOMETRIC, BLACK_IS_ZERO),
        samples=tags.one(SAMPLES, 1),
        planar=tags.one(PLANAR, 1) == 2,
        tiled=tags.get(TILE_WIDTH) is not None,
        orientation=_turn(tags.one(ORIENTATION, UPRIGHT)),
    )
    _check_kind(page, tags)
    _check_parts(page, tags, len(data))
    return page


def _bits(tags: _TiffTags) -> int:
    depths = tags.get(BITS) or (1,)
    if len(set(depths)) != 1 or len(depths) > max(tags.one(SAMPLES, 1), 1):
        raise BrokenPicture("its bits a sample contradict each other")
    return depths[0]


def _check_kind(page: TiffPage, tags: _TiffTags) -> None:
    if page.compression not in MAX_UNPACKED:
        raise UnsupportedVariant(f"compression {page.compression}")
    if page.photometric not in COLOUR_SAMPLES:
        raise UnsupportedVariant(f"colour space {page.photometric}")
    if set(tags.get(SAMPLE_FORMAT) or (1,)) != {1}:
        raise UnsupportedVariant("samples that are no whole numbers from 0 on")
    if page.extra not in (0, 1):
        raise BrokenPicture("it has too many samples a pixel, or too few")
    depths = DEPTHS_WITH_ALPHA if page.extra else DEPTHS
    if page.bits not in depths.get(page.photometric, ()):
        raise UnsupportedVariant(f"{page.bits} bits a sample and {page.extra} of transparency")
    if page.compression in FAX and (page.bits, page.samples) != (1, 1):
        raise BrokenPicture("its fax compression is not of black and white")
    if page.beyond_opencv:
        _check_for_pillow(page, tags)


def _check_for_pillow(page: TiffPage, tags: _TiffTags) -> None:
    if page.planar and (page.extra or page.bits != 8 or page.photometric not in (RGB, CMYK)):
        raise UnsupportedVariant("planes one after the other")
    if page.photometric == WHITE_IS_ZERO and page.bits == 16:
        raise UnsupportedVariant("16 bits a sample where white is zero")
    if page.photometric == PALETTE and max(tags.get(COLOUR_MAP) or (0,)) < 256:
        raise UnsupportedVariant("a palette of 8 bits")


def _check_parts(page: TiffPage, tags: _TiffTags, size: int) -> None:
    """Checks that the strips or tiles fit into the file without overlap and can hold their
    pixels."""
    if page.tiled:
        across, down = tags.one(TILE_WIDTH), tags.one(TILE_HEIGHT)
        offsets, sizes = tags.get(TILE_OFFSETS), tags.get(TILE_SIZES)
    else:
        across, down = page.width, min(tags.one(ROWS_PER_STRIP, page.height), page.height)
        offsets, sizes = tags.get(STRIP_OFFSETS), tags.get(STRIP_SIZES)
    if not (across and down and page.width and page.height):
        raise BrokenPicture("it has parts without pixels")
    if across > page.width + MAX_TILE_OVERHANG or down > page.height + MAX_TILE_OVERHANG:
        raise BrokenPicture("its tiles are larger than the picture")
    parts = -(-page.width // across) * -(-page.height // down)
    parts *= page.samples if page.planar else 1
    if parts > MAX_PARTS:
        raise BrokenPicture("it has too many tiles")
    if offsets is None or sizes is None or min(len(offsets), len(sizes)) < parts:
        raise BrokenPicture("strips or tiles are missing")
    if sum(sizes[:parts]) > size:
        if max(map(sum, zip(offsets[:parts], sizes[:parts], strict=True))) > size:
            raise CutOff
        raise BrokenPicture("strips or tiles lie on top of each other")
    least = page.width * page.bits * page.samples // 8 * page.height
    if page.photometric != YCBCR and least > sum(sizes[:parts]) * MAX_UNPACKED[page.compression]:
        raise ImplausibleSize(page.width, page.height)


def exif_orientation(exif: bytes) -> int:
    """The orientation in an EXIF block that starts with its TIFF header; 1 when there is none
    or the block is damaged: a bad thumbnail must not make the picture unusable."""
    try:
        return _turn(_TiffTags(exif).one(ORIENTATION, UPRIGHT))
    except BrokenPicture:
        return UPRIGHT


def _turn(value: int) -> int:
    return value if 1 <= value <= 8 else UPRIGHT


def only_first_page(data: bytes) -> bytes:
    """The same TIFF with an upright orientation and only its first page.

    Decoders differ in whether they apply the orientation, and chains of pages can be
    endless.
    """
    tags = _TiffTags(data)
    changed = bytearray(data)
    for tag, entry in tags.places():
        if tag == ORIENTATION:
            struct.pack_into(tags.order + "HHIHH", changed, entry, tag, SHORT, 1, UPRIGHT, 0)
    if tags.end + 4 <= len(changed):
        changed[tags.end : tags.end + 4] = bytes(4)
    return bytes(changed)


class _TiffTags:
    """The integer entries of the first directory."""

    def __init__(self, data: bytes) -> None:
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
        if order is None:
            raise BrokenPicture("its header is none")
        self._data = data
        self.order = order
        (self._start,) = unpack(order + "I", data, 4)
        (count,) = unpack(order + "H", data, self._start)
        if count > MAX_IFD_ENTRIES:
            raise BrokenPicture("it has too many entries")
        self.end = self._start + 2 + 12 * count
        self._entries = dict(self.places())

    @property
    def is_raw(self) -> bool:
        preview = bool(self.one(KIND_OF_PAGE) & PREVIEW and DIRECTORIES_BELOW in self._entries)
        return preview or DNG_VERSION in self._entries

    def places(self) -> Iterator[tuple[int, int]]:
        """(tag, offset) of each entry."""
        for entry in range(self._start + 2, self.end, 12):
            yield unpack(self.order + "H", self._data, entry)[0], entry

    def get(self, tag: int) -> tuple[int, ...] | None:
        """The entry's integers; None when there is no such entry or it has another type."""
        entry = self._entries.get(tag)
        if entry is None:
            return None
        kind, count, offset = unpack(self.order + "HII", self._data, entry + 2)
        letter = NUMBERS.get(kind)
        if letter is None:
            return None
        if count > MAX_PARTS * 2:
            raise BrokenPicture("it has too many values")
        form = f"{self.order}{count}{letter}"
        start = entry + 8 if struct.calcsize(form) <= 4 else offset
        return unpack(form, self._data, start)

    def one(self, tag: int, default: int = 0) -> int:
        """The entry's only number."""
        values = self.get(tag)
        return values[0] if values is not None and len(values) == 1 else default
