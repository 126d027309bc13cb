"""Clips made on the spot: pictures in, a file of any accepted kind out."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from pipeline.types import Picture

# Container: (muxer, codec, codec options).
KINDS: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp4": ("mp4", "libx264", {"crf": "23", "preset": "ultrafast"}),
    "mov": ("mov", "libx264", {"crf": "23", "preset": "ultrafast"}),
    # With a speed above 0 the output would depend on the machine's load.
    "webm": ("webm", "libvpx", {"crf": "20", "cpu-used": "-4", "deadline": "realtime"}),
    "avi": ("avi", "mjpeg", {"q:v": "5"}),
    "avi-mpeg4": ("avi", "mpeg4", {}),
}

_TICKS = 90_000  # of the stamps, a second


def encoded(
    pictures: Iterable[Picture], *, kind: str = "mp4", fps: float = 30.0,
    times: Sequence[float] | None = None, rotation: int = 0, bit_rate: int = 1_500_000,
    options: Mapping[str, str] | None = None, shape: Fraction | None = None,
) -> bytes:
    """A clip of BGR pictures with even sides, at ``fps`` or with stamps of its own
    (``times``, in seconds). ``rotation``: degrees clockwise that a player must turn it.
    ``options`` come over those of the kind. ``shape``: the width of a pixel by its height."""
    muxer, codec, usual = KINDS[kind]
    chosen = {**usual, **(options or {})}
    file = io.BytesIO()
    with av.open(file, "w", format=muxer) as container:
        stream: Any = None
        for number, picture in enumerate(pictures):
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream(codec, rate=rate, options=chosen)
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
                stream.bit_rate = bit_rate
                stream.codec_context.thread_count = 1
                if shape is not None:
                    stream.codec_context.sample_aspect_ratio = shape
                if times is not None:
                    stream.codec_context.time_base = Fraction(1, _TICKS)
                if rotation:
                    stream.set_display_rotation(-rotation)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
            if times is not None:
                frame.pts = round(times[number] * _TICKS)
                frame.time_base = Fraction(1, _TICKS)
            for packet in stream.encode(frame):
                container.mux(packet)
        if stream is not None:
            for packet in stream.encode():
                container.mux(packet)
    return file.getvalue()


def pictures_of(clip: Path | bytes, first: int = 0, last: int | None = None) -> Iterator[Picture]:
    """The frames ``first`` to ``last`` (without it) of a clip, as BGR, upright."""
    source = io.BytesIO(clip) if isinstance(clip, bytes) else str(clip)
    with av.open(source, "r") as container:
        for number, frame in enumerate(container.decode(video=0)):
            if last is not None and number >= last:
                return
            if number >= first:
                pixels = frame.to_ndarray(format="bgr24")
                turned = np.rot90(pixels, frame.rotation // 90)
                yield np.ascontiguousarray(turned, dtype=np.uint8)


def at_rate(pictures: Sequence[Picture], fps: float, source_fps: float = 30.0) -> list[Picture]:
    """The same play at another number of frames a second: dropped or repeated."""
    count = round(len(pictures) * fps / source_fps)
    return [
        pictures[min(int(number * source_fps / fps + 1e-9), len(pictures) - 1)]
        for number in range(count)
    ]
