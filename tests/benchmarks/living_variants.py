"""Verdicts on the parts of the live video in every variant: encodings, rates, sizes, light.

    python -m tests.benchmarks.living_variants

Ends with status 1 when any verdict is another than that on the part as it is.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2

from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.living.verdict import ASKED_ALONE
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.conftest import load_edge
from tests.living_clips import judge_of
from tests.living_variants import PARTS, VARIANTS
from tests.presentations.people import Material

SHARED = Path(__file__).resolve().parents[3] / "shared"


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    judge = judge_of(pack)
    models = LivenessModels.from_pack(pack)
    material, wrong = Material(SHARED / "faces", SHARED / "videos"), 0
    print("| variant | " + " | ".join(PARTS) + " |\n|" + "---|" * (len(PARTS) + 1))
    for variant, change in VARIANTS.items():
        cells = []
        for span, truth in PARTS.values():
            clip = change(material.live(*span))
            seen = list(FaceTracker(models).track(decode_frames(clip, ClipLimits())))
            found = {action: judge.decide(seen, action).real for action in ASKED_ALONE}
            wrong += found != truth
            cells.append("right" if found == truth else f"wrong: {found}")
        print(f"| {variant} | " + " | ".join(cells) + " |", flush=True)
    print(f"{wrong} of {len(VARIANTS) * len(PARTS)} are wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
