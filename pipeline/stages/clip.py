"""Decodes a clip to upright frames, one after the other.

PyAV (FFmpeg) decodes. The first bytes select the container, and only its demuxer is used, so
that playlists are never interpreted. Requests to open other files are refused. Only the first
video stream is decoded, with one of the codecs that phones, browsers and cameras write. The
container's statements and the stamps of its packets are checked before the first frame, and the
decoded frames as well. A clip lasts from its first frame to its last, whatever duration it states.
"""

from __future__ import annotations

import io
import math
import struct
import time
import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

import cv2
import numpy as np

from pipeline.errors import ClipCorrupt, ClipOutOfRange
from pipeline.media.clip_headers import ClipFormat
from pipeline.media.clips import ROUNDING_S, ClipLimits, check_clip, check_length, check_size
from pipeline.sandbox.messages import Decoded
from pipeline.sandbox.sandbox import Sandbox
from pipeline.types import JsonObject, Picture

if TYPE_CHECKING:
    # PyAV takes 150 ms and 30 MB; only the process that decodes needs it.
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    VideoPacket = Packet[VideoStream]

_DEMUXERS: dict[ClipFormat, str] = {"mp4": "mov", "matroska": "matroska", "avi": "avi"}

_CODECS = ("h264", "hevc", "vp8", "vp9", "libdav1d", "av1", "mpeg4", "h263", "mjpeg", "msmpeg4v3")

# Bytes and microseconds that FFmpeg may read to detect the streams.
_PROBE = {"probesize": "2000000", "analyzeduration": "2000000", "fpsprobesize": "4"}

# Consecutive packets without a frame after which decoding ends.
_MOST_BAD_PACKETS = 300

# Assumed frames per second of a clip without timestamps.
_USUAL_RATE = 30.0

# Packets of a frame that may be shown: codecs also send frames that others only refer to.
_PACKETS_A_FRAME = 4

# Widest and narrowest pixels that are squared, as width by height. Anamorphic video has 1/2 to 2;
# what is stated beyond is damage.
_WIDEST = 4.0

_MATRIX_BYTES = 36  # nine numbers

# The function that the sandbox runs, and the frames per call: 40 MB of the largest frames.
DECODE_FUNCTION = "pipeline.stages.clip:decode_part"
FRAMES_PER_CALL = 8


@dataclass(frozen=True, slots=True, eq=False)
class ClipFrame:
    """One selected frame. ``index`` counts all frames of the clip from 0; ``time`` is in
    seconds from the first frame."""

    index: int
    time: float
    picture: Picture


def decode_frames(data: bytes, limits: ClipLimits) -> Generator[ClipFrame, None, None]:
    """The upright frames of the clip in ``data``, of square pixels, at most ``limits.rate`` per
    second.

    Holds one frame in memory at a time and skips damaged parts. Raises ``ClipOutOfRange``
    as soon as the container or the decoded frames exceed a limit, and ``ClipCorrupt`` when
    no frame can be decoded.
    """
    demuxer = _DEMUXERS[check_clip(data, limits)]
    budget = _TimeBudget(limits.work_seconds)
    with _clip_errors(), _opened(data, demuxer, limits) as container:
        _check_stamps(_packets(container, _checked_stream(container, limits)), limits, budget)
    # Opened again: not every container can be set back to its start.
    with _clip_errors(), _opened(data, demuxer, limits) as container:
        stream = _checked_stream(container, limits)
        shape, found = _pixel_shape(stream), False
        decoded = _decoded(_packets(container, stream), stream, limits, budget)
        for index, seconds, frame in _selected(decoded, limits):
            found = True
            picture = _upright(frame, limits, shape)
            with budget.paused():
                yield ClipFrame(index, seconds, picture)
        if not found:
            raise ClipCorrupt


# In a sandbox ------------------------------------------------------------------


def read_clip(
    data: bytes, limits: ClipLimits, sandbox: Sandbox | None = None
) -> Iterator[ClipFrame]:
    """As ``decode_frames``, but in ``sandbox``, a few frames at a time. Without a sandbox it
    decodes in this process, which is only for the operator's own clips. Raises as
    ``decode_frames`` does."""
    if sandbox is None:
        yield from decode_frames(data, limits)
        return
    check_clip(data, limits)
    reading, done, over = uuid.uuid4().hex, 0, False
    while not over:
        part = _part(data, limits, sandbox, reading, done)
        for frame in part[0]:
            done += 1
            yield frame
        over = part[1]


def _part(
    data: bytes, limits: ClipLimits, sandbox: Sandbox, reading: str, done: int
) -> tuple[list[ClipFrame], bool]:
    """The next frames after the first ``done``, and whether they are the last."""
    options = {"reading": reading, "done": done, "limits": asdict(limits)}
    space = FRAMES_PER_CALL * (3 * limits.side**2 + 4096)
    # The decoder continues where it stopped. A new decoder needs the clip again.
    for payload in (b"", data) if done else (data,):
        decoded = sandbox.run(
            DECODE_FUNCTION, payload, options, output_bytes=space, failure=ClipCorrupt
        )
        if not decoded.metadata.get("lost"):
            return _checked_part(list(decoded.arrays), decoded.metadata, limits)
    raise ClipCorrupt


