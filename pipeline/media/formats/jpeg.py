"""JPEG (ITU-T T.81)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipeline.media.formats.base import (
    UPRIGHT,
    BrokenPicture,
    CutOff,
    ImplausibleSize,
    PictureLayout,
    UnsupportedVariant,
    unpack,
)
from pipeline.media.formats.tiff import exif_orientation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A camera's JPEG has some 20 segments, one with a long extended XMP a few hundred.
MAX_SEGMENTS = 4_096
# Each scan of a progressive JPEG costs a pass over all its pixels, yet as few as a hundred
# bytes of file; encoders write about ten. libtiff has the same limit.
MAX_SCANS = 100
# Scans times pixels: sixteen scans over the largest picture by default.
MAX_SCANNED = 16 * 40_000_000

# Most pixels per byte of coded data: a block of 64 takes at least one bit for its mean and
# one for the rest, which progressive files can defer.
MAX_UNPACKED = {True: 8 * 64, False: 8 * 64 // 2}

# Baseline, extended and progressive, Huffman-coded. The other frames are lossless,
# hierarchical or arithmetic-coded: no camera and no browser writes them.
PROGRESSIVE = 0xC2
SOF_TAKEN = frozenset({0xC0, 0xC1, PROGRESSIVE})
SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
APP1, DAC, SOS, EOI = 0xE1, 0xCC, 0xDA, 0xD9
END = bytes([0xFF, EOI])
EXIF = b"Exif\0\0"

# Markers that have a segment, and the end. Inside a scan FF is followed by 00 or a restart;
# TEM and a second start of image stand alone.
MARKERS = frozenset(range(256)) - {0x00, 0x01, 0xFF, *range(0xD0, 0xD9)}

BLOCK = 8  # pixels a side
CMYK = 4  # components


@dataclass(slots=True)
class JpegPicture:
    """The first picture of a file. ``end`` is where it ends; None: the file is cut off before.
    ``mcu`` is the (width, height) in pixels of the units that are coded one after the other."""

    frame: tuple[int, int] | None = None
    progressive: bool = False
    components: int = 0
    mcu: tuple[int, int] = (BLOCK, BLOCK)
    orientation: int | None = None
    scans: list[bytes] = field(default_factory=list)
    end: int | None = None

    @property
    def shown_without_end(self) -> bool:
        """Whether the file is cut off in a scan whose missing part leaves a picture: the only
        one, of which rows are missing, or the last refinement of a progressive picture."""
        if not self.scans or self.components == CMYK:  # missing blocks would not be grey
            return False
        last = self.scans[-1]
        if not self.progressive:
            return len(self.scans) == 1 and last[:1] == bytes([self.components])
        high, low = last[-1] >> 4, last[-1] & 15
        return high == 1 and low == 0 and last[-2] == 63 and self._fully_begun()

    def _fully_begun(self) -> bool:
        """Whether scans of every coefficient, at full precision, have begun."""
        begun: dict[int, int] = {}
        for scan in self.scans:
            first, last, precision = scan[-3:]
            if precision & 15 == 0:
                for component in scan[1:-3:2]:
                    mask = (1 << last + 1) - (1 << first)
                    begun[component] = begun.get(component, 0) | mask
        complete = [component for component, mask in begun.items() if mask == (1 << 64) - 1]
        return len(complete) == self.components


def read(data: bytes) -> PictureLayout:
    picture = first_picture(data)
    assert picture.frame is not None
    return *picture.frame, picture.orientation or UPRIGHT


def first_picture(data: bytes) -> JpegPicture:
    """The structure of the first picture: a file may hold more behind it, as a panorama's
    preview, a gain map or a clip. Raises as ``read`` does."""
    found = JpegPicture()
    for marker, start, end in _segments(data):
        if marker in SOF:
            if found.frame is not None:
                raise BrokenPicture("it has two frame headers")
            _read_frame(data, marker, start, end, found)
        elif marker == DAC:
            raise UnsupportedVariant("arithmetic coding")
        elif marker == APP1 and found.orientation is None and data[start : start + 6] == EXIF:
            found.orientation = exif_orientation(data[start + 6 : end])
        elif marker == SOS:
            found.scans.append(_scan(data, start, end))
        elif marker == EOI:
            found.end = end
    _check(found, len(data))
    return found


def _read_frame(data: bytes, marker: int, start: int, end: int, found: JpegPicture) -> None:
    """Reads the frame header between ``start`` and ``end``."""
    precision, height, width, components = unpack(">BHHB", data, start)
    if marker not in SOF_TAKEN:
        raise UnsupportedVariant(_coding(marker))
    if precision != 8:
        raise UnsupportedVariant(f"{precision} bits a sample")
    if components not in (1, 3, 4):
        raise UnsupportedVariant(f"{components} components")
    if end - start != 6 + 3 * components:
        raise BrokenPicture("its frame header has a wrong length")
    factors = data[start + 7 : end : 3]
    if any(not (1 <= factor >> 4 <= 4 and 1 <= factor & 15 <= 4) for factor in factors):
        raise BrokenPicture("its sampling factors are impossible")
    found.frame, found.components = (width, height), components
    found.progressive = marker == PROGRESSIVE
    if components > 1:
        across, down = (max(factor >> 4 for factor in factors), max(f & 15 for f in factors))
        found.mcu = BLOCK * across, BLOCK * down


def _coding(marker: int) -> str:
    """The coding of a frame that is not taken (T.81, table B.1)."""
    if marker >= 0xC9:
        return "arithmetic coding"
    return "lossless coding" if marker == 0xC3 else "hierarchical coding"


def _scan(data: bytes, start: int, end: int) -> bytes:
    """The scan's header: the count of components, two bytes for each, and three of its range."""
    header = data[start:end]
    if not header or len(header) != 4 + 2 * header[0] or header[-2] > 63:
        raise BrokenPicture("a scan has an impossible header")
    return header


def _check(found: JpegPicture, size: int) -> None:
    if not found.scans and found.end is None:
        raise CutOff
    if found.frame is None or not found.scans:
        raise BrokenPicture("it has no frame header before its first scan")
    width, height = found.frame
    if width * height > size * MAX_UNPACKED[found.progressive]:
        raise ImplausibleSize(width, height)
    if len(found.scans) > MAX_SCANS or len(found.scans) * width * height > MAX_SCANNED:
        raise BrokenPicture("it has too many scans")


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the payload of each segment of the first picture, up to the
    end-of-image marker; bytes that belong to none are skipped."""
    places = _marker_places(data)
    position = 2
    for _ in range(MAX_SEGMENTS):
        following = int(places.searchsorted(position))
        if following == len(places):
            return
        start = int(places[following]) + 2
        marker = data[start - 1]
        if marker == EOI:
            yield marker, start, start
            return
        if start + 2 > len(data):
            return
        (length,) = unpack(">H", data, start)
        if length < 2:
            raise BrokenPicture("a segment has no length")
        if start + length > len(data):
            return
        yield marker, start + 2, start + length
        position = start + length
    raise BrokenPicture("it has too many segments")


def _marker_places(data: bytes) -> NDArray[np.intp]:
    """Where markers may be, ascending: a tenth of the time that a search for each takes."""
    # Imported here: reading limits alone needs no numpy.
    import numpy as np

    stored = np.frombuffer(data, np.uint8)
    places = np.flatnonzero(stored[:-1] == 0xFF)
    return places[np.isin(stored[places + 1], list(MARKERS))]
