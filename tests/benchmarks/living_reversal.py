"""Attempts to detect from a clip alone that it is played backwards.

    python -m tests.benchmarks.living_reversal

Three signs. *Lids*: they close faster than they open (Sforza et al. 2008, Ophthalmic and
Physiological Optics 28: by 40 to 47 % in all subjects; voluntary blinks close in 78 ms, SD
10). The value of this sign at a camera's rate is simulated, for people who are all alike and
for people who differ; and measured on the one blink of the live video, at full rate.
*Inherited compression*: the quality of the first encoder's frames goes up and down like a
saw, of which a second encoding leaves traces. The skewness of the steps of sharpness in
the background says which way the teeth point.
"""

from __future__ import annotations

import argparse
import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.living.events import blinks
from pipeline.living.nonrigid import MotionLimits
from pipeline.living.series import ClipSeries
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.clips import pictures_of
from tests.conftest import load_edge
from tests.living_clips import Play, filmed
from tests.presentations.cameras import noisy
from tests.presentations.people import Material

SHARED = Path(__file__).resolve().parents[3] / "shared"

CLIPS = 22
LIMITS = (0.0, 0.1, 0.2, 0.3)

Floats = NDArray[np.float64]

# The first encoders: (codec, options, bits a second).
ENCODERS: dict[str, tuple[str, dict[str, str], int]] = {
    "x264 medium, CRF 23": ("libx264", {"crf": "23", "preset": "medium"}, 0),
    "x264 ultrafast, CRF 28": ("libx264", {"crf": "28", "preset": "ultrafast"}, 0),
    "x264 zero latency, 400 kbit/s": (
        "libx264", {"preset": "veryfast", "tune": "zerolatency"}, 400_000
    ),
    "MPEG-4, 500 kbit/s": ("mpeg4", {}, 500_000),
    "VP8, 400 kbit/s": ("libvpx", {"cpu-used": "-4", "deadline": "realtime"}, 400_000),
}
AGAIN = {"fine": ("18", "ultrafast"), "coarse": ("26", "veryfast")}


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    material = Material(SHARED / "faces", SHARED / "videos")
    simulate()
    on_the_video(material)
    saw(material)


# Lids --------------------------------------------------------------------------


def simulate() -> None:
    """log(fastest opening / fastest closing) of made-up blinks: above a limit a clip would
    be refused. ``spread`` is how much people differ in it, as a standard deviation."""
    print("| frames a second | spread | limit | genuine refused | backwards caught |")
    print("|---|---|---|---|---|")
    for fps in (15, 30):
        for spread in (0.0, 0.15, 0.3):
            chance = np.random.default_rng(5)
            found = np.array([_blink(fps, spread, chance) for _ in range(4000)])
            for limit in LIMITS:
                wrong, caught = (found > limit).mean(), (-found > limit).mean()
                print(f"| {fps} | {spread} | {limit} | {wrong:.1%} | {caught:.0%} |")


def _blink(fps: int, spread: float, chance: np.random.Generator) -> float:
    closing = max(float(chance.normal(0.0776, 0.010)), 0.04) * 1.25
    opening = closing * 1.435 * float(np.exp(spread * chance.normal()))
    held, begin = abs(float(chance.normal(0.02, 0.02))), 0.4 + float(chance.random()) / fps
    at = np.arange(0, 1.2, 0.001) - begin
    down = np.interp(at, [0, closing], [0, 1])
    up = np.interp(at, [closing + held, closing + held + opening], [0, 1])
    shut = (np.cos(np.pi * up) - np.cos(np.pi * down)) / 2
    exposure = int(chance.uniform(0.2, 0.9) / fps / 0.001) + 1
    shut = np.convolve(shut, np.ones(exposure) / exposure)[: len(at)]
    seen = shut[np.arange(0, len(at), 1000 / fps).astype(int)]
    return _skew_of(seen + chance.normal(0, 0.02, len(seen)), int(np.argmax(seen)), 1.0)


def _skew_of(shut: Floats, peak: int, pace: float | Floats) -> float:
    """log(fastest opening / fastest closing) of lids that are furthest shut at ``peak``."""
    speed = np.diff(shut) / pace
    closing, opening = speed[:peak], -speed[peak:]
    if not len(closing) or not len(opening):
        return 0.0
    return float(np.log(max(opening.max(), 1e-3) / max(closing.max(), 1e-3)))


def on_the_video(material: Material) -> None:
    pack = load_edge()
    models = LivenessModels(pack.detector(), pack.contour_model(), pack.embedder(), None)
    for back in (False, True):
        found = []
        for number in range(CLIPS):
            chance = np.random.default_rng((77, number))
            play = material.live(int(chance.integers(18, 30)), int(chance.integers(52, 66)))
            clip = filmed(play[::-1] if back else play, chance)
            seen = list(FaceTracker(models).track(decode_frames(clip, ClipLimits(rate=100))))
            series = ClipSeries.from_observations(seen)
            found += [
                _skew_of(
                    1 - series.openness[event.start : event.end + 1],
                    event.peak - event.start,
                    np.diff(series.times[event.start : event.end + 1]),
                )
                for event in blinks(series, MotionLimits()) if event.genuine
            ]
        print("backwards" if back else "forwards", len(found), np.round(sorted(found), 2))


# Inherited compression ---------------------------------------------------------


def saw(material: Material) -> None:
    chance = np.random.default_rng(3)
    source = [
        noisy(np.asarray(cv2.resize(one, (480, 270), interpolation=cv2.INTER_AREA)), 2, chance)
        for one in material.live(0, 240)
    ]
    print("| first encoder | itself | " + " | ".join(
        f"{again}, {way}" for again in AGAIN for way in ("forwards", "backwards")
    ) + " |\n|" + "---|" * 6)
    for name, (codec, options, bits) in ENCODERS.items():
        once = list(pictures_of(_recorded(source, codec, options, bits, 30)))
        cells = [_teeth(once)]
        for crf, preset in AGAIN.values():
            for play in (once, once[::-1]):
                settings = {"crf": crf, "preset": preset}
                again = _recorded(play, "libx264", settings, 0, 250)
                cells.append(_teeth(list(pictures_of(again))))
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


def _recorded(play: Play, codec: str, options: dict[str, str], bits: int, group: int) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream(codec, rate=Fraction(30), options=options)
        stream.height, stream.width = play[0].shape[:2]
        stream.pix_fmt, stream.gop_size = "yuv420p", group
        if bits:
            stream.bit_rate = bits
        for one in play:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(one), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _teeth(play: Play) -> float:
    """Skewness of the steps of sharpness from frame to frame, left of the face."""
    sharp = []
    for one in play:
        grey = cv2.cvtColor(one, cv2.COLOR_BGR2GRAY).astype(np.float32)[:, :130]
        sharp.append(np.log(cv2.Laplacian(grey, cv2.CV_32F).var() + 1))
    steps = np.diff(sharp)
    steps = steps - np.median(steps)
    return float((steps**3).mean() / ((steps**2).mean() ** 1.5 + 1e-12))


if __name__ == "__main__":
    main()
