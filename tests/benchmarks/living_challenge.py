"""Errors of the verdicts on challenges of three actions.

    python -m tests.benchmarks.living_challenge --stills 6 [--cache DIR --each 40]

Genuine clips are cut together from what five people do in their clips, in real time, in every order
that they can show. The same clips are shown for the other orders (old recordings) and backwards.
``--stills`` makes so many clips a person and kind of stills that answer the asked order;
``--cache`` adds the attacks of ``living_errors`` that are kept there, each judged by all sixty
orders. Observations are cut together, not pictures (files: ``test_living_challenge.py``).
"""

from __future__ import annotations

import argparse
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import FaceError
from pipeline.living.challenge import RequestedOrder, order_reasons
from pipeline.living.decision import DecisionPolicy
from pipeline.living.events import FacialEvent
from pipeline.living.head_motion import HeadMotion
from pipeline.living.tracking import FaceTracker, FrameObservation, LivenessModels
from pipeline.living.verdict import LivenessAction, LivenessReason, LivenessVerdict
from pipeline.stages.clip import ClipFrame
from pipeline.types import Picture
from tests.benchmarks.living_errors import Bench, policy, presentations
from tests.clips import pictures_of
from tests.conftest import load_edge
from tests.presentations.courses import wander
from tests.presentations.people import LiveClip, Material
from tests.presentations.recipes import KINDS
from tests.shares import interval

SHARED = Path(__file__).resolve().parents[3] / "shared"

BLINK, MOUTH, LEFT, RIGHT, NOD = LivenessAction

# First and last frame of each action, as one reader saw them, the face ahead at both ends; and the
# frame in the middle in which it is clearest.
Act = tuple[int, int, int]
ACTS: dict[str, dict[LivenessAction, Act]] = {
    "p07": {LEFT: (0, 24, 50), RIGHT: (50, 61, 92), NOD: (136, 157, 180), BLINK: (190, 208, 211)},
    "p08": {RIGHT: (60, 93, 122), LEFT: (122, 148, 184), BLINK: (28, 42, 54)},
    "p09": {
        LEFT: (48, 150, 184), RIGHT: (200, 234, 330), NOD: (340, 378, 426), BLINK: (470, 494, 520),
    },
    "p14": {LEFT: (8, 49, 82), RIGHT: (82, 107, 152), NOD: (212, 248, 276)},
    "p15": {LEFT: (60, 95, 114), RIGHT: (114, 137, 164), NOD: (172, 196, 220)},
}

# Whose clip ends 0.2 s after the blink: nothing can follow it in real time.
BLINKS_AT_THE_END = frozenset({"p07"})

# The people on whose curves the limits of turns and nods were chosen; the others only report.
CHOSEN_ON = frozenset({"p07", "p08", "p14"})

RATE = 15.0
ACTIONS = 3

Order = tuple[LivenessAction, ...]
Play = list[Picture]


def orders(among: Sequence[LivenessAction] = tuple(LivenessAction)) -> list[Order]:
    """Every order that a challenge of three may ask for, of these actions."""
    return [
        order for order in product(among, repeat=ACTIONS)
        if order != order[::-1] and all(a != b for a, b in pairwise(order))
    ]


def shown_orders(name: str) -> list[Order]:
    """The orders that a person's clip can show."""
    return [
        order for order in orders(tuple(ACTS[name]))
        if name not in BLINKS_AT_THE_END or BLINK not in order[:-1]
    ]


def cut_together(seen: Sequence[FrameObservation], acts: Sequence[Act]) -> list[FrameObservation]:
    """Observations of these stretches of a clip, one after the other in real time."""
    parts = [[one for one in seen if act[0] <= one.index <= act[2]] for act in acts]
    made: list[FrameObservation] = []
    for part in parts:
        step = float(np.median(np.diff([one.time for one in part])))
        frames = part[1].index - part[0].index
        begin = made[-1].time + step - part[0].time if made else -part[0].time
        number = made[-1].index + frames - part[0].index if made else -part[0].index
        made += [
            replace(one, index=one.index + number, time=one.time + begin) for one in part
        ]
    return made