def _checked_part(
    pictures: Sequence[Any], metadata: JsonObject, limits: ClipLimits
) -> tuple[list[ClipFrame], bool]:
    """Checks the decoder's result, which hostile bytes may have manipulated."""
    stamps, over = metadata.get("frames"), metadata.get("over")
    if (
        not isinstance(stamps, list)
        or len(stamps) != len(pictures)
        or len(stamps) > FRAMES_PER_CALL
    ):
        raise ClipCorrupt
    found = []
    for stamp, picture in zip(stamps, pictures, strict=True):
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ClipCorrupt
        try:
            index, seconds = int(stamp[0]), float(stamp[1])
        except (TypeError, ValueError, IndexError, KeyError) as error:
            raise ClipCorrupt from error
        if not 0 <= seconds <= limits.max_seconds + ROUNDING_S or picture.size == 0:
            raise ClipCorrupt
        found.append(ClipFrame(index, seconds, picture))
    return found, over is not False or not found


def prepare_decoder() -> None:
    """Import what ``decode_part`` needs, before the sandbox forbids it."""
    import av
    import av.subtitles.stream  # noqa: F401  # av imports it late
    from av.sidedata import sidedata  # noqa: F401


def decode_part(data: bytes, options: JsonObject) -> Decoded:
    """The next frames of a clip, inside the sandbox. Without ``data`` it continues the current
    clip; the metadata says ``lost`` when this decoder is not at that place of it."""
    cv2.setNumThreads(1)  # the sandbox forbids threads
    place = options["reading"], options["done"]
    if data:
        source = decode_frames(data, ClipLimits(**options["limits"]))
        _OpenClip.source = islice(source, options["done"], None)
    elif _OpenClip.place != place or _OpenClip.source is None:
        return Decoded([], {"lost": True})
    _OpenClip.place = None
    part = list(islice(_OpenClip.source or (), FRAMES_PER_CALL))
    _OpenClip.place = options["reading"], options["done"] + len(part)
    return Decoded(
        [frame.picture for frame in part],
        {
            "frames": [[frame.index, frame.time] for frame in part],
            "over": len(part) < FRAMES_PER_CALL,
        },
    )


class _OpenClip:
    """The clip that this decoder is reading, and its position."""

    source: Iterator[ClipFrame] | None = None
    place: tuple[str, int] | None = None


class _TimeBudget:
    """The time limit of decoding. Time spent by the consumer of frames does not count."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def check(self) -> None:
        if time.monotonic() > self._until:
            raise ClipOutOfRange("The clip takes too long to decode.")

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._until += time.monotonic() - began


# Opening -----------------------------------------------------------------------


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ClipCorrupt("The clip asks for another file.")


def _opened(data: bytes, demuxer: str, limits: ClipLimits) -> InputContainer:
    import av

    return av.open(
        io.BytesIO(data),
        mode="r",
        format=demuxer,
        options={
            **_PROBE,
            "protocol_whitelist": "none",
            "codec_whitelist": ",".join(_CODECS),
            "max_streams": str(limits.max_streams),
            "max_pixels": str(limits.max_pixels),
            "threads": "1",
        },
        io_open=_refuse,
    )


def _checked_stream(container: InputContainer, limits: ClipLimits) -> VideoStream:
    """The first video stream, after checking the container's statements."""
    from av.stream import Disposition

    if len(container.streams) > limits.max_streams:
        raise ClipOutOfRange(f"The clip has more than {limits.max_streams} streams.")
    # A cover is a stream of one picture.
    moving = [
        each for each in container.streams.video if not each.disposition & Disposition.attached_pic
    ]
    if not moving:
        raise ClipCorrupt("The clip has no video stream.")
    stream = moving[0]
    if stream.codec_context is None or stream.codec_context.name not in _CODECS:
        raise ClipCorrupt("The clip is in no accepted codec.")
    check_size(stream.width, stream.height, limits)
    if stream.frames > limits.max_frames:
        raise ClipOutOfRange(f"The clip has more than {limits.max_frames} frames.")
    context = stream.codec_context
    context.thread_count = 1
    context.options = {"max_pixels": str(limits.max_pixels)}
    return stream


def _check_stamps(packets: Iterator[VideoPacket], limits: ClipLimits, budget: _TimeBudget) -> None:
    """Checks the length of the clip by the stamps of its packets, without decoding one."""
    first, last = math.inf, -math.inf
    for count, packet in enumerate(packets):
        budget.check()
        if count > limits.max_frames * _PACKETS_A_FRAME:
            raise ClipOutOfRange(f"The clip has more than {limits.max_frames} frames.")
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None and packet.time_base and not packet.is_discard:
            seconds = float(stamp * packet.time_base)
            first, last = min(first, seconds), max(last, seconds)
    check_length(last - first, limits)


