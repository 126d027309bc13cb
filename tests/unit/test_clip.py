"""Decoding clips: every kind, turned and uneven ones, damaged and hostile ones."""

from __future__ import annotations

import io
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import ClipCorrupt, ClipOutOfRange
from pipeline.media.clips import ClipLimits, clip_format
from pipeline.sandbox.sandbox import MB, Sandbox, SandboxLimits
from pipeline.stages.clip import (
    DECODE_FUNCTION,
    FRAMES_PER_CALL,
    ClipFrame,
    decode_frames,
    read_clip,
)
from pipeline.types import Picture
from tests.clips import KINDS, encoded

LIMITS = ClipLimits(rate=100)

SIDES = (96, 64)  # width, height

MUTANTS = 300


def picture(number: int) -> Picture:
    """A wedge that turns; its red left and black top tell one side from another."""
    drawn = np.full((SIDES[1], SIDES[0], 3), 200, np.uint8)
    cv2.ellipse(drawn, (52, 36), (24, 24), 6 * number, 0, 70, (40, 90, 30), -1)
    drawn[:12] = 0
    drawn[:, :16] = (0, 0, 230)
    return drawn


def moving(count: int) -> Iterator[Picture]:
    return (picture(number) for number in range(count))


def read(data: bytes, limits: ClipLimits = LIMITS) -> list[ClipFrame]:
    return list(decode_frames(data, limits))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    found = read(encoded(moving(20), kind=kind, fps=25))

    assert [frame.index for frame in found] == list(range(20))
    assert [frame.time for frame in found] == pytest.approx(
        [number / 25 for number in range(20)], abs=0.002
    )
    for frame in found:
        assert frame.picture.dtype == np.uint8
        difference = frame.picture.astype(int) - picture(frame.index)
        assert np.abs(difference).mean() < 6


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_turned_as_the_clip_asks(degrees: int) -> None:
    [first, *_] = read(encoded(moving(3), rotation=degrees))
    upright = np.rot90(picture(0), -degrees // 90)

    assert first.picture.shape == upright.shape
    assert np.abs(first.picture.astype(int) - upright).mean() < 6


def test_stamps_rule_over_rates() -> None:
    stamps = [0.0, 0.03, 0.05, 0.2, 0.25, 0.5, 0.51, 0.7, 0.9, 1.0]
    found = read(encoded(moving(10), times=stamps))

    assert [frame.time for frame in found] == pytest.approx(stamps, abs=0.001)


@pytest.mark.parametrize(("fps", "rate", "kept"), [(60, 15, 4), (30, 15, 2), (10, 15, 1)])
def test_the_rate_is_lowered_evenly(fps: float, rate: float, kept: int) -> None:
    found = read(encoded(moving(24), fps=fps), replace(LIMITS, rate=rate))

    assert [frame.index for frame in found] == list(range(0, 24, kept))


def test_large_frames_are_scaled_down() -> None:
    [first] = read(encoded(moving(1)), replace(LIMITS, side=48))

    assert first.picture.shape == (32, 48, 3)


def test_only_the_first_video_stream_is_decoded() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        streams = []
        for _ in range(2):
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = *SIDES, "yuv420p"
            streams.append(stream)
        sound = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        silence.rate = 16000
        container.mux(sound.encode(silence))
        for number in range(5):
            for place, stream in enumerate(streams):
                shown = picture(number) if place == 0 else np.zeros_like(picture(0))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="bgr24")))
        for stream in streams:
            container.mux(stream.encode())

    found = read(file.getvalue())

    assert len(found) == 5
    assert found[0].picture[40, 4, 2] > 150


def test_no_more_than_one_frame_is_held() -> None:
    reading = decode_frames(encoded(moving(50)), LIMITS)

    assert next(reading).index == 0
    assert next(reading).index == 1
    reading.close()


def test_only_decoding_counts_as_decoding_time(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed)
    monkeypatch.setattr("pipeline.stages.clip.time", clock)
    for _ in decode_frames(encoded(moving(6)), replace(LIMITS, work_seconds=100.0)):
        passed += 90.0  # the consumer's
    with pytest.raises(ClipOutOfRange):
        read(encoded(moving(6)), replace(LIMITS, work_seconds=0.0))


# In a sandbox ------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(
        [DECODE_FUNCTION],
        SandboxLimits(input_bytes=MB, output_bytes=120 * MB, memory_bytes=512 * MB, seconds=10),
    ) as made:
        yield made


def test_a_sandbox_gives_the_same_frames(sandbox: Sandbox) -> None:
    clip = encoded(moving(3 * FRAMES_PER_CALL), kind="webm")
    for ours, theirs in zip(read(clip), read_clip(clip, LIMITS, sandbox), strict=True):
        np.testing.assert_array_equal(ours.picture, theirs.picture)
        assert (ours.index, ours.time) == (theirs.index, theirs.time)
    with pytest.raises(ClipCorrupt):
        list(read_clip(clip[:300], LIMITS, sandbox))