def backwards(seen: Sequence[FrameObservation]) -> list[FrameObservation]:
    last = seen[-1]
    return [
        replace(one, index=last.index - one.index, time=last.time - one.time) for one in seen[::-1]
    ]


def judged(
    judge: DecisionPolicy, seen: Sequence[FrameObservation], order: Order
) -> LivenessVerdict | None:
    """The verdict; None for a clip that cannot be judged, which is refused."""
    try:
        return judge.decide(seen, RequestedOrder(order))
    except FaceError:
        return None


def passing(verdict: LivenessVerdict | None) -> list[Order]:
    """The orders that a judged clip would pass for: all else is the same for each of them."""
    if verdict is None or {*verdict.reasons} - {
        LivenessReason.MISSING_ACTION, LivenessReason.WRONG_ORDER
    }:
        return []
    events: dict[LivenessAction, list[FacialEvent]] = {BLINK: [], MOUTH: []}
    heads = []
    for one in verdict.happenings:
        places = one.start, one.peak, one.end
        if one.action in events:
            events[one.action].append(FacialEvent(*places, one.depth, 0.0, one.counted))
        else:
            heads.append(HeadMotion(one.action, *places, one.depth, one.counted))
    return [
        order for order in orders() if not list(order_reasons(RequestedOrder(order), events, heads))
    ]


# Stills that answer --------------------------------------------------------------


def in_turn(pictures: Mapping[LivenessAction | None, Picture], order: Order, fade_s: float) -> Play:
    """A face ahead, and for each action a picture of the same person doing it, faded in and out
    in ``fade_s``."""
    steps = [None, *(part for action in order for part in (action, None))]
    fade, held, play = max(round(fade_s * RATE), 1), round(0.6 * RATE), []
    shown = pictures[None]
    for step in steps:
        following = pictures[step]
        for number in range(1, fade + 1):
            weight = number / fade
            mixed = cv2.addWeighted(shown, 1 - weight, following, weight, 0)
            play.append(np.asarray(mixed, np.uint8))
        play += [following] * held
        shown = following
    return play


def tilted(picture: Picture, order: Order) -> Play:
    """One picture, turned and tilted as a plane before the camera."""
    turns = {LEFT: (35.0, 0.0), RIGHT: (-35.0, 0.0), NOD: (0.0, 30.0)}
    play = [picture] * round(0.6 * RATE)
    for action in order:
        yaw, pitch = turns.get(action, (0.0, 0.0))
        course = np.sin(np.linspace(0, np.pi, round(RATE)))
        play += [_plane(picture, yaw * part, pitch * part) for part in course]
        play += [picture] * round(0.6 * RATE)
    return play


def _plane(picture: Picture, yaw: float, pitch: float) -> Picture:
    height, width = picture.shape[:2]
    focal = 1.2 * max(height, width)
    turn = cv2.Rodrigues(np.radians([pitch, 0.0, 0.0]))[0] @ cv2.Rodrigues(
        np.radians([0.0, yaw, 0.0])
    )[0]
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    placed = turn @ np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0]]) @ centre
    placed[2] += np.array([0, 0, focal])
    camera = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return np.asarray(cv2.warpPerspective(
        picture, camera @ placed, (width, height), borderMode=cv2.BORDER_REPLICATE
    ), np.uint8)


def shaken(play: Play, chance: np.random.Generator) -> Play:
    """As a hand shakes."""
    width, times = play[0].shape[1], np.arange(len(play)) / RATE
    x, y = (wander(times, float(chance.uniform(0.01, 0.04)) * width, 0.5, chance) for _ in "xy")
    moved = (np.array([[1, 0, right], [0, 1, down]]) for right, down in zip(x, y, strict=True))
    return [
        np.asarray(cv2.warpAffine(
            picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE
        ), np.uint8)
        for picture, matrix in zip(play, moved, strict=True)
    ]


STILLS: dict[str, Callable[[Mapping[LivenessAction | None, Picture], Order], Play]] = {
    "stills of the poses, one after the other": lambda shown, order: in_turn(shown, order, 0.0),
    "stills of the poses, faded": lambda shown, order: in_turn(shown, order, 0.4),
    "one still, turned and tilted": lambda shown, order: tilted(shown[None], order),
}


