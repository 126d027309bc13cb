"""HEIC and AVIF (ISO/IEC 23008-12, High Efficiency Image File Format; AVIF 1.1).

A file holds items. The primary one is a coded picture, or a grid of coded tiles, as phones
write it. Depth, previews, gain maps and alpha are other items, which are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import calcsize
from typing import Any

from pipeline.media.formats.base import (
    UPRIGHT,
    BrokenPicture,
    CutOff,
    PictureLayout,
    UnsupportedVariant,
    unpack,
)
from pipeline.media.iso_boxes import boxes

# Items, and their parts. A phone writes about 60 items.
MAX_ENTRIES = 4_096
# Boxes of one level.
MAX_BOXES = 4_096
# Properties of one item; a phone writes six.
MAX_PROPERTIES = 64
# A picture of 40 megapixels in tiles of 256 pixels a side has 640.
MAX_TILES = 4_096
# Pixels by which a tile may exceed the picture.
MAX_TILE_OVERHANG = 1_024
# Derivations followed to the coded picture: a tone map of an identity of a grid.
MAX_DERIVATIONS = 4

HEVC, AV1 = b"hvc1", b"av01"
GRID, IDENTITY, TONE_MAP = b"grid", b"iden", b"tmap"
CONFIGURATIONS = {HEVC: b"hvcC", AV1: b"av1C"}

# EXIF orientations by the quarter turns to the left, and the mirror that follows: none, top and
# bottom exchanged, left and right exchanged.
ORIENTATIONS = ((1, 4, 2), (8, 5, 7), (3, 2, 4), (6, 7, 5))


@dataclass(frozen=True, slots=True)
class CodedTile:
    """One coded picture: ``data`` of a ``coder`` with its ``configuration`` (the payload of
    hvcC or av1C), width and height in pixels."""

    coder: bytes
    data: bytes
    configuration: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class HeifPicture:
    """The primary picture. Its ``tiles`` stand row by row, ``columns`` in each row, and make
    ``full`` (width, height), of which ``crop`` (left, top, width, height) is shown, turned by
    ``orientation`` (as in EXIF). ``matrix`` and ``full_range`` are the colours' (ISO/IEC
    23091-2); None where only the coded pictures tell."""

    coder: bytes
    tiles: tuple[CodedTile, ...]
    columns: int
    full: tuple[int, int]
    crop: tuple[int, int, int, int]
    orientation: int
    matrix: int | None
    full_range: bool | None


_Property = tuple[bytes, int, int]
"""A property's kind, and the start and end of its contents."""


@dataclass(slots=True)
class _Item:
    """An item: its ``kind``, where its bytes are, and its properties in their order."""

    kind: bytes = b""
    # Whether in the idat box, the offset, the length; 0: to the end.
    parts: list[tuple[bool, int, int]] = field(default_factory=list)
    properties: list[_Property] = field(default_factory=list)
    derived_from: list[int] = field(default_factory=list)


def read_heic(data: bytes) -> PictureLayout:
    return _layout(picture(data), HEVC)


def read_avif(data: bytes) -> PictureLayout:
    return _layout(picture(data), AV1)


def _layout(found: HeifPicture, coder: bytes) -> PictureLayout:
    if found.coder != coder:
        raise UnsupportedVariant(f"the coder {_word(found.coder)}")
    return *found.crop[2:], found.orientation


def picture(data: bytes) -> HeifPicture:
    """The primary picture of the file. Raises ``BrokenPicture``."""
    return _HeifReader(data).picture()


