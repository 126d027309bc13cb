"""Live clips taken for loops, and loops that are not.

    python -m tests.benchmarks.living_loops --people p07 p08

Live are all windows of 2.5, 5 and 10 s of each clip, filmed at fifteen and at ten frames a second.
Loops are seeded parts of 0.5 to 3 s, played forwards or to and fro for 2.4 s or twice and more, at
0.85 to 1.15 of the speed, encoded again, some with much noise, a hand's shake or a zoom over them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.living.loop_detection import has_loop
from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from pipeline.types import Picture
from tests.clips import at_rate, pictures_of
from tests.conftest import load_edge
from tests.presentations.cameras import Camera
from tests.presentations.motions import MOTIONS, Stage
from tests.presentations.people import LiveClip, Material

SHARED = Path(__file__).resolve().parents[3] / "shared"

LIVE = (Camera(30, 480, "as it is", 0.0, "mp4", "usual"),
        Camera(10, 360, "dim", 1.0, "webm", "coarse"))
WINDOWS = ((2.5, 0.5), (5.0, 1.0), (10.0, 2.0))  # seconds, and from one to the next
CHANGES = ("plain", "hand", "zoom", "noise")
LONGEST_S = 13.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", nargs="*", default=[], help="files of the material")
    parser.add_argument("--loops", type=int, default=8, help="of each live file")
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    models = LivenessModels(pack.detector(), pack.contour_model(), pack.embedder(), None)

    def observed(data: bytes) -> list[FrameObservation]:
        return list(FaceTracker(models).track(decode_frames(data, ClipLimits())))

    print("| file | live windows | taken for loops | loops | found |\n|---|---|---|---|---|")
    for number, clip in enumerate(Material.beside(SHARED / "faces").clips().values()):
        if wanted.people and clip.name not in wanted.people:
            continue
        play = list(pictures_of(clip.path, 0, round(LONGEST_S * clip.rate)))
        live = [
            looped(part) for camera in LIVE
            for part in _windows(observed(_filmed(play, clip.rate, camera)))
        ]
        count = 0 if clip.replay else wanted.loops
        found = [
            looped(observed(_loop(play, clip, np.random.default_rng((5, number, one)))))
            for one in range(count)
        ]
        print(f"| {clip.name} | {len(live)} | {sum(live)} | {count} | {sum(found)} |", flush=True)


def looped(observations: list[FrameObservation]) -> bool:
    """Whether a loop is found."""
    seen = [(one.time, one.face.stabilised) for one in observations if one.face is not None]
    return has_loop([time for time, _ in seen], [face for _, face in seen])


def _windows(observations: list[FrameObservation]) -> Iterator[list[FrameObservation]]:
    last = observations[-1].time
    for seconds, step in WINDOWS:
        for begin in np.arange(0, last - seconds + 0.1, step):
            yield [one for one in observations if begin <= one.time < begin + seconds]


def _filmed(play: list[Picture], rate: float, camera: Camera) -> bytes:
    shown = [camera.scaled(one) for one in at_rate(play, camera.rate, rate)]
    return camera.film(shown, np.random.default_rng(1))


def _loop(play: list[Picture], clip: LiveClip, chance: np.random.Generator) -> bytes:
    count = min(round(chance.choice((0.5, 1.0, 1.5, 2.0, 3.0)) * clip.rate), len(play) // 2)
    first = int(chance.integers(0, len(play) - count))
    part = play[first : first + count]
    if chance.random() < 0.5:
        part = [*part, *part[::-1]]
    frames = round(max(2.4, 2.1 * len(part) / clip.rate) * clip.rate)
    change, noise = str(chance.choice(CHANGES)), float(chance.choice((0.0, 1.0)))
    camera = Camera(
        int(chance.choice((15, 24, 25, 30))), 480, "as it is", 2.5 if change == "noise" else noise,
        str(chance.choice(("mp4", "webm", "avi"))), "coarse" if change == "noise" else "usual",
    )
    speed = float(chance.choice((0.85, 1.0, 1.15)))
    again = (part * (frames // len(part) + 1))[:frames]
    shown = [camera.scaled(one) for one in at_rate(again, camera.rate, clip.rate * speed)]
    if change in MOTIONS:
        height, width = shown[0].shape[:2]
        times = np.arange(len(shown)) / camera.rate
        stage = Stage(times, (width / 2, 0.42 * height), 0.2 * width, chance)
        shown = MOTIONS[change](shown, stage)
    return camera.film(shown, chance)


if __name__ == "__main__":
    main()
