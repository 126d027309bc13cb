"""Reads the header of a clip's container before any decoder sees the clip.

A file of two kilobytes can state billions of frames, and one of a few megabytes millions of
empty parts; a demuxer would work on them for seconds. This module reads a limited number of
part headers and decodes nothing. It skips invalid parts, which the decoder rejects. Stated
durations are not read: recorders state them in a wrong scale or from the start of their page, so
that only the stamps of the frames tell how long a clip is.
ISO/IEC 14496-12 (MP4, MOV), RFC 9559 (Matroska, WebM), Microsoft's RIFF and OpenDML (AVI).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipeline.media.iso_boxes import Box, boxes

ClipFormat = Literal["mp4", "matroska", "avi"]
"""A container format: MP4 includes MOV, Matroska includes WebM."""

ContainerPart = Box
"""A part's kind, and the start and end of its contents."""

# Deepest nesting of boxes; FFmpeg has the same limit.
_DEEPEST = 10


@dataclass(slots=True)
class ClipHeader:
    """The stated values, 0 where there is none. ``parts``: boxes, elements or chunks that
    were read; ``streams`` of any kind; ``frames`` of the longest video stream, ``samples``
    of the longest other stream; ``width`` and ``height`` of the largest frame."""

    parts: int = 0
    streams: int = 0
    frames: int = 0
    samples: int = 0
    width: int = 0
    height: int = 0

    def note_size(self, width: int, height: int) -> None:
        if width * height > self.width * self.height:
            self.width, self.height = width, height


def read_header(data: bytes, kind: ClipFormat, most_parts: int) -> ClipHeader:
    """Reads the header; stops after ``most_parts`` and one parts."""
    found = ClipHeader()
    reader = _HeaderReader(data, found, most_parts)
    readers: dict[ClipFormat, Callable[[_HeaderReader], None]] = {
        "mp4": _read_mp4, "matroska": _read_matroska, "avi": _read_avi,
    }
    readers[kind](reader)
    return found


@dataclass(frozen=True, slots=True)
class _HeaderReader:
    data: bytes
    found: ClipHeader
    most_parts: int

    def counted(self, parts: Iterator[ContainerPart]) -> Iterator[ContainerPart]:
        """Yields parts while the total is within the limit."""
        for part in parts:
            if self.found.parts > self.most_parts:
                return
            self.found.parts += 1
            yield part

    def numbers(self, form: str, place: int, end: int) -> tuple[int, ...]:
        """Unpacks numbers at a place; zeros when they exceed the part."""
        size = struct.calcsize(form)
        found = self.data[place : place + size] if place + size <= end else bytes(size)
        return struct.unpack(form, found)


# MP4, MOV ----------------------------------------------------------------------

_BOXES_OF_BOXES = frozenset((
    b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"edts", b"udta", b"mvex",
    b"moof", b"traf", b"tref", b"gmhd", b"ilst", b"wave", b"mfra",
))  # fmt: skip


@dataclass(slots=True)
class _Mp4Track:
    video: bool = False
    samples: int = 0
    width: int = 0
    height: int = 0


def _read_mp4(reader: _HeaderReader) -> None:
    fragments: dict[bytes, int] = {}
    _read_boxes(reader, 0, len(reader.data), _Mp4Track(), fragments, 0)
    reader.found.samples = max(reader.found.samples, fragments.get(b"trun", 0))


def _read_boxes(
    reader: _HeaderReader, start: int, end: int, track: _Mp4Track, fragments: dict[bytes, int],
    depth: int,
) -> None:
    for kind, place, stop in reader.counted(boxes(reader.data, start, end)):
        if kind == b"trak":
            own = _Mp4Track()
            reader.found.streams += 1
            _read_boxes(reader, place, stop, own, fragments, depth + 1)
            _note_track(own, reader.found)
        elif kind in _BOXES_OF_BOXES and depth < _DEEPEST:
            _read_boxes(reader, place, stop, track, fragments, depth + 1)
        elif kind == b"trun":
            count = reader.numbers(">4xI", place, stop)[0]
            fragments[kind] = fragments.get(kind, 0) + count
        else:
            _read_track_box(reader, kind, place, stop, track)


