"""Bombs are refused by their container headers, before a decoder sees a byte of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import av
import numpy as np
import pytest

from pipeline.errors import ClipOutOfRange
from pipeline.media.clip_headers import read_header
from pipeline.media.clips import ClipLimits, check_clip, clip_format
from pipeline.stages.clip import decode_frames, read_clip
from tests.clips import KINDS, encoded

LIMITS = ClipLimits()

BLACK = np.zeros((64, 96, 3), np.uint8)

FTYP = b"\0\0\0\x14ftypisom\0\0\2\0isom"
SEGMENT = b"\x18\x53\x80\x67"
VOID = b"\xec\x80"
ENDLESS = SEGMENT + b"\x01" + b"\xff" * 7


def clip(kind: str = "mp4", count: int = 3, fps: float = 30.0) -> bytes:
    return encoded([BLACK] * count, kind=kind, fps=fps)


@pytest.mark.parametrize("kind", KINDS)
def test_headers_say_what_decoders_find(kind: str) -> None:
    data = clip(kind, 50, fps=25)
    container = clip_format(data)
    assert container is not None
    found = read_header(data, container, LIMITS.max_parts)

    assert (found.streams, found.width, found.height) == (1, 96, 64)
    assert found.frames == (0 if container == "matroska" else 50)
    assert 10 < found.parts < 300
    check_clip(data, LIMITS)


def test_a_fragment_for_each_frame() -> None:
    data = muxed("mp4", 1, options={"movflags": "frag_every_frame+empty_moov"}, count=60)

    check_clip(data, LIMITS)
    assert len(list(decode_frames(data, LIMITS))) == 30


def test_a_stream_of_unknown_length() -> None:
    """As browsers record: neither the segment nor its clusters say how long they are."""
    data = muxed("webm", 1, codec="libvpx", options={"live": "1"}, count=30)

    check_clip(data, LIMITS)
    assert len(list(decode_frames(data, LIMITS))) == 15


def muxed(
    muxer: str, streams: int, codec: str = "mpeg4", options: dict[str, str] | None = None,
    count: int = 1,
) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=muxer, options=options or {}) as container:
        made: list[Any] = []
        for _ in range(streams):
            made.append(container.add_stream(codec, rate=30))
            made[-1].height, made[-1].width = BLACK.shape[:2]
            made[-1].pix_fmt = "yuv420p"
        for stream in made:
            for _ in range(count):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(BLACK, format="bgr24")))
            container.mux(stream.encode())
    return file.getvalue()


# Bombs -------------------------------------------------------------------------


def within(data: bytes, *path: bytes) -> tuple[int, int]:
    """Where the contents of an MP4 box begin and end."""
    start, stop = 0, len(data)
    for wanted in path:
        place = start
        while True:
            size, kind = struct.unpack_from(">I4s", data, place)
            if kind == wanted:
                start, stop = place + 8, place + size
                break
            place += size
    return start, stop


def changed(data: bytes, place: int, form: str, *numbers: float) -> bytes:
    found = bytearray(data)
    struct.pack_into(form, found, place, *numbers)
    return bytes(found)


def grown(data: bytes, more: bytes) -> bytes:
    """An MP4 with more boxes at the end of its ``moov``, which is its last."""
    start, stop = within(data, b"moov")
    assert stop == len(data)
    return changed(data + more, start - 8, ">I", stop - start + 8 + len(more))


def until(mark: bytes, data: bytes) -> bytes:
    return data[: data.index(mark)]


def large(kind: str) -> bytes:
    """Frames of 20,000 x 20,000, by the header."""
    data = clip(kind)
    if kind == "avi":
        return changed(data, data.index(b"avih") + 8 + 32, "<II", 20_000, 20_000)
    place = data.index(b"avc1", data.index(b"stsd")) + 4 + 24
    return changed(data, place, ">HH", 20_000, 20_000)


def many_traks() -> bytes:
    data = clip()
    start, stop = within(data, b"moov", b"trak")
    return grown(data, data[start - 8 : stop] * 3000)


def many_samples() -> bytes:
    """Two thousand million frames of one byte, in a file of two kilobytes."""
    data = clip()
    return changed(data, data.index(b"stsz") + 4 + 4, ">II", 1, 2**31)


def many_fragments() -> bytes:
    data = muxed("mp4", 1, options={"movflags": "frag_keyframe+empty_moov"})
    return changed(data, data.index(b"trun") + 4 + 4, ">I", 2**31)


BOMBS: dict[str, Callable[[], bytes]] = {
    "huge frames, MP4": lambda: large("mp4"),
    "huge frames, WebM": lambda: encoded([np.zeros((2400, 4200, 3), np.uint8)], kind="webm"),
    "huge frames, AVI": lambda: large("avi"),
    "thousands of streams, MP4": many_traks,
    "a hundred streams, Matroska": lambda: muxed("matroska", 100),
    "thirty streams, AVI": lambda: muxed("avi", 30),
    "two thousand million frames": many_samples,
    "two thousand million fragments": many_fragments,
    "a million empty boxes": lambda: FTYP + b"\0\0\0\x08free" * 1_000_000,
    "a million empty boxes in moov": lambda: grown(clip(), b"\0\0\0\x08free" * 1_000_000),
    "a million empty tracks": lambda: grown(clip(), b"\0\0\0\x08trak" * 1_000_000),
    "a million empty elements": lambda: until(SEGMENT, clip("webm")) + ENDLESS + VOID * 10**6,
    "a million empty chunks": lambda: until(b"movi", clip("avi")) + b"movi" + bytes(8_000_000),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_meets_no_decoder(bomb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = BOMBS[bomb]()
    monkeypatch.setattr(av, "open", None)  # it must not be opened

    for refusing in (
        lambda: check_clip(data, LIMITS),
        lambda: next(decode_frames(data, LIMITS)),
        lambda: next(read_clip(data, LIMITS)),
    ):
        with pytest.raises(ClipOutOfRange):
            refusing()
    container = clip_format(data)
    assert container is not None
    assert read_header(data, container, LIMITS.max_parts).parts <= LIMITS.max_parts + 1


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
def test_reading_bears_anything(kind: str) -> None:
    """Damaged headers are passed over here; decoders judge them."""
    data, chance = clip(kind), np.random.default_rng(3)
    container = clip_format(data)
    assert container is not None
    for _ in range(300):
        mutant = bytearray(data[: int(chance.integers(12, len(data)))])
        for place in chance.integers(12, len(mutant) + 1, 20):
            mutant[min(int(place), len(mutant) - 1)] = int(chance.integers(256))
        found = read_header(bytes(mutant), container, 1000)
        assert found.parts <= 1001
    for length in range(60):
        read_header(data[:length], container, 1000)
