"""Checks a picture's header before any pixel is decoded.

A PNG of 1 MB can ask for gigabytes: call ``inspect`` for every file from outside. The module
imports no image library, so that the web layer can use it.
"""

from __future__ import annotations

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
from pipeline.media.foreign_kinds import foreign_kind
from pipeline.media.formats.base import (
    BrokenPicture,
    CutOff,
    ImplausibleSize,
    UnsupportedVariant,
)
from pipeline.media.picture_formats import READERS, SPOKEN, PictureFormat, picture_format

ALL_FORMATS: frozenset[PictureFormat] = frozenset(READERS)

# Pixels. No detector finds a face in a smaller picture.
SMALLEST_SIDE = 9


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """Limits of accepted pictures: bytes of the file and pixels by its header.
    ``max_short_side`` bounds the shorter side; 0: unlimited."""

    max_bytes: int
    min_side: int
    max_side: int
    max_pixels: int
    formats: frozenset[PictureFormat] = ALL_FORMATS
    max_short_side: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """The limits of the service, which a dialect may narrow."""
        return cls(
            max_bytes=settings.max_body_bytes,
            min_side=SMALLEST_SIDE,
            max_side=settings.max_side,
            max_pixels=settings.max_pixels,
        )


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """``width`` and ``height`` are as stored, before the EXIF ``orientation`` (1 to 8; 1 is
    upright) is applied."""

    format: PictureFormat
    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) after applying the orientation."""
        if self.orientation >= 5:
            return self.height, self.width
        return self.width, self.height


def inspect(data: bytes, limits: PictureLimits) -> PictureHeader:
    """Reads the header of the picture in ``data`` and checks it against ``limits``.

    Raises ``MediaTooLarge``, ``NotAPicture`` (by the bytes; file names do not matter),
    ``FormatNotAccepted``, ``PictureCorrupt`` when the header is truncated, contradicts
    itself or announces more than the file can hold, and ``PictureOutOfRange``.
    """
    if len(data) > limits.max_bytes:
        raise MediaTooLarge(f"The file is larger than {limits.max_bytes} bytes.")
    name = picture_format(data)
    if name is None:
        raise _foreign(data, limits)
    spoken = SPOKEN[name]
    if name not in limits.formats:
        raise FormatNotAccepted(
            f"This is {_article(spoken)} {spoken} picture, which is not taken here. "
            f"Send {_any_of(limits.formats)}."
        )
    try:
        header = PictureHeader(name, *READERS[name](data))
    except UnsupportedVariant as error:
        raise FormatNotAccepted(
            f"This kind of {spoken} is not taken: {error.words}. "
            f"Send a usual {spoken}, or {_any_of(limits.formats - {name})}."
        ) from error
    except ImplausibleSize as error:
        # An announced size that is out of range as well is reported as such.
        _check_range(PictureHeader(name, error.width, error.height, 1), limits)
        raise PictureCorrupt(f"The {spoken} has {error.words}.") from error
    except CutOff as error:
        raise PictureCorrupt(f"The {spoken} is cut off: {error.words}.") from error
    except BrokenPicture as error:
        raise PictureCorrupt(f"The {spoken} is damaged: {error.words}.") from error
    _check_range(header, limits)
    return header


def _foreign(data: bytes, limits: PictureLimits) -> NotAPicture:
    """The error for bytes in no format of this service: their kind, and what to send instead."""
    kind, wanted = foreign_kind(data), f"Send {_any_of(limits.formats)}."
    if kind is None:
        return NotAPicture(f"The bytes are not a picture in any known format. {wanted}")
    advice = kind.advice or wanted
    if kind.picture:
        return FormatNotAccepted(f"This is {kind.name}, which is not taken. {advice}")
    return NotAPicture(f"This is {kind.name}, not a picture. {advice}")


def _any_of(formats: frozenset[PictureFormat]) -> str:
    names = [SPOKEN[name] for name in SPOKEN if name in formats]
    listed = f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else names[0]
    return f"{_article(listed)} {listed}"


def _article(name: str) -> str:
    return "an" if name[0] in "AEIO" else "a"


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