def _read_track_box(
    reader: _HeaderReader, kind: bytes, place: int, stop: int, track: _Mp4Track
) -> None:
    match kind:
        case b"hdlr":
            track.video = track.video or reader.data[place + 8 : place + 12] == b"vide"
        case b"stsz" | b"stz2":
            track.samples = max(track.samples, reader.numbers(">8xI", place, stop)[0])
        case b"stsd":
            # After the version, the count, and the first entry's header of 32 bytes.
            track.width, track.height = reader.numbers(">HH", place + 8 + 32, stop)
        case _:
            pass


def _note_track(track: _Mp4Track, found: ClipHeader) -> None:
    if not track.video:
        found.samples = max(found.samples, track.samples)
        return
    found.frames = max(found.frames, track.samples)
    found.note_size(track.width, track.height)


# Matroska, WebM ----------------------------------------------------------------

_SEGMENT, _TRACKS = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b"
_ENTRY, _VIDEO, _WIDTH, _HEIGHT = b"\xae", b"\xe0", b"\xb0", b"\xba"


def _read_matroska(reader: _HeaderReader) -> None:
    for kind, place, stop in reader.counted(_elements(reader.data, 0, len(reader.data))):
        if kind == _SEGMENT:
            for part in reader.counted(_elements(reader.data, place, stop)):
                _read_segment_part(reader, *part)


def _read_segment_part(reader: _HeaderReader, kind: bytes, place: int, stop: int) -> None:
    parts = reader.counted(_elements(reader.data, place, stop))
    if kind == _TRACKS:
        for part, begin, end in parts:
            reader.found.streams += part == _ENTRY
            _read_entry(reader, begin, end)


def _read_entry(reader: _HeaderReader, place: int, stop: int) -> None:
    for kind, begin, end in reader.counted(_elements(reader.data, place, stop)):
        if kind == _VIDEO:
            parts = reader.counted(_elements(reader.data, begin, end))
            known = {part: reader.data[first:last] for part, first, last in parts}
            reader.found.note_size(*(
                int.from_bytes(known.get(side, b"")[:8], "big") for side in (_WIDTH, _HEIGHT)
            ))


def _elements(data: bytes, start: int, end: int) -> Iterator[ContainerPart]:
    """EBML elements; one of unknown size ends with its parent."""
    while start + 2 <= end:
        wide = 9 - data[start].bit_length()  # bytes of the kind
        place = start + wide
        if wide > 4 or place >= end:
            return
        long = 9 - data[place].bit_length()  # bytes of the size
        if long > 8 or place + long > end:
            return
        size = int.from_bytes(data[place : place + long], "big") & ((1 << 7 * long) - 1)
        stop = end if size == (1 << 7 * long) - 1 else place + long + size
        yield data[start:place], place + long, min(stop, end)
        start = stop


# AVI ---------------------------------------------------------------------------

_LISTS = (b"AVI ", b"AVIX", b"hdrl", b"strl", b"movi")


def _read_avi(reader: _HeaderReader) -> None:
    _read_chunks(reader, 0, len(reader.data), 0)


def _read_chunks(reader: _HeaderReader, start: int, end: int, depth: int) -> None:
    for kind, place, stop in reader.counted(_chunks(reader.data, start, end)):
        listed = reader.data[place : place + 4] if kind in (b"RIFF", b"LIST") else b""
        if kind == b"avih":
            frames, width, height = reader.numbers("<16xI12xII", place, stop)
            reader.found.frames = max(reader.found.frames, frames)
            reader.found.note_size(width, height)
        elif listed in _LISTS and depth < _DEEPEST:
            reader.found.streams += listed == b"strl"
            _read_chunks(reader, place + 4, stop, depth + 1)


def _chunks(data: bytes, start: int, end: int) -> Iterator[ContainerPart]:
    """RIFF chunks, which start at even offsets."""
    while start + 8 <= end:
        kind, size = struct.unpack_from("<4sI", data, start)
        yield kind, start + 8, min(start + 8 + size, end)
        start += 8 + size + size % 2