class _HeifReader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items: dict[int, _Item] = {}
        self._primary = 0
        self._coded = 0  # bytes of the parts that were read
        self._inside = (0, 0)  # of the idat box
        meta = dict(self._children(0, len(data))).get(b"meta")
        if meta is None:
            raise CutOff if _ends_inside(data) else BrokenPicture("it has no description")
        self._read_meta(meta[0] + 4, meta[1])

    def picture(self) -> HeifPicture:
        item = self._known(self._primary)
        orientations = [self._orientation(item)]
        for _ in range(MAX_DERIVATIONS):
            if item.kind not in (IDENTITY, TONE_MAP) or not item.derived_from:
                break
            item = self._known(item.derived_from[0])
            orientations.append(self._orientation(item))
        turned = [each for each in orientations if each != UPRIGHT]
        if len(turned) > 1:
            raise UnsupportedVariant("a turned picture of a turned one")
        columns, tiles, full = self._grid(item) if item.kind == GRID else self._single(item)
        matrix, full_range = self._colours(item)
        return HeifPicture(
            tiles[0].coder, tuple(tiles), columns, full, self._crop(item, full),
            turned[0] if turned else UPRIGHT, matrix, full_range,
        )

    # The picture ----------------------------------------------------------------

    def _single(self, item: _Item) -> tuple[int, list[CodedTile], tuple[int, int]]:
        tile = self._tile(item)
        return 1, [tile], (tile.width, tile.height)

    def _grid(self, item: _Item) -> tuple[int, list[CodedTile], tuple[int, int]]:
        payload = self._bytes(item)
        _, flags, rows, columns = unpack(">4B", payload)
        rows, columns = rows + 1, columns + 1
        width, height = unpack(">II" if flags & 1 else ">HH", payload, 4)
        if rows * columns != len(item.derived_from):
            raise BrokenPicture("its grid and its tiles contradict each other")
        tiles = [self._tile(self._known(number)) for number in item.derived_from]
        kinds = {(tile.coder, tile.width, tile.height) for tile in tiles}
        if len(kinds) != 1:
            raise BrokenPicture("the tiles of its grid differ")
        _, across, down = kinds.pop()
        if across > width + MAX_TILE_OVERHANG or down > height + MAX_TILE_OVERHANG:
            raise BrokenPicture("its tiles are larger than the picture")
        if not ((columns - 1) * across < width <= columns * across
                and (rows - 1) * down < height <= rows * down):
            raise BrokenPicture("its tiles do not make the picture")
        return columns, tiles, (width, height)

    def _tile(self, item: _Item) -> CodedTile:
        if item.kind not in CONFIGURATIONS:
            raise UnsupportedVariant(f"the coder {_word(item.kind)}")
        settings = _property(item, CONFIGURATIONS[item.kind])
        size = _property(item, b"ispe")
        if settings is None or size is None:
            raise BrokenPicture("a coded picture lacks its size or its decoder's settings")
        width, height = self._unpack(">II", size[0] + 4, size[1])
        coded = self._bytes(item)
        if not width or not height:
            raise BrokenPicture("it has no pixels")
        if not coded:
            raise CutOff
        return CodedTile(item.kind, coded, self._data[settings[0] : settings[1]], width, height)

    def _orientation(self, item: _Item) -> int:
        turns = mirror = 0
        for kind, start, end in item.properties:
            if kind == b"irot":
                quarters = self._unpack("B", start, end)[0] & 3
                turns = (turns - quarters if mirror else turns + quarters) & 3
            elif kind == b"imir":
                mirror = 1 + (self._unpack("B", start, end)[0] & 1)
        # A mirror before a turn is the turn the other way, then the mirror.
        return ORIENTATIONS[turns][mirror]

    def _crop(self, item: _Item, full: tuple[int, int]) -> tuple[int, int, int, int]:
        """The part of the picture that its clean aperture shows (ISO/IEC 14496-12, 12.1.4)."""
        place = _property(item, b"clap")
        if place is None:
            return 0, 0, *full
        wide, wide_by, high, high_by, right, right_by, below, below_by = self._unpack(
            ">4IiIiI", *place
        )
        if not (wide_by and high_by and right_by and below_by):
            raise BrokenPicture("its crop is impossible")
        width, height = wide // wide_by, high // high_by
        left = round((full[0] - width) / 2 + right / right_by)
        top = round((full[1] - height) / 2 + below / below_by)
        if not (width and height) or min(left, top) < 0:
            raise BrokenPicture("its crop is impossible")
        if left + width > full[0] or top + height > full[1]:
            raise BrokenPicture("its crop reaches over the picture")
        return left, top, width, height

    def _colours(self, item: _Item) -> tuple[int | None, bool | None]:
        for kind, start, end in item.properties:
            if kind == b"colr" and self._data[start : start + 4] == b"nclx" and end - start >= 11:
                matrix, full_range = unpack(">HB", self._data, start + 8)
                return matrix, bool(full_range & 0x80)
        return None, None

    def _known(self, number: int) -> _Item:
        item = self._items.get(number)
        if item is None:
            raise BrokenPicture("it names a picture that is not there")
        return item

    def _bytes(self, item: _Item) -> bytes:
        parts = []
        for inside, start, length in item.parts:
            base, limit = self._inside if inside else (0, len(self._data))
            first = base + start
            last = first + length if length else limit
            if first > last or last > limit:
                raise CutOff
            self._coded += last - first
            if self._coded > len(self._data):
                raise BrokenPicture("its parts lie on top of each other")
            parts.append(self._data[first:last])
        return b"".join(parts)

    def _unpack(self, form: str, place: int, end: int) -> tuple[Any, ...]:
        """Numbers at ``place``, which must lie before ``end``."""
        if place + calcsize(form) > end:
            raise CutOff
        return unpack(form, self._data, place)

    def _number(self, place: int, size: int, end: int) -> int:
        if place + size > end:
            raise CutOff
        return int.from_bytes(self._data[place : place + size], "big")

    # The description ------------------------------------------------------------

    def _read_meta(self, start: int, end: int) -> None:
        known = dict(self._children(start, end))
        self._inside = known.get(b"idat", (0, 0))
        readers = {
            b"pitm": self._read_primary, b"iinf": self._read_items, b"iloc": self._read_places,
            b"iref": self._read_references, b"iprp": self._read_properties,
        }
        for kind, read in readers.items():
            if (place := known.get(kind)) is not None:
                read(*place)

    def _children(self, start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
        for count, (kind, first, last) in enumerate(boxes(self._data, start, end)):
            if count == MAX_BOXES:
                raise BrokenPicture("it has too many boxes")
            yield kind, (first, last)

    def _item(self, number: int) -> _Item:
        if len(self._items) > MAX_ENTRIES:
            raise BrokenPicture("it has too many items")
        return self._items.setdefault(number, _Item())

    def _read_primary(self, start: int, end: int) -> None:
        (version,) = self._unpack("B", start, end)
        (self._primary,) = self._unpack(">I" if version else ">H", start + 4, end)

    def _read_items(self, start: int, end: int) -> None:
        (version,) = self._unpack("B", start, end)
        for kind, (first, last) in self._children(start + (8 if version else 6), end):
            if kind == b"infe":
                (version,) = self._unpack("B", first, last)
                wide = version > 2
                number, coder = self._unpack(">I2x4s" if wide else ">H2x4s", first + 4, last)
                self._item(number).kind = coder

    def _read_places(self, start: int, end: int) -> None:
        version, sizes, bases = self._unpack(">B3xBB", start, end)
        form = ">I" if version > 1 else ">H"
        (count,) = self._unpack(form, start + 6, end)
        place, total = start + 6 + calcsize(form), 0
        for _ in range(count):
            place, extents = self._read_place(place, end, version, sizes, bases)
            total += 1 + extents
            if total > MAX_ENTRIES:
                raise BrokenPicture("it has too many items")

    def _read_place(
        self, place: int, end: int, version: int, sizes: int, bases: int
    ) -> tuple[int, int]:
        """Reads where an item is; where the next entry begins, and how many parts it has."""
        offset_size, length_size, base_size = sizes >> 4, sizes & 15, bases >> 4
        index_size = bases & 15 if version else 0
        form = (">I" if version > 1 else ">H") + ("H" if version else "") + "2x"
        number, *method = self._unpack(form, place, end)
        place += calcsize(form)
        base = self._number(place, base_size, end)
        (extents,) = self._unpack(">H", place + base_size, end)
        place += base_size + 2
        parts = self._item(number).parts
        for _ in range(extents):
            place += index_size
            offset = base + self._number(place, offset_size, end)
            length = self._number(place + offset_size, length_size, end)
            place += offset_size + length_size
            if len(parts) >= MAX_ENTRIES:
                raise BrokenPicture("it has too many parts")
            parts.append((bool(method and method[0] & 15 == 1), offset, length))
        return place, extents

    def _read_references(self, start: int, end: int) -> None:
        (version,) = self._unpack("B", start, end)
        letter = "I" if version else "H"
        for kind, (first, last) in self._children(start + 4, end):
            if kind == b"dimg":
                form = f">{letter}H"
                number, count = self._unpack(form, first, last)
                sources = self._unpack(f">{count}{letter}", first + calcsize(form), last)
                derived_from = self._item(number).derived_from
                derived_from.extend(sources)
                if len(derived_from) > MAX_TILES:
                    raise BrokenPicture("it has too many tiles")

    def _read_properties(self, start: int, end: int) -> None:
        listed: list[_Property] = []
        for kind, (first, last) in self._children(start, end):
            if kind == b"ipco":
                listed = [(name, *place) for name, place in self._children(first, last)]
            elif kind == b"ipma":  # behind what it associates
                self._associate(listed, first, last)

    def _associate(self, listed: list[_Property], start: int, end: int) -> None:
        version, flags, count = self._unpack(">B2xBI", start, end)
        place, form = start + 8, ">IB" if version else ">HB"
        letter, mask = ("H", 0x7FFF) if flags & 1 else ("B", 0x7F)
        for _ in range(count):
            number, found = self._unpack(form, place, end)
            place += calcsize(form)
            indexes = self._unpack(f">{found}{letter}", place, end)
            place += calcsize(f">{found}{letter}")
            properties = self._item(number).properties
            properties.extend(
                listed[(index & mask) - 1] for index in indexes if 0 < index & mask <= len(listed)
            )
            if len(properties) > MAX_PROPERTIES:
                raise BrokenPicture("a picture has too many properties")


def _property(item: _Item, kind: bytes) -> tuple[int, int] | None:
    """Where the contents of the item's property begin and end."""
    return next(((first, last) for name, first, last in item.properties if name == kind), None)


def _ends_inside(data: bytes) -> bool:
    """Whether the last box of the file reaches over its end."""
    place = 0
    for _ in range(MAX_BOXES):
        if place + 8 > len(data):
            break
        size = int.from_bytes(data[place : place + 4], "big")
        if size < 8:
            return False
        place += size
    return place != len(data)


def _word(kind: bytes) -> str:
    """A four-character code as a client may read it."""
    return "".join(chr(each) if 32 < each < 127 else "?" for each in kind) or "?"
