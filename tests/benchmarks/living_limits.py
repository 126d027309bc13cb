"""Limits of the motion of a live face, chosen by rule, and errors without the person shown.

    python -m tests.benchmarks.living_limits --each 40 --seed 23 --cache DIR

The rule (``fitted``) chooses every limit of ``MotionLimits`` from genuine clips and attacks: each
test may take one attack of a hundred for live, and within that as many live people as possible
pass. The tables judge each clip with limits that were fitted without any clip that has something
of the person it shows. ``living_errors`` has the same clips, judged with the limits in force; both
use one cache, and this one leaves out what is not in it, and says so.
"""

from __future__ import annotations

import argparse
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import numpy as np

from pipeline.errors import FaceError
from pipeline.living.decision import DecisionPolicy
from pipeline.living.events import blinks, openings
from pipeline.living.nonrigid import MotionLimits, NonrigidMotion
from pipeline.living.series import ClipSeries
from pipeline.living.verdict import LivenessAction
from tests.benchmarks.living_errors import SHARED, Bench, Presentation, policy, presentations, table
from tests.presentations.people import Material
from tests.presentations.recipes import BLINK, MOUTH, Recipe

# Attacks that show no motion but a picture's: those of live footage have the motion of life.
OF_PICTURES = ("still", "pictures", "lids", "mouth")

BUDGET = 0.01
"""The share of the attacks of pictures that one test may take for live."""

# Every motion that is seen passes.
OPEN = MotionLimits(lively=0.0, speaking=0.0)

# No motion passes the test of that limit.
NEVER = 1e9
SHUT = MotionLimits(lively=NEVER, gaze=NEVER, calm_head=-1.0, jaw_head=-1.0, speaking=NEVER)

# What each of these limits is the least of.
MEASURES: dict[str, Callable[[NonrigidMotion], float]] = {
    "lively": lambda motion: motion.lively,
    "gaze": lambda motion: motion.eyes,
    "speaking": lambda motion: motion.eyes_and_nose,
}

# Folds of the people of whom there is no genuine clip: one for many of them, to save time.
STRANGERS = 10

CALM: dict[str, Sequence[float]] = {
    "calm_head": (0.01, 0.02, 0.03, 0.04, 0.06),
    "calm_eyes": (0.06, 0.08, 0.1, 0.12, 0.15, 0.2),
    "calm_to_skin": (0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.5),
    "calm_to_noise": (1.0, 1.2, 1.4, 1.6, 1.8, 2.0),
}
JAW: dict[str, Sequence[float]] = {
    "jaw_head": (0.02, 0.03, 0.05, 0.08, 0.12),
    "coupled": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2),
    "open_lips": (0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
}


@dataclass(frozen=True, slots=True)
class ClipMotions:
    """A clip: the motion around each event of its action that lids or lips perform, and whether
    nothing but the motion can refuse it."""

    presentation: Presentation
    motions: tuple[NonrigidMotion, ...]
    otherwise_real: bool

    @property
    def live(self) -> bool:
        return self.presentation.live

    @property
    def action(self) -> int:
        return self.presentation.made.action

    @property
    def fitted_on(self) -> bool:
        made = self.presentation.made
        return self.otherwise_real and bool(self.motions) and (
            "whole" not in self.presentation.kind if self.live
            else isinstance(made, Recipe) and made.kind.startswith(OF_PICTURES)
        )

    def real(self, limits: MotionLimits) -> bool:
        return self.otherwise_real and any(
            motion.is_live(self.action == MOUTH, limits) for motion in self.motions
        )


def motions_of(material: Material, folder: Path, one: Presentation) -> ClipMotions:
    """What a clip shows."""
    action = LivenessAction(one.made.action)
    bench, judge = _worker(material, folder)
    try:
        observations = bench.observations(one)
        verdict = judge.decide(observations, action)
    except FaceError:
        return ClipMotions(one, (), False)
    series = ClipSeries.from_observations(observations)
    events = (blinks if one.made.action == BLINK else openings)(series, OPEN)
    motions = tuple(
        event.motion for event in events
        if event.motion is not None and event.performed and not event.inserted
    )
    return ClipMotions(one, motions, verdict.real)


@lru_cache(maxsize=1)
def _worker(material: Material, folder: Path) -> tuple[Bench, DecisionPolicy]:
    return Bench(material, folder), replace(policy(), motion_limits=OPEN)


