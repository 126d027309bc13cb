"""GIF (GIF89a)."""

from __future__ import annotations

from pipeline.media.formats.base import (
    MAX_CHUNKS,
    UPRIGHT,
    BrokenPicture,
    ImplausibleSize,
    PictureLayout,
    read_exactly,
    unpack,
)

EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
GRAPHIC_CONTROL = 0xF9
HEADER = 13
# Most pixels per byte: a code of 12 bits stands for up to 4,096 pixels.
MAX_UNPACKED = 4096 * 8 // 12


def read(data: bytes) -> PictureLayout:
    width, height = unpack("<HH", data, 6)
    _, image = _first_image(data)
    left, top, across, down = unpack("<HHHH", data, image + 1)
    if left + across > width or top + down > height or not across * down:
        raise BrokenPicture("the first frame reaches over the screen")
    if across * down > (len(data) - image) * MAX_UNPACKED:
        raise ImplausibleSize(width, height)
    _frame_end(data, image)
    return width, height, UPRIGHT


def first_frame(data: bytes) -> bytes:
    """A GIF of the first frame alone, without comments and application data."""
    control, image = _first_image(data)
    end = _frame_end(data, image)
    screen = data[: HEADER + _table_size(data[10])]
    return screen + control + data[image:end] + bytes([TRAILER])


def _first_image(data: bytes) -> tuple[bytes, int]:
    """(the preceding graphic control, the start of the first image)."""
    position = HEADER + _table_size(read_exactly(data, 10, 1)[0])
    control = b""
    for _ in range(MAX_CHUNKS):
        kind, label = read_exactly(data, position, 2)
        if kind == IMAGE:
            read_exactly(data, position, 11)
            return control, position
        if kind != EXTENSION:
            raise BrokenPicture("there is no picture inside")
        end = _skip_blocks(data, position + 2)
        if label == GRAPHIC_CONTROL:
            control = data[position:end]
        position = end
    raise BrokenPicture("it has too many extensions")


def _frame_end(data: bytes, image: int) -> int:
    """The end of the image that starts at ``image``."""
    return _skip_blocks(data, image + 11 + _table_size(data[image + 9]))


def _skip_blocks(data: bytes, position: int) -> int:
    """The end of the chain of sub-blocks that starts at ``position``."""
    while size := read_exactly(data, position, 1)[0]:
        position += 1 + size
    return position + 1


def _table_size(packed: int) -> int:
    """Bytes of the colour table that a packed field announces."""
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0
