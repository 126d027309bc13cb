"""How well the verdicts hold: attacks and genuine clips, error rates by kind.

    python -m tests.benchmarks.living_attacks --each 20 --genuine 60 --seed 7

APCER and BPCER as in ISO/IEC 30107-3: the share of attack presentations of one kind that
are taken for genuine, and of genuine ones that are not. ``reversed`` is shown twice: by
the verdict alone, and where the original was used before, which the replay check then
knows. Genuine clips, too: by the verdict alone, and where all before them that show other
moments were used.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from pipeline.errors import FaceError
from pipeline.living.decision import DecisionPolicy
from pipeline.living.motion_signature import MotionSignature
from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.living.verdict import LivenessAction
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.clips import encoded
from tests.conftest import load_edge
from tests.living_clips import ATTACKS, Clip, Material, clips, judge_of

SHARED = Path(__file__).resolve().parents[3] / "shared"

USED_BEFORE = {"genuine": "genuine, others used", "reversed": "reversed, original used"}


def main() -> None:
    wanted = _arguments()
    cv2.setNumThreads(1)
    pack = load_edge()
    models = LivenessModels.from_pack(pack)
    material = Material(SHARED / "faces", SHARED / "videos")
    limits = ClipLimits(rate=wanted.rate)
    used = Used(material, models, limits)
    judge = judge_of(pack)
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    began = time.monotonic()
    for clip in clips(
        material, wanted.each, wanted.genuine, wanted.seed, wanted.kinds
    ):
        seen = list(FaceTracker(models).track(decode_frames(clip.data, limits)))
        real, why = _verdict(judge, clip, seen)
        wrong = real != clip.genuine
        _count(counts[clip.kind], wrong)
        if wrong:
            print(f"  wrong: {clip.name} (action {clip.action}): {why}", flush=True)
        if clip.kind in USED_BEFORE:
            known = used.knows(clip, MotionSignature.from_observations(seen))
            wrong = wrong or known if clip.genuine else wrong and not known
            _count(counts[USED_BEFORE[clip.kind]], wrong)
            if known is clip.genuine:
                print(f"  replay: {clip.name} {clip.span}: {known}", flush=True)
    _report(counts, time.monotonic() - began)


@dataclass(slots=True)
class Used:
    """The clips that were used: for an attack its original, for a genuine clip all before
    it that show other moments."""

    material: Material
    models: LivenessModels
    limits: ClipLimits
    genuine: list[tuple[tuple[int, int], MotionSignature]] = field(default_factory=list)
    originals: dict[tuple[int, int], MotionSignature] = field(default_factory=dict)

    def knows(self, clip: Clip, play: MotionSignature) -> bool:
        assert clip.span is not None
        if not clip.genuine:
            return play.matches(self._original(clip.span))
        first, last = clip.span
        others = [
            used for span, used in self.genuine if span[1] <= first or last <= span[0]
        ]
        self.genuine.append((clip.span, play))
        return any(play.matches(used) for used in others)

    def _original(self, span: tuple[int, int]) -> MotionSignature:
        if span not in self.originals:
            data = encoded(self.material.live(*span))
            seen = list(FaceTracker(self.models).track(decode_frames(data, self.limits)))
            self.originals[span] = MotionSignature.from_observations(seen)
        return self.originals[span]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=20, help="clips of each kind of attack")
    parser.add_argument("--kinds", nargs="*", choices=list(ATTACKS), default=[])
    parser.add_argument("--genuine", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--rate", type=float, default=ClipLimits().rate)
    return parser.parse_args()


def _verdict(judge: DecisionPolicy, clip: Clip, seen: list[FrameObservation]) -> tuple[bool, str]:
    try:
        verdict = judge.decide(seen, LivenessAction(clip.action))
    except FaceError as error:
        return False, error.code
    return verdict.real, " ".join(verdict.reasons)


def _count(row: list[int], wrong: bool) -> None:
    row[0] += 1
    row[1] += wrong


def _report(counts: dict[str, list[int]], seconds: float) -> None:
    print("\n| kind | clips | wrong | rate |\n|---|---|---|---|")
    for kind, (clips_of_kind, wrong) in counts.items():
        name = f"BPCER, {kind}" if kind.startswith("genuine") else f"APCER, {kind}"
        print(f"| {name} | {clips_of_kind} | {wrong} | {100 * wrong / clips_of_kind:.1f} % |")
    print(f"\n{seconds:.0f} s")


if __name__ == "__main__":
    main()
