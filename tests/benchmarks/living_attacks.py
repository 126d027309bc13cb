"""How well the verdicts hold: attacks and genuine clips, error rates by kind.

    python -m tests.benchmarks.living_attacks --each 20 --genuine 60 --seed 7

APCER and BPCER as in ISO/IEC 30107-3: the share of attack presentations of one kind that
are taken for genuine, and of genuine ones that are not. ``reversed`` is shown twice: by
the verdict alone, and where the service has seen the original before, which any such
attack presupposes (the replay check then knows it).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path

import cv2

from pipeline import calibration
from pipeline.config import Settings
from pipeline.errors import FaceError
from pipeline.living.fingerprint import Fingerprint
from pipeline.living.judging import Judge
from pipeline.living.observing import Models, Observation, Watcher
from pipeline.living.verdict import Action
from pipeline.media.clips import ClipLimits
from pipeline.sessions import registry
from pipeline.stages.clip import frames
from tests.conftest import models_directory
from tests.living_clips import ATTACKS, Clip, Material, clips

SHARED = Path(__file__).resolve().parents[3] / "shared"

SEEN_BEFORE = "reversed, seen before"


def main() -> None:
    wanted = _arguments()
    cv2.setNumThreads(1)
    settings = Settings(models=str(models_directory()), pack="edge")
    pack = registry.load(registry.choose(settings), settings)
    table = calibration.load("edge")
    assert table is not None
    models = Models(pack.detector(), pack.meter(), pack.embedder(), pack.spoof_scorer())
    material = Material(SHARED / "faces", SHARED / "videos")
    whole = (material.videos / "mouth_open.mp4").read_bytes()
    limits = ClipLimits(rate=wanted.rate)
    original = Fingerprint.of(list(Watcher(models).watch(frames(whole, limits))))
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    began = time.monotonic()
    for clip in clips(
        material, wanted.each, wanted.genuine, wanted.seed, wanted.kinds
    ):
        seen = list(Watcher(models).watch(frames(clip.data, limits)))
        real, why = _verdict(Judge(table.distance), clip, seen)
        wrong = real != clip.genuine
        _count(counts[clip.kind], wrong)
        if clip.kind == "reversed":
            _count(counts[SEEN_BEFORE], wrong and not original.same_play(Fingerprint.of(seen)))
        if wrong:
            print(f"  wrong: {clip.name} (action {clip.action}): {why}", flush=True)
    _report(counts, time.monotonic() - began)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="clips of each kind of attack")
    parser.add_argument("--kinds", nargs="*", choices=list(ATTACKS), default=[])
    parser.add_argument("--genuine", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=ClipLimits().rate)
    return parser.parse_args()


def _verdict(judge: Judge, clip: Clip, seen: list[Observation]) -> tuple[bool, str]:
    try:
        verdict = judge.decide(seen, Action(clip.action))
    except FaceError as error:
        return False, error.code
    return verdict.real, " ".join(verdict.reasons)


def _count(row: list[int], wrong: bool) -> None:
    row[0] += 1
    row[1] += wrong


def _report(counts: dict[str, list[int]], seconds: float) -> None:
    print("\n| kind | clips | wrong | rate |\n|---|---|---|---|")
    for kind, (clips_of_kind, wrong) in counts.items():
        name = "BPCER" if kind == "genuine" else f"APCER, {kind}"
        print(f"| {name} | {clips_of_kind} | {wrong} | {100 * wrong / clips_of_kind:.1f} % |")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    main()