# Reading -----------------------------------------------------------------------


def _decoded(
    packets: Iterator[VideoPacket], stream: VideoStream, limits: ClipLimits, budget: _TimeBudget
) -> Iterator[VideoFrame]:
    """Every frame in presentation order. Skips packets without a frame."""
    import av

    count = bad = 0
    for packet in packets:
        budget.check()
        try:
            decoded = stream.decode(packet)
        except av.FFmpegError:
            decoded = []
        bad = 0 if decoded else bad + 1
        if bad > _MOST_BAD_PACKETS:
            return
        for frame in decoded:
            count += 1
            if count > limits.max_frames:
                raise ClipOutOfRange(f"The clip has more than {limits.max_frames} frames.")
            check_size(frame.width, frame.height, limits)
            yield frame


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
    """The stream's packets, including the empty packet that flushes the decoder. Ends where a
    truncated file ends."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None
        if packet is None:
            return
        yield packet


def _selected(
    decoded: Iterator[VideoFrame], limits: ClipLimits
) -> Iterator[tuple[int, float, VideoFrame]]:
    """(index, seconds, frame) of the frames that the rate selects: the first of each time
    slot."""
    clock = _Clock()
    last_slot = -1
    for index, frame in enumerate(decoded):
        seconds = clock.read(frame)
        check_length(seconds, limits)
        # Tolerates slightly early frames: timestamps are rounded to the container's ticks.
        slot = math.floor(seconds * limits.rate + 0.02)
        if slot > last_slot:
            last_slot = slot
            yield index, seconds, frame


class _Clock:
    """Seconds since the first frame by the clip's timestamps, never decreasing. Without a
    timestamp it advances by the last interval."""

    def __init__(self) -> None:
        self._first: float | None = None
        self._last = 0.0
        self._pace = 1 / _USUAL_RATE

    def read(self, frame: VideoFrame) -> float:
        stamp = frame.time
        if stamp is None or not math.isfinite(stamp):
            self._last += 0.0 if self._first is None else self._pace
            self._first = 0.0 if self._first is None else self._first
            return self._last
        if self._first is None:
            self._first = stamp
            return 0.0
        now = stamp - self._first
        if now > self._last:
            self._pace = min(now - self._last, 1.0)
            self._last = now
        return self._last


# Pixels ------------------------------------------------------------------------


def _pixel_shape(stream: VideoStream) -> float:
    """The width of a stored pixel by its height."""
    stated = float(stream.sample_aspect_ratio or 1)
    return stated if 1 / _WIDEST <= stated <= _WIDEST else 1.0


def _upright(frame: VideoFrame, limits: ClipLimits, shape: float) -> Picture:
    """The frame as BGR, its pixels squared, scaled to the limit and rotated by the display
    matrix."""
    wide, high = frame.width * max(shape, 1.0), frame.height / min(shape, 1.0)
    scale = min(1.0, limits.side / max(wide, high, 1))
    width, height = (max(2, round(side * scale)) for side in (wide, high))
    pixels = frame.reformat(width, height, "bgr24", interpolation="AREA", threads=1).to_ndarray()
    turned = _turned(np.asarray(pixels, dtype=np.uint8), _display_matrix(frame))
    return np.ascontiguousarray(turned)


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The directions of a step to the right and of a step down after rotation: (x, y, x, y),
    each -1, 0 or 1. Other angles count as the nearest right angle."""
    from av.sidedata.sidedata import Type as SideDataType

    attached: Any = frame.side_data
    matrix = attached.get(SideDataType.DISPLAYMATRIX)
    if matrix is None or matrix.buffer_size < _MATRIX_BYTES:
        return 1, 0, 0, 1
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return (-1 if a < 0 else 1), 0, 0, (-1 if d < 0 else 1)
    return 0, (-1 if b < 0 else 1), (-1 if c < 0 else 1), 0


def _turned(pixels: Picture, steps: tuple[int, int, int, int]) -> Picture:
    right_x, right_y, down_x, down_y = steps
    if right_x == 0:  # right becomes down: mirrored along the diagonal
        pixels = np.asarray(cv2.transpose(pixels), dtype=np.uint8)
        right_x, down_y = down_x, right_y
    return pixels[:: 1 if down_y > 0 else -1, :: 1 if right_x > 0 else -1]


@contextmanager
def _clip_errors() -> Iterator[None]:
    """Translates FFmpeg's errors into ``ClipCorrupt``."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, MemoryError, OverflowError, struct.error) as error:
        raise ClipCorrupt("The clip is damaged: it cannot be decoded.") from error