def test_another_decoder_goes_on_where_one_was(sandbox: Sandbox) -> None:
    clips = [encoded(moving(3 * FRAMES_PER_CALL), kind=kind) for kind in ("mp4", "avi")]
    both = [read_clip(clip, LIMITS, sandbox) for clip in clips]
    for one, other in zip(*both, strict=True):  # each part finds the other clip's decoder
        assert one.index == other.index
    reading = read_clip(clips[0], LIMITS, sandbox)
    first = [next(reading).index for _ in range(FRAMES_PER_CALL)]
    sandbox.close()
    assert [*first, *(frame.index for frame in reading)] == list(range(3 * FRAMES_PER_CALL))


# Files that are no clip ---------------------------------------------------------------


@pytest.mark.parametrize("data", [
    b"", b"\0" * 100, b"RIFF\0\0\0\0WAVEfmt ", b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
    b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n",
    b"ffconcat version 1.0\nfile 'http://127.0.0.1:9/a.mp4'\n",
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n",
    b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
])  # fmt: skip
def test_no_clip(data: bytes) -> None:
    assert clip_format(data) is None
    with pytest.raises(ClipCorrupt):
        read(data)


@pytest.mark.parametrize("start", [
    b"\0\0\0\x18ftypisom", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI ", b"\0\0\0\x08moov",
])  # fmt: skip
def test_a_clip_by_its_first_bytes_only(start: bytes) -> None:
    for rest in (b"", b"\0" * 500, b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n" * 20):
        with pytest.raises(ClipCorrupt):
            read(start + rest)


def test_an_external_reference_is_not_followed() -> None:
    """A MOV track may be in another file (`dref`/`alis`, `url `)."""
    data = encoded(moving(5), kind="mov")
    place = data.index(b"url ", data.index(b"dref"))
    elsewhere = b"/etc/hostname\0"
    box = struct.pack(">I4sI", 12 + len(elsewhere), b"url ", 0) + elsewhere
    changed = data[: place - 4] + box + data[place - 4 + 12 :]

    with pytest.raises(ClipCorrupt):
        read(changed[: len(data)])


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
def test_mutants(kind: str) -> None:
    """Bits flipped, pieces cut out, repeated, cut off: frames or ``ClipCorrupt``."""
    clip, chance = encoded(moving(12), kind=kind), random.Random(kind)
    for _ in range(MUTANTS // 3):
        mutant = bytearray(clip)
        for _ in range(chance.choice((1, 4, 40))):
            place = chance.randrange(len(mutant) if chance.random() < 0.5 else 600)
            mutant[place] = chance.randrange(256)
        if chance.random() < 0.3:
            start = chance.randrange(len(mutant))
            del mutant[start : start + chance.randrange(2000)]
        if chance.random() < 0.2:
            mutant = mutant[: chance.randrange(len(mutant))]
        try:
            for frame in decode_frames(bytes(mutant), replace(LIMITS, max_pixels=1_000_000)):
                assert frame.picture.ndim == 3
        except ClipCorrupt:
            continue


def test_half_a_clip_shows_what_is_there() -> None:
    clip = encoded(moving(30), kind="webm")

    assert 0 < len(read(clip[: len(clip) * 2 // 3])) < 30


# Bombs that headers do not give away (those are in test_clip_headers) -----------


def refused(data: bytes, limits: ClipLimits = LIMITS) -> None:
    with pytest.raises(ClipOutOfRange):
        read(data, limits)


def test_too_many_bytes() -> None:
    refused(encoded(moving(5)), replace(LIMITS, max_bytes=1000))


def resized(avi: bytes, width: int, height: int) -> bytes:
    """An AVI whose headers state another size; its frames are unchanged."""
    changed = bytearray(avi)
    struct.pack_into("<II", changed, avi.index(b"avih") + 8 + 32, width, height)
    struct.pack_into("<II", changed, avi.index(b"strf") + 8 + 4, width, height)
    return bytes(changed)


def test_huge_frames_that_the_header_hides() -> None:
    """The decoder must not give a frame larger than the limit, whatever was stated."""
    large = np.zeros((3000, 4000, 3), np.uint8)
    clip = resized(encoded([large] * 2, kind="avi"), *SIDES)

    with pytest.raises(ClipCorrupt):
        read(clip, replace(LIMITS, max_pixels=1_000_000))


def test_endless_play_that_the_header_hides() -> None:
    clip = bytearray(encoded(moving(40), fps=1, kind="webm"))
    stated = clip.index(b"\x44\x89")  # Duration, of eight bytes
    clip[stated : stated + 2] = b"\x44\x88"

    refused(bytes(clip))


def test_more_frames_than_are_taken() -> None:
    refused(encoded(moving(30)), replace(LIMITS, max_frames=20))
