"""What a clip may be, and what its first bytes say.

The module imports no video library, so the web floor may use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from pipeline.errors import ClipCorrupt, ClipOutOfRange
from pipeline.media.clip_headers import ClipFormat, ClipHeader, read_header

CLIP_FORMATS: tuple[ClipFormat, ...] = get_args(ClipFormat)

ROUNDING_S = 0.5
"""Seconds that a clip may be longer than the limit: containers round, and the last frame
lasts a moment."""

# Samples of sound a second, the most that any recorder writes: some list each of them.
_SOUND_RATE = 192_000

_EBML = b"\x1aE\xdf\xa3"

# The boxes that a file of the MP4 family may begin with: old MOV files have no `ftyp`.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What is accepted and what is kept of it.

    ``max_bytes`` of the file; ``max_seconds`` of play; ``max_pixels`` of a frame;
    ``max_frames`` and ``max_streams`` in the file, ``max_parts`` (boxes, elements, chunks)
    of its container; ``work_seconds`` for decoding all of it. ``rate_bucket`` is the most frames a
    second that are handed on, ``side`` the most pixels that the longer side of such a frame
    has: larger ones are scaled down.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_seconds: float = 30.0
    max_pixels: int = 4096 * 2304
    max_frames: int = 4000
    max_streams: int = 8
    # A frame of sound and picture, written as a fragment of its own, has a dozen.
    max_parts: int = 50_000
    work_seconds: float = 40.0
    rate: float = 15.0
    side: int = 1280


def clip_format(data: bytes) -> ClipFormat | None:
    """The container by its first bytes; None for anything else, playlists among it."""
    if data[:4] == b"RIFF" and data[8:12] == b"AVI ":
        return "avi"
    if data[:4] == _EBML:
        return "matroska"
    return "mp4" if data[4:8] in _MP4_BOXES else None


def check_clip(data: bytes, limits: ClipLimits) -> ClipFormat:
    """The container of a clip that is within the limits by its bytes and its header.

    Milliseconds, whatever the bytes are; no decoder is asked. Raises ``ClipOutOfRange``,
    and ``ClipCorrupt`` when it is no clip.
    """
    if len(data) > limits.max_bytes:
        raise ClipOutOfRange(f"The clip is larger than {limits.max_bytes} bytes.")
    found = clip_format(data)
    if found is None:
        raise ClipCorrupt("The bytes are no clip in an accepted format.")
    _check_header(read_header(data, found, limits.max_parts), limits)
    return found


def _check_header(header: ClipHeader, limits: ClipLimits) -> None:
    if header.parts > limits.max_parts:
        raise ClipOutOfRange(f"The clip's file has more than {limits.max_parts} parts.")
    if header.streams > limits.max_streams:
        raise ClipOutOfRange(f"The clip has more than {limits.max_streams} streams.")
    check_size(header.width, header.height, limits)
    check_length(header.seconds, limits)
    if header.frames > limits.max_frames:
        raise ClipOutOfRange(f"The clip has more than {limits.max_frames} frames.")
    if header.samples > _SOUND_RATE * limits.max_seconds:
        raise ClipOutOfRange("The clip has more sound than can be played in its time.")


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
