"""Accepted clips: formats and limits, checked by the first bytes and the header.

The module imports no video library, so that the web layer can use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from pipeline.errors import ClipCorrupt, ClipOutOfRange
from pipeline.media.clip_headers import ClipFormat, ClipHeader, read_header

CLIP_FORMATS: tuple[ClipFormat, ...] = get_args(ClipFormat)

ROUNDING_S = 0.5
"""Seconds by which a clip may exceed the limit: containers round, and the last frame has a
duration."""

# Highest sample rate of sound that recorders write: some containers list every sample.
_SOUND_RATE = 192_000

_EBML = b"\x1aE\xdf\xa3"

# First boxes of files of the MP4 family: old MOV files have no `ftyp`.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """Limits of accepted clips, and of the frames that are used.

    ``max_bytes`` of the file; ``max_seconds`` of playing time; ``max_pixels`` of a frame;
    ``max_frames`` and ``max_streams`` of the file, ``max_parts`` (boxes, elements, chunks)
    of its container; ``work_seconds`` for decoding it. At most ``rate`` frames per second
    are used, scaled down to ``side`` pixels of the longer side.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_seconds: float = 30.0
    max_pixels: int = 4096 * 2304
    # Slow motion: 30 s at 240 frames a second, and the last half second.
    max_frames: int = 7500
    # A phone writes a picture, two kinds of sound (stereo, spatial), a depth picture, and up to
    # ten tracks of timed metadata.
    max_streams: int = 24
    # A fragment with one frame of sound and picture has a dozen.
    max_parts: int = 50_000
    work_seconds: float = 40.0
    rate: float = 15.0
    side: int = 1280


def clip_format(data: bytes) -> ClipFormat | None:
    """The container by its first bytes; None for anything else, including playlists."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if data[:4] == _EBML:
        return "matroska"
    return "mp4" if data[4:8] in _MP4_BOXES else None


def check_clip(data: bytes, limits: ClipLimits) -> ClipFormat:
    """The container of a clip whose size and header are within the limits.

    Takes milliseconds for any input and runs no decoder. Raises ``ClipOutOfRange``, and
    ``ClipCorrupt`` for anything that is not a clip.
    """
    if len(data) > limits.max_bytes:
        raise ClipOutOfRange(f"The clip is larger than {limits.max_bytes} bytes.")
    found = clip_format(data)
    if found is None:
        raise ClipCorrupt("The file is not a clip in an accepted format.")
    _check_header(read_header(data, found, limits.max_parts), limits)
    return found


def _check_header(header: ClipHeader, limits: ClipLimits) -> None:
    if header.parts > limits.max_parts:
        raise ClipOutOfRange(f"The clip's file has more than {limits.max_parts} parts.")
    if header.streams > limits.max_streams:
        raise ClipOutOfRange(f"The clip has more than {limits.max_streams} streams.")
    check_size(header.width, header.height, limits)
    if header.frames > limits.max_frames:
        raise ClipOutOfRange(f"The clip has more than {limits.max_frames} frames.")
    if header.samples > _SOUND_RATE * limits.max_seconds:
        raise ClipOutOfRange("The clip has more sound than fits its duration.")


def check_size(width: int, height: int, limits: ClipLimits) -> None:
    """Raises ``ClipOutOfRange``."""
    if width * height > limits.max_pixels:
        raise ClipOutOfRange(
            f"The clip's frames are {width}x{height}; at most {limits.max_pixels} pixels are "
            "accepted."
        )


def check_length(seconds: float, limits: ClipLimits) -> None:
    """Raises ``ClipOutOfRange``."""
    if seconds > limits.max_seconds + ROUNDING_S:
        raise ClipOutOfRange(f"The clip is longer than {limits.max_seconds:g} seconds.")
