"""Decoding clips: every kind, turned and uneven ones, damaged and hostile ones."""

from __future__ import annotations

import io
import math
import random
import struct
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import ClipCorrupt, ClipOutOfRange
from pipeline.media.clips import ClipLimits, clip_format
from pipeline.sandbox.sandbox import MB, Sandbox, SandboxLimits
from pipeline.stages import clip as stage
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


@pytest.mark.parametrize("kind", ["mp4", "mov", "webm"])
def test_a_clip_that_starts_late_lasts_from_its_first_frame_to_its_last(kind: str) -> None:
    """Recorders count from when their page was opened."""
    data = encoded(moving(20), kind=kind, times=[3600 + number / 25 for number in range(20)])
    found = read(data)

    assert [frame.time for frame in found] == pytest.approx(
        [number / 25 for number in range(20)], abs=0.002
    )


@pytest.mark.parametrize("seconds", [0.0, 1e-3, 3604.6, 1e300, math.inf, math.nan, -1.0])
def test_a_stated_duration_plays_no_part(seconds: float) -> None:
    webm = bytearray(encoded(moving(20), kind="webm"))
    struct.pack_into(">d", webm, webm.index(b"\x44\x89\x88") + 3, seconds * 1000)
    mp4 = encoded(moving(20))
    for box, place in ((b"mvhd", 20), (b"mdhd", 20), (b"tkhd", 24)):
        at = mp4.index(box) + place
        ticks = int(min(max(seconds, 0) * 15360, 0xFFFFFFFF)) if seconds == seconds else 0
        mp4 = mp4[:at] + struct.pack(">I", ticks) + mp4[at + 4 :]
    avi = bytearray(encoded(moving(20), kind="avi"))
    struct.pack_into("<I", avi, avi.index(b"avih") + 8, int(min(abs(seconds), 2e9) or 0)
                     if seconds == seconds else 0)

    for data in (webm, mp4, avi):
        assert [frame.index for frame in read(bytes(data))] == list(range(20))


def test_slow_motion() -> None:
    found = read(encoded(moving(480), fps=240), ClipLimits())

    assert len(found) == 30
    assert found[-1].time == pytest.approx(29 / 15, abs=0.01)


def test_tracks_as_a_phone_writes_them() -> None:
    """Stereo and spatial sound, and ten tracks beside them, here of more sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as container:
        video = container.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = SIDES[1], SIDES[0], "yuv420p"
        layouts = ("stereo", "4.0", *["mono"] * 10)
        sounds = [container.add_stream("aac", rate=48_000, layout=layout) for layout in layouts]
        for shown in moving(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(shown, format="bgr24")))
        for sound in sounds:
            quiet = np.zeros((len(sound.layout.channels), 1024), np.float32)
            silence = av.AudioFrame.from_ndarray(quiet, format="fltp", layout=sound.layout.name)
            silence.sample_rate = 48_000
            container.mux(sound.encode(silence))
            container.mux(sound.encode())
        container.mux(video.encode())

    assert len(read(file.getvalue())) == 10


def test_a_cover_is_no_video() -> None:
    cover = encoded_png(picture(3))
    data = encoded(moving(10))
    tag = box(b"covr", box(b"data", struct.pack(">II", 14, 0), cover))
    meta = box(
        b"meta", bytes(4), box(b"hdlr", bytes(8), b"mdirappl", bytes(9)), box(b"ilst", tag)
    )
    more = box(b"udta", meta)
    start = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, start)
    assert start + size == len(data)
    changed = data[:start] + struct.pack(">I", size + len(more)) + data[start + 4 :] + more
    with av.open(io.BytesIO(changed)) as container:
        assert len(container.streams.video) == 2

    assert len(read(changed)) == 10


def encoded_png(shown: Picture) -> bytes:
    return cv2.imencode(".png", shown)[1].tobytes()


def box(kind: bytes, *parts: bytes) -> bytes:
    inside = b"".join(parts)
    return struct.pack(">I4s", 8 + len(inside), kind) + inside


@pytest.mark.parametrize(("shape", "size"), [
    ("4/3", (128, 64)), ("1/2", (96, 128)), ("16/15", (102, 64)), ("1/1", SIDES),
    ("100/1", SIDES), ("1/100", SIDES),
])  # fmt: skip
@pytest.mark.parametrize("kind", ["mp4", "avi"])
def test_pixels_are_squared(kind: str, shape: str, size: tuple[int, int]) -> None:
    found = read(encoded(moving(2), kind=kind, shape=Fraction(shape)))[0].picture
    assert found.shape == (size[1], size[0], 3)
    wanted = cv2.resize(picture(0), size, interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.astype(int) - wanted).mean() < 12


def test_wide_pixels_of_a_turned_clip() -> None:
    found = read(encoded(moving(2), shape=Fraction(4, 3), rotation=90))[0].picture
    assert found.shape == (128, 64, 3)


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


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi"])
def test_endless_play_costs_no_frame(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = encoded(moving(40), fps=1, kind=kind)
    monkeypatch.setattr(stage, "_decoded", None)  # it must not be decoded

    refused(clip)


def test_endless_play_that_the_packets_hide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "_check_stamps", lambda *_: None)

    refused(encoded(moving(40), fps=1, kind="webm"))


def test_more_frames_than_are_taken() -> None:
    refused(encoded(moving(30)), replace(LIMITS, max_frames=20))
