"""The cost of watching a clip: beside a plain loop over the same models, in the same run.

    python -m tests.benchmarks.living_cost

The plain loop decodes the clip and runs each model as often as the watcher does, with
nothing else. Peak memory is that of a clip of ten and of thirty seconds. Then: verdicts on
the parts of the live video at several rates, for the table that the default rests on.
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2

from pipeline.living.decision import DecisionPolicy
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.living.verdict import ASKED_ALONE
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.clips import at_rate, encoded
from tests.conftest import load_edge
from tests.living_clips import judge_of
from tests.presentations.people import Material

SHARED = Path(__file__).resolve().parents[3] / "shared"
ROUNDS = 3


@dataclass
class Counted:
    """A model that counts and keeps its calls, so that they can be made again."""

    model: Any
    calls: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.model, name)

        def call(*given: Any) -> Any:
            self.calls.append((name, given))
            return method(*given)

        return call


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    models = LivenessModels.from_pack(pack)
    material = Material(SHARED / "faces", SHARED / "videos")
    whole = material.live(0, 283)
    _cost(models, encoded([*whole, *whole[:17]]))
    for seconds in (10, 30):
        long = encoded((whole * 4)[: 30 * seconds])
        list(FaceTracker(models).track(decode_frames(long, ClipLimits())))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"peak memory after a clip of {seconds} s: {peak:.0f} MB")
    _rates(models, judge_of(pack), material)


def _cost(models: LivenessModels, clip: bytes) -> None:
    """Frames a second, the watcher against the plain loop over the same calls."""
    counted = [
        Counted(models.detector), Counted(models.contour_model), Counted(models.embedder),
        Counted(models.scorer),
    ]
    seen = list(FaceTracker(LivenessModels(*counted)).track(decode_frames(clip, ClipLimits())))
    ours, plain = [], []
    for _ in range(ROUNDS):
        began = time.process_time()
        list(FaceTracker(models).track(decode_frames(clip, ClipLimits())))
        ours.append(time.process_time() - began)
        began = time.process_time()
        for _frame in decode_frames(clip, ClipLimits()):
            pass
        for one in counted:
            for name, given in one.calls:
                getattr(one.model, name)(*given)
        plain.append(time.process_time() - began)
    ours_s, plain_s = min(ours), min(plain)
    print(
        f"{len(seen)} frames analysed of a clip of 10 s: {len(seen) / ours_s:.0f} a second of "
        f"processor time, the plain loop {len(seen) / plain_s:.0f}: {plain_s / ours_s:.2f}"
    )


def _rates(models: LivenessModels, judge: DecisionPolicy, material: Material) -> None:
    parts = {"blink": (25, 65), "mouth": (66, 112), "neither": (45, 80)}
    print("\n| analysed a second | blink seen of | mouth seen of | false |\n|---|---|---|---|")
    for rate in (5, 8, 10, 12, 15, 20, 30):
        right = {"blink": 0, "mouth": 0, "neither": 0}
        tries = 0
        for shift in range(4):  # frames fall differently into the slots
            tries += 1
            for name, (first, last) in parts.items():
                clip = encoded(at_rate(material.live(first + shift, last), 30))
                seen = list(FaceTracker(models).track(decode_frames(clip, ClipLimits(rate=rate))))
                found = [judge.decide(seen, action).real for action in ASKED_ALONE]
                wanted = [name == "blink", name == "mouth"]
                right[name] += found == wanted
        print(
            f"| {rate} | {right['blink']} of {tries} | {right['mouth']} of {tries} | "
            f"{tries - right['neither']} |", flush=True,
        )


if __name__ == "__main__":
    main()
