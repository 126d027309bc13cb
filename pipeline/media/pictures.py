"""What a picture's header says, checked before any pixel is decoded.

A PNG of 1 MB can ask for gigabytes: whoever takes a file from outside calls
``inspect`` first. The module imports no image library, so the web floor may use it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Self

from pipeline.config.settings import Settings
from pipeline.errors import (
    FormatNotAccepted,
    MediaTooLarge,
    NotAPicture,
    PictureCorrupt,
    PictureOutOfRange,
)
from pipeline.media.formats.base import ImplausibleSize, UnsupportedVariant
from pipeline.media.picture_formats import READERS, PictureFormat, picture_format

ALL_FORMATS: frozenset[PictureFormat] = frozenset(READERS)

# Pixels; no detector finds a face in less, and document c draws its line here too.
SMALLEST_SIDE = 9


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What is accepted: bytes of the file, and pixels by its header. ``max_short_side``
    bounds the shorter side, 0 not at all."""

    max_bytes: int
    min_side: int
    max_side: int
    max_pixels: int
    formats: frozenset[PictureFormat] = ALL_FORMATS
    max_short_side: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The service's own limits; a dialect may narrow them."""
        return cls(
            max_bytes=settings.max_body_bytes,
            min_side=SMALLEST_SIDE,
            max_side=settings.max_side,
            max_pixels=settings.max_pixels,
        )


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """``width`` and ``height`` are as stored, before the turn that the EXIF
    ``orientation`` (1 to 8; 1 is upright) asks for."""

    format: PictureFormat
    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after the turn."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


def inspect(data: bytes, limits: PictureLimits) -> PictureHeader:
    """The header of the picture in ``input_bytes``, found to be within ``picture_limits``.

    Raises ``MediaTooLarge``, ``NotAPicture`` (by its bytes; names play no part),
    ``FormatNotAccepted``, ``PictureCorrupt`` when the header is cut off, contradicts
    itself or announces more than the file can hold, and ``PictureOutOfRange``.
    """
    if len(data) > limits.max_bytes:
        raise MediaTooLarge(f"The file is larger than {limits.max_bytes} bytes.")
    name = picture_format(data)
    if name is None:
        raise NotAPicture
    if name not in limits.formats:
        raise FormatNotAccepted
    try:
        header = PictureHeader(name, *READERS[name](data))
    except UnsupportedVariant as error:
        raise NotAPicture(f"This kind of {name.upper()} is not supported: {error}.") from error
    except ImplausibleSize as error:
        # Its size is what is wrong with it, where it is out of range too.
        _check_range(PictureHeader(name, error.width, error.height, 1), limits)
        raise PictureCorrupt(f"The {name.upper()} has {error}.") from error
    except (struct.error, ValueError) as error:
        raise PictureCorrupt(f"The {name.upper()} header is damaged: {error}.") from error
    _check_range(header, limits)
    return header


def _check_range(header: PictureHeader, limits: PictureLimits) -> None:
    width, height = header.width, header.height
    if min(width, height) < 1:
        raise PictureCorrupt("The picture has no pixels.")
    if min(width, height) < limits.min_side:
        raise PictureOutOfRange(
            f"The picture is {width}x{height}; each side must have at least "
            f"{limits.min_side} pixels."
        )
    if 0 < limits.max_short_side < min(width, height):
        raise PictureOutOfRange(
            f"The picture is {width}x{height}; the shorter side must have at most "
            f"{limits.max_short_side} pixels."
        )
    if max(width, height) > limits.max_side or width * height > limits.max_pixels:
        raise PictureOutOfRange(
            f"The picture is {width}x{height}; at most {limits.max_side} pixels a side and "
            f"{limits.max_pixels} in all are accepted."
        )
