"""What a clip may be, and what its first bytes say.

The module imports no video library, so the web floor may use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pipeline.errors import ClipCorrupt, ClipOutOfRange

ClipFormat = Literal["mp4", "matroska", "avi"]
"""A container: MP4 and MOV are one, and so are WebM and Matroska."""

CLIP_FORMATS: tuple[ClipFormat, ...] = get_args(ClipFormat)

_EBML = b"\x1aE\xdf\xa3"

# The boxes that a file of the MP4 family may begin with: old MOV files have no `ftyp`.
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")


@dataclass(frozen=True, slots=True)
class ClipLimits:
    """What is accepted and what is kept of it.

    ``max_bytes`` of the file; ``max_seconds`` of play; ``max_pixels`` of a frame;
    ``max_frames`` and ``max_streams`` in the file; ``work_seconds`` for decoding all of
    it. ``rate`` is the most frames a second that are handed on, ``side`` the most pixels
    that the longer side of such a frame has: larger ones are scaled down.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_seconds: float = 30.0
    max_pixels: int = 4096 * 2304
    max_frames: int = 4000
    max_streams: int = 8
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
    """The container of a clip within the limit on bytes.

    Raises ``ClipOutOfRange``, and ``ClipCorrupt`` when it is no clip.
    """
    if len(data) > limits.max_bytes:
        raise ClipOutOfRange(f"The clip is larger than {limits.max_bytes} bytes.")
    found = clip_format(data)
    if found is None:
        raise ClipCorrupt("The bytes are no clip in an accepted format.")
    return found
