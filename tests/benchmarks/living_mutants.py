"""Damaged clips through the sandbox and the whole analysis: a verdict or a defined error.

    python -m tests.benchmarks.living_mutants --clips 500
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from pathlib import Path

import cv2

from pipeline.errors import BadInput
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.living.verdict import LivenessAction
from pipeline.media.clips import ClipLimits
from pipeline.sandbox.sandbox import open_sandbox
from pipeline.stages.clip import DECODE_FUNCTION, read_clip
from tests.clips import encoded
from tests.conftest import load_edge, settings_of_edge
from tests.living_clips import judge_of
from tests.presentations.people import Material

SHARED = Path(__file__).resolve().parents[3] / "shared"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=500)
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    settings, pack = settings_of_edge(), load_edge()
    judge = judge_of(pack)
    models = LivenessModels.from_pack(pack)
    play = Material(SHARED / "faces", SHARED / "videos").live(32, 48)
    clips = [encoded(play, kind=kind) for kind in ("mp4", "webm", "avi", "mov")]
    chance, ends, slowest = random.Random(5), Counter[str](), 0.0
    sandbox = open_sandbox(settings, (DECODE_FUNCTION,))
    assert sandbox is not None
    with sandbox:
        for number in range(wanted.clips):
            data = mutant(clips[number % len(clips)], chance)
            began = time.monotonic()
            try:
                frames = read_clip(data, ClipLimits(), sandbox)
                seen = list(FaceTracker(models).track(frames))
                ends[f"real {judge.decide(seen, LivenessAction.BLINK).real}"] += 1
            except BadInput as error:
                ends[error.code] += 1
            slowest = max(slowest, time.monotonic() - began)
    print(f"{wanted.clips} mutants: {dict(ends)}; the slowest took {slowest:.1f} s")


def mutant(clip: bytes, chance: random.Random) -> bytes:
    """Bytes changed anywhere or in the header, pieces cut out, the end cut off."""
    changed = bytearray(clip)
    for _ in range(chance.choice((1, 5, 50, 500))):
        place = chance.randrange(len(changed) if chance.random() < 0.6 else 800)
        changed[place] = chance.randrange(256)
    if chance.random() < 0.3:
        start = chance.randrange(len(changed))
        del changed[start : start + chance.randrange(5000)]
    if chance.random() < 0.2:
        del changed[chance.randrange(len(changed)) :]
    return bytes(changed)


if __name__ == "__main__":
    main()
