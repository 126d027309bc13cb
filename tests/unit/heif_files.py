"""HEIC files made on the spot, box by box, as phones and cameras write them."""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
import numpy as np

from pipeline.types import Picture

# Item numbers.
PRIMARY, PREVIEW, FIRST_TILE = 1, 2, 100

Crop = tuple[int, int, int, int]  # left, top, width, height


def box(kind: bytes, *parts: bytes) -> bytes:
    inside = b"".join(parts)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


@functools.cache
def _coded(pixels: bytes, height: int, width: int, form: str) -> tuple[bytes, bytes]:
    picture = np.frombuffer(pixels, np.uint8).reshape(height, width, 3)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        quiet = "log-level=none:keyint=1:info=0:range=" + ("full" if "j" in form else "limited")
        options = {"x265-params": quiet, "crf": "4", "preset": "ultrafast"}
        stream = container.add_stream("libx265", rate=1, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, form
        stream.codec_context.thread_count = 1
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        container.mux([*stream.encode(frame), *stream.encode()])
    data = file.getvalue()
    settings, media = data.index(b"hvcC"), data.index(b"mdat")
    return data[settings + 4 : _end(data, settings)], data[media + 4 : _end(data, media)]


def _end(data: bytes, name: int) -> int:
    return name - 4 + int.from_bytes(data[name - 4 : name], "big")


def coded(picture: Picture, form: str = "yuv420p") -> tuple[bytes, bytes]:
    """The decoder's settings (hvcC) and the coded bytes of ``picture``, in one key frame."""
    height, width = picture.shape[:2]
    return _coded(np.ascontiguousarray(picture).tobytes(), height, width, form)


@dataclass
class HeifFile:
    """Items and their properties; ``to_bytes()`` writes the file."""

    brand: bytes = b"heic"
    primary: int = PRIMARY
    kinds: dict[int, bytes] = field(default_factory=dict)
    data: dict[int, bytes] = field(default_factory=dict)
    properties: list[bytes] = field(default_factory=list)
    named: dict[int, list[int]] = field(default_factory=dict)
    derived: dict[int, Sequence[int]] = field(default_factory=dict)
    inside: frozenset[int] = frozenset()  # items in the idat box

    def add(
        self, number: int, kind: bytes, data: bytes, *properties: bytes,
        sources: Sequence[int] = (),
    ) -> None:
        self.kinds[number], self.data[number] = kind, data
        for each in properties:
            if each not in self.properties:
                self.properties.append(each)
        self.named[number] = [1 + self.properties.index(each) for each in properties]
        if sources:
            self.derived[number] = sources

    def to_bytes(self) -> bytes:
        start = box(b"ftyp", self.brand + bytes(4) + b"mif1" + self.brand)
        length = len(self._meta(0))
        meta = self._meta(len(start) + length + 8)
        media = b"".join(self.data[each] for each in self.data if each not in self.inside)
        return start + meta + box(b"mdat", media)

    def _meta(self, media_at: int) -> bytes:
        entries, inside, place = b"", b"", media_at
        for number, data in self.data.items():
            in_idat = number in self.inside
            offset = len(inside) if in_idat else place
            entries += struct.pack(">HHHHII", number, int(in_idat), 0, 1, offset, len(data))
            if in_idat:
                inside += data
            else:
                place += len(data)
        infos = [
            full_box(b"infe", 2, 0, struct.pack(">HH4s", number, 0, kind) + b"\0")
            for number, kind in self.kinds.items()
        ]
        named = [
            struct.pack(f">HB{len(each)}B", number, len(each), *each)
            for number, each in self.named.items()
        ]
        references = [
            box(b"dimg", struct.pack(f">HH{len(each)}H", number, len(each), *each))
            for number, each in self.derived.items()
        ]
        return full_box(
            b"meta", 0, 0,
            full_box(b"hdlr", 0, 0, bytes(4) + b"pict" + bytes(13)),
            full_box(b"pitm", 0, 0, struct.pack(">H", self.primary)),
            full_box(b"iloc", 1, 0, struct.pack(">BBH", 0x44, 0, len(self.data)), entries),
            full_box(b"iinf", 0, 0, struct.pack(">H", len(infos)), *infos),
            full_box(b"iref", 0, 0, *references),
            box(
                b"iprp", box(b"ipco", *self.properties),
                full_box(b"ipma", 0, 0, struct.pack(">I", len(named)), *named),
            ),
            box(b"idat", inside),
        )


def size_of(width: int, height: int) -> bytes:
    return full_box(b"ispe", 0, 0, struct.pack(">II", width, height))


def turned_left(quarters: int) -> bytes:
    return box(b"irot", bytes([quarters]))


def mirrored(axis: int) -> bytes:
    """0 exchanges top and bottom, 1 left and right."""
    return box(b"imir", bytes([axis]))


def cropped(width: int, height: int, crop: Crop) -> bytes:
    left, top, wide, high = crop
    across, down = 2 * left + wide - width, 2 * top + high - height  # between the centres, doubled
    return box(b"clap", struct.pack(">4IiIiI", wide, 1, high, 1, across, 2, down, 2))


def colours(matrix: int, *, full_range: bool) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, matrix, 0x80 * full_range))


def grid_of(rows: int, columns: int, width: int, height: int) -> bytes:
    return struct.pack(">4BHH", 0, 0, rows - 1, columns - 1, width, height)


def heic(
    picture: Picture, *properties: bytes, form: str = "yuv420p", brand: bytes = b"heic"
) -> HeifFile:
    """One coded picture, with a preview beside it."""
    height, width = picture.shape[:2]
    file = HeifFile(brand)
    settings, data = coded(picture, form)
    own = (box(b"hvcC", settings), size_of(width, height), *properties)
    file.add(PRIMARY, b"hvc1", data, *own)
    file.add(PREVIEW, b"hvc1", data, *own[:2])
    return file


def heic_grid(
    picture: Picture, tile: int, *properties: bytes, form: str = "yuv420p"
) -> HeifFile:
    """A grid of square tiles of ``tile`` pixels, the last ones padded, as phones write it."""
    height, width = picture.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    padded = np.pad(
        picture, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge"
    )
    file = HeifFile(inside=frozenset({PRIMARY}))
    numbers = range(FIRST_TILE, FIRST_TILE + rows * columns)
    file.add(
        PRIMARY, b"grid", grid_of(rows, columns, width, height), size_of(width, height),
        *properties, sources=numbers,
    )
    for number in numbers:
        row, column = divmod(number - FIRST_TILE, columns)
        part = padded[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        settings, data = coded(part, form)
        file.add(number, b"hvc1", data, box(b"hvcC", settings), size_of(tile, tile))
    return file