def fitted(clips: Sequence[ClipMotions]) -> MotionLimits:
    """The limits by the rule, from the clips that are ``fitted_on``; one test after the other."""
    used = [clip for clip in clips if clip.fitted_on]
    limits = SHUT
    for name, measure in MEASURES.items():
        limits = replace(limits, **{name: _smallest(used, measure)})
    for grid, action in ((CALM, BLINK), (JAW, MOUTH)):
        limits = _best(limits, grid, [clip for clip in used if clip.action == action])
    return limits


def _smallest(clips: Sequence[ClipMotions], measure: Callable[[NonrigidMotion], float]) -> float:
    """The limit that ``BUDGET`` of the attacks among ``clips`` reach."""
    reached = sorted(
        (max(map(measure, clip.motions)) for clip in clips if not clip.live), reverse=True
    )
    return reached[int(BUDGET * len(reached))] + 1e-6 if reached else NEVER


def _best(
    limits: MotionLimits, grid: dict[str, Sequence[float]], clips: Sequence[ClipMotions]
) -> MotionLimits:
    """The limits with those values of ``grid`` with which most live clips pass that did not, while
    at most ``BUDGET`` of the attacks do. Of equals the strictest: that with the fewest attacks, and
    then that which leaves the others room (the median of each value)."""
    open_clips = [clip for clip in clips if not clip.real(limits)]
    attacks = sum(not clip.live for clip in clips)
    found: list[tuple[int, int, tuple[float, ...]]] = []
    for values in product(*grid.values()):
        tried = replace(SHUT, **dict(zip(grid, values, strict=True)))
        passed = [clip.live for clip in open_clips if clip.real(tried)]
        live, wrong = sum(passed), len(passed) - sum(passed)
        if wrong <= BUDGET * attacks:
            found.append((-live, wrong, values))
    best = min(found)[:2]
    chosen = np.median([values for *key, values in found if tuple(key) == best], axis=0)
    return replace(limits, **{name: float(v) for name, v in zip(grid, chosen, strict=True)})


def folds(clips: Sequence[ClipMotions]) -> Iterator[tuple[list[ClipMotions], list[ClipMotions]]]:
    """The clips to fit on, and those to judge: all that show one person, or some strangers."""
    known = {clip.presentation.made.people[0] for clip in clips if clip.live}
    held_out: dict[str, set[str]] = {}
    for clip in clips:
        person = clip.presentation.made.people[0]
        name = person if person in known else str(zlib.crc32(person.encode()) % STRANGERS)
        held_out.setdefault(name, set()).add(person)
    for people in held_out.values():
        yield (
            [clip for clip in clips if not people.intersection(clip.presentation.made.people)],
            [clip for clip in clips if clip.presentation.made.people[0] in people],
        )


def _show(name: str, limits: MotionLimits) -> None:
    values = zip(limits.__slots__, astuple(limits), strict=True)
    print(f"  {name}: " + ", ".join(f"{field} {value:.3g}" for field, value in values), flush=True)


def judged(clips: Sequence[ClipMotions]) -> list[tuple[ClipMotions, bool]]:
    """Each clip, and whether it passes with the limits of the others."""
    found = []
    for others, own in folds(clips):
        limits = fitted(others)
        _show("/".join(sorted({clip.presentation.made.people[0] for clip in own}))[:30], limits)
        found += [(clip, clip.real(limits)) for clip in own]
    return found


def _rows(found: Iterable[tuple[ClipMotions, bool]], live: bool) -> list[tuple[str, bool]]:
    return [
        (clip.presentation.kind, real != live) for clip, real in found if clip.live == live
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=40, help="attacks of each kind")
    parser.add_argument("--seed", type=int, default=23)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir()) / "living-observations"
    )
    wanted = parser.parse_args()
    material = Material.beside(SHARED / "faces")
    bench = Bench(material, wanted.cache)
    chosen = list(presentations(material, wanted.each, seed=wanted.seed))
    kept = [one for one in chosen if bench.cache.place(one.name).is_file()]
    print(f"{len(kept)} of {len(chosen)} clips are in the cache", flush=True)
    with ProcessPoolExecutor(wanted.processes) as pool:
        clips = list(pool.map(partial(motions_of, material, wanted.cache), kept))
    found = judged(clips)
    _show("in force", MotionLimits())
    _show("fitted on everybody", fitted(clips))
    in_force = [(clip, clip.real(MotionLimits())) for clip in clips]
    for name, of in (("limits of the others", found), ("limits in force", in_force)):
        print("\n".join([
            "", *table(f"BPCER, {name}", _rows(of, live=True)),
            "", *table(f"APCER, {name}", sorted(_rows(of, live=False))),
        ]))


if __name__ == "__main__":
    main()