def stills(
    clip: LiveClip, count: int, models: LivenessModels
) -> Iterator[tuple[str, Order, list[FrameObservation]]]:
    """``count`` clips of each kind of stills, with the orders that they answer."""
    acts = ACTS[clip.name]
    wanted: dict[LivenessAction | None, int] = {action: act[1] for action, act in acts.items()}
    wanted[None] = clip.rests[0]
    places = set(wanted.values())
    frames = {n: frame for n, frame in enumerate(pictures_of(clip.path)) if n in places}
    shown = {action: frames[place] for action, place in wanted.items()}
    possible = shown_orders(clip.name)
    for kind, make in STILLS.items():
        chance = np.random.default_rng(zlib.crc32(f"{clip.name} {kind}".encode()))
        for number in chance.permutation(len(possible))[:count]:
            play = shaken(make(shown, possible[number]), chance)
            seen = FaceTracker(models).track(
                ClipFrame(place, place / RATE, picture) for place, picture in enumerate(play)
            )
            yield kind, possible[number], list(seen)


# Tables ------------------------------------------------------------------------


class Rows:
    """Counts of what was shown and what went wrong."""

    def __init__(self, *, verbose: bool) -> None:
        self._rows: dict[str, list[bool]] = defaultdict(list)
        self._verbose = verbose

    def note(self, row: str, wrong: bool, told: object = "") -> None:
        self._rows[row].append(wrong)
        if wrong and self._verbose:
            print(f"{row}: {told}", flush=True)

    def show(self) -> None:
        print("| presentation | shown | wrong | rate | 95 % interval |\n|---|---|---|---|---|")
        for row, wrong in self._rows.items():
            low, high = interval(sum(wrong), len(wrong))
            print(
                f"| {row} | {len(wrong)} | {sum(wrong)} | {100 * sum(wrong) / len(wrong):.1f} % "
                f"| {100 * low:.1f} to {100 * high:.1f} % |"
            )


def note_person(clip: LiveClip, judge: DecisionPolicy, models: LivenessModels, rows: Rows) -> None:
    """What a person does, in every order, judged by the same order and by all others; and
    backwards."""
    frames = (
        ClipFrame(number, number / clip.rate, picture)
        for number, picture in enumerate(pictures_of(clip.path))
        if int(number * RATE / clip.rate) != int((number - 1) * RATE / clip.rate)
    )
    seen, acts = list(FaceTracker(models).track(frames)), ACTS[clip.name]
    chosen = "limits chosen on them" if clip.name in CHOSEN_ON else "others"
    for order in shown_orders(clip.name):
        made = cut_together(seen, [acts[action] for action in order])
        told = f"{clip.name} {', '.join(action.name for action in order)}"
        verdict = judged(judge, made, order)
        refused = verdict is None or not verdict.real
        rows.note(f"genuine, {chosen}", refused, f"{told}: {verdict and verdict.reasons}")
        rows.note(f"genuine, {clip.name}", refused)
        turned = judged(judge, backwards(made), order)
        rows.note("played backwards", turned is not None and turned.real, told)
        others = {*passing(verdict)} - {order}
        for other in orders():
            if other != order:
                rows.note("an old recording of another order", other in others, (told, other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stills", type=int, default=4)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--each", type=int, default=40)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    material, judge = Material.beside(SHARED / "faces"), policy()
    models, rows = LivenessModels.from_pack(load_edge()), Rows(verbose=options.verbose)
    for name in ACTS:
        clip = material.clips()[name]
        note_person(clip, judge, models, rows)
        for kind, order, shown in stills(clip, options.stills, models):
            verdict = judged(judge, shown, order)
            rows.note(kind, verdict is not None and verdict.real, (name, order))
    if options.cache is not None:
        bench = Bench(material, options.cache)
        for one in presentations(material, options.each, tuple(KINDS)):
            if bench.cache.place(one.name).is_file():
                for_orders = passing(judged(judge, bench.observations(one), orders()[0]))
                rows.note(one.kind, bool(for_orders), (one.name, for_orders))
    rows.show()


if __name__ == "__main__":
    main()
