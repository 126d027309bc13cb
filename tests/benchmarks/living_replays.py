"""The similarity of copies of a clip, and of two clips of one person.

    python -m tests.benchmarks.living_replays

Clips of one to six seconds with an action, each as it is, backwards, changed in one way,
and filmed badly (another crop, size, rate, light, noise, encoder, mirrored or not, with and
without another speed). Copies are compared with their originals, and each clip with every
other that shows different moments.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from pipeline.living.motion_search import MotionSearch
from pipeline.living.motion_signature import MotionSignature
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.stages.clip import decode_frames
from tests.clips import at_rate, encoded
from tests.conftest import load_edge
from tests.living_clips import Play, filmed
from tests.living_variants import half
from tests.presentations.cameras import lit, noisy
from tests.presentations.people import Material

SHARED = Path(__file__).resolve().parents[3] / "shared"

# Frames of the live video. Of the first, two end before frame 142 and three begin after it:
# what holds in one part of it can be tried on the other.
BLINKS = ((25, 60), (28, 58), (20, 70), (10, 79), (0, 75))
OPENINGS = ((76, 106), (66, 112), (62, 114), (112, 200), (128, 192), (196, 283), (214, 280))
LONG = ((60, 200), (110, 283))

CHANGES: dict[str, Callable[[Play], bytes]] = {
    "as it is": lambda play: encoded(play),
    "backwards": lambda play: encoded(play[::-1]),
    "backwards, WebM": lambda play: encoded(play[::-1], kind="webm"),
    "backwards, AVI, without the last frame": lambda play: encoded(play[-2::-1], kind="avi"),
    "WebM": lambda play: encoded(play, kind="webm"),
    "AVI": lambda play: encoded(play, kind="avi"),
    "half size": lambda play: encoded(half(one) for one in play),
    "cropped": lambda play: encoded(
        np.ascontiguousarray(one[20:290, 80:560]) for one in play
    ),
    "mirrored": lambda play: encoded(np.ascontiguousarray(one[:, ::-1]) for one in play),
    "10 a second": lambda play: encoded(at_rate(play, 10), fps=10),
    "24 a second": lambda play: encoded(at_rate(play, 24), fps=24),
    "60 a second": lambda play: encoded(at_rate(play, 60), fps=60),
    "darker by half": lambda play: encoded(lit(one, 0.5) for one in play),
    "with noise": lambda play: encoded(
        noisy(one, 5, np.random.default_rng(number)) for number, one in enumerate(play)
    ),
    "the second half, backwards": lambda play: encoded(play[: -len(play) // 2 : -1]),
    "filmed badly": lambda play: filmed(play, np.random.default_rng(len(play))),
    "filmed badly, backwards": lambda play: filmed(play[::-1], np.random.default_rng(8)),
}


@dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """A clip: which frames it shows, how it was changed, and its play."""

    span: tuple[int, int]
    change: str
    play: MotionSignature


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="take each so-manieth clip")
    every = parser.parse_args().every
    cv2.setNumThreads(1)
    shown = list(_shown(every))
    originals = {one.span: one.play for one in shown if one.change == "as it is"}
    print("| copy | clips | likeness: least, tenth, median | known | found |")
    print("|---|---|---|---|---|")
    copies: dict[str, list[tuple[float, bool, bool]]] = defaultdict(list)
    for one in shown:
        if one.change != "as it is" and len(one.play.motion):
            original = MotionSignature.from_bytes(originals[one.span].to_bytes())
            found = MotionSearch.of(one.play).finds([originals[one.span].to_bytes()])
            copies[one.change].append(
                (one.play.similarity(original), one.play.matches(original), found)
            )
    for change, made in copies.items():
        values = np.array([value for value, _, _ in made])
        print(
            f"| {change} | {len(made)} | {values.min():.2f} {np.quantile(values, 0.1):.2f} "
            f"{np.median(values):.2f} | {sum(known for _, known, _ in made)} "
            f"| {sum(found for _, _, found in made)} |"
        )
    _others(shown)
    _searches(shown)


def _searches(shown: list[Shown]) -> None:
    """Each clip among all others: as compared with each, and as searched."""
    stored = [one.play.to_bytes() for one in shown]
    otherwise = candidates = known = 0
    for number, one in enumerate(shown):
        others = stored[:number] + stored[number + 1 :]
        search = MotionSearch.of(one.play)
        near = set(search.candidates(others))
        same = {
            place for place, other in enumerate(others)
            if one.play.matches(MotionSignature.from_bytes(other))
        }
        candidates, known = candidates + len(near), known + len(same)
        otherwise += len(same - near)
    print(
        f"\nOf {len(shown) * (len(shown) - 1)} comparisons {known} find a copy; the search makes "
        f"{candidates} and misses {otherwise} of these copies."
    )


def _others(shown: list[Shown]) -> None:
    found: dict[str, list[tuple[float, bool]]] = defaultdict(list)
    for one, other in combinations(shown, 2):
        if one.span[1] <= other.span[0] or other.span[1] <= one.span[0]:
            short = min(len(one.play.motion), len(other.play.motion))
            length = "below 1.3 s" if short < 20 else "1.3 s and more"
            early = max(one.span[1], other.span[1]) <= 142
            late = min(one.span[0], other.span[0]) >= 110
            part = "first half" if early else "second half" if late else "across"
            found[f"{length}, {part}"].append(
                (one.play.similarity(other.play), one.play.matches(other.play))
            )
    print("\n| other plays | pairs | likeness: median, 99 %, most | known |\n|---|---|---|---|")
    for name, pairs in sorted(found.items()):
        values = np.array([value for value, _ in pairs])
        print(
            f"| {name} | {len(pairs)} | {np.median(values):.2f} {np.quantile(values, 0.99):.2f} "
            f"{values.max():.2f} | {sum(known for _, known in pairs)} |"
        )


def _shown(every: int) -> Iterator[Shown]:
    pack = load_edge()
    models = LivenessModels(pack.detector(), pack.contour_model(), pack.embedder(), None)
    material = Material(SHARED / "faces", SHARED / "videos")
    for span in (*BLINKS, *OPENINGS, *LONG):
        for number, (change, make) in enumerate(CHANGES.items()):
            if number and number % every:
                continue
            seen = FaceTracker(models).track(
                decode_frames(make(material.live(*span)), ClipLimits())
            )
            yield Shown(span, change, MotionSignature.from_observations(list(seen)))


if __name__ == "__main__":
    main()
