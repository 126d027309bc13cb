"""The passive score of live people, prints and screens, each by a calibration without it.

    python -m tests.benchmarks.passive_score
    python -m tests.benchmarks.passive_score --out pipeline/calibration/tables/edge.passive.json

Takes the true material only: clips of live people, press photographs, filmed screens, a print. The
calibration is fitted to frames that are scored as in the service, people and presentations weighted
equally. Every row is judged by a fit to all others: a person by one to the other people, a spoof by
one to the other spoofs. ``--out`` writes the fit to everything. ``--keep FILE`` keeps the models'
scores between runs.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.passive import PassiveCalibration, log_odds
from pipeline.living.passive_score import scores_pass, worst_second
from pipeline.living.tracking import FaceTracker, LivenessModels
from pipeline.media.clips import ClipLimits
from pipeline.sessions.base import ModelTask, Pack
from pipeline.stages.clip import decode_frames
from pipeline.stages.detect import detect_largest
from pipeline.types import Crop, Picture, Points
from tests.conftest import load_edge
from tests.presentations.people import Material
from tests.shares import interval

SHARED = Path(__file__).resolve().parents[3] / "shared"

LIMIT = 0.5
WINDOWS_S, STEP_S = (1.0, 2.5, 5.0), 0.5

# Rounds of Newton's method, draws of people for the interval of a mean over people,
# and how many people such an interval needs.
_ROUNDS, _DRAWS, _FEWEST_PEOPLE = 100, 10_000, 5

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scored:
    """What the models say of one clip (``times`` in seconds) or of single pictures (None) of a
    ``person``; of a spoof the person is the presentation."""

    name: str
    person: str
    live: bool
    scores: list[float]
    times: list[float] | None = None


class NoEmbedder:
    """Tracking needs an embedder, this benchmark no embeddings."""

    dimension = 1

    def align(self, picture: Picture, landmarks: Points) -> Crop:
        return picture[:1, :1]

    def embed(self, crops: Sequence[Crop]) -> NDArray[np.float32]:
        return np.zeros((len(crops), 1), np.float32)


# The models' scores ------------------------------------------------------------


def clips(pack: Pack, material: Material) -> Iterator[Scored]:
    """Every clip, scored as the service does."""
    models = LivenessModels(
        pack.detector(), pack.contour_model(), NoEmbedder(), pack.spoof_scorer()
    )
    limits = ClipLimits(max_seconds=60.0, work_seconds=3_600.0)
    for clip in material.clips().values():
        seen = FaceTracker(models).track(decode_frames(clip.path.read_bytes(), limits))
        found = [
            (one.time, one.face.passive)
            for one in seen if one.face is not None and one.face.passive is not None
        ]
        yield Scored(
            clip.name, clip.person, not clip.replay, [score for _, score in found],
            [time for time, _ in found],
        )


def pictures(pack: Pack, material: Material) -> Iterator[Scored]:
    """Press photographs by person, and the live face, the print and the screen."""
    groups = [(name, True, paths) for name, paths in material.photos().items()]
    for name, live in (("T1", True), ("F1", False), ("F2", False)):
        groups.append((name, live, [material.faces / "spoof" / f"image_{name}.jpg"]))
    for name, live, paths in groups:
        scores = []
        for path in paths:
            picture = cv2.imread(str(path))
            assert picture is not None, path
            [face, *_] = detect_largest(np.asarray(picture, np.uint8), pack.detector())
            scores.append(pack.spoof_scorer().score(np.asarray(picture, np.uint8), face.box))
        yield Scored(name, name, live, scores)


def material_scores(pack: Pack, kept: Path | None) -> list[Scored]:
    if kept is not None and kept.is_file():
        return [Scored(**one) for one in json.loads(kept.read_text())]
    material = Material.beside(SHARED / "faces")
    found = [*clips(pack, material), *pictures(pack, material)]
    if kept is not None:
        kept.write_text(json.dumps([asdict(one) for one in found]))
    return found


# The fit -----------------------------------------------------------------------


def fit(found: Sequence[Scored], pack: Pack) -> PassiveCalibration:
    """Logistic regression on the models' log-odds: live people and spoofs have half of the weight
    each, every one of them the same share."""
    groups: dict[bool, dict[str, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
    for one in found:
        groups[one.live][one.person].extend(map(log_odds, one.scores))
    parts = [
        (values, live, 0.5 / len(people) / len(values))
        for live, people in groups.items() for values in people.values()
    ]
    odds = np.concatenate([values for values, _, _ in parts])
    live = np.concatenate([np.full(len(values), float(live)) for values, live, _ in parts])
    weight = np.concatenate([np.full(len(values), share) for values, _, share in parts])
    terms = np.column_stack([odds, np.ones_like(odds)])
    best = np.array([0.5, 0.0])
    for _ in range(_ROUNDS):
        chance = 0.5 + 0.5 * np.tanh(terms @ best / 2)
        slope = terms.T @ (weight * (chance - live))
        bend = (terms.T * (weight * chance * (1 - chance))) @ terms
        best = best - np.linalg.solve(bend, slope)
    return PassiveCalibration(
        tuple(file.sha256 for file in pack.info.files if file.task is ModelTask.ANTI_SPOOF),
        round(float(best[0]), 3), round(float(-best[1] / best[0]), 3),
        len(groups[True]), len(groups[False]),
        "clips of people, press photographs; filmed screens, a print, a screen",
    )


# The tables --------------------------------------------------------------------


def wilson(count: int, of: int) -> str:
    """A share in percent with its 95 % interval, of independent trials."""
    if not of:
        return "-"
    low, high = interval(count, of)
    return f"{100 * count / of:.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def mean_over_people(shares: Sequence[float]) -> str:
    """The mean share in percent, with its 95 % interval over draws of as many people; that of the
    people where all are alike; without one for fewer than ``_FEWEST_PEOPLE``."""
    values = np.array(shares)
    if len(values) < _FEWEST_PEOPLE:
        return f"{100 * values.mean():.1f} %"
    if values.min() == values.max() and values[0] in (0.0, 1.0):
        return wilson(round(float(values.sum())), len(values))
    chance = np.random.default_rng(1)
    means = values[chance.integers(0, len(values), (_DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{100 * values.mean():.1f} % ({100 * low:.1f}-{100 * high:.1f})"


def windows(one: Scored, scores: Values, length: float) -> Iterator[Values]:
    """Parts of a clip, shape (n, 2): times and scores."""
    times = np.array(one.times)
    for first in np.arange(0.0, times[-1] - length + 1e-6, STEP_S):
        within = (times >= first) & (times < first + length)
        if within.any():
            yield np.column_stack([times, scores])[within]


def print_frames(found: Sequence[Scored], calibrated: dict[str, Values]) -> None:
    print("| live person or spoof | scored | lowest, tenth, median | below 50 |\n|---|---|---|---|")
    below_limit: dict[tuple[bool, bool], dict[str, list[bool]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for one in found:
        scores = calibrated[one.name]
        below = int((scores < LIMIT).sum())
        below_limit[one.live, one.times is None][one.person].extend(scores < LIMIT)
        low, tenth, median = 100 * np.quantile(scores, [0.0, 0.1, 0.5])
        print(
            f"| {'live' if one.live else 'spoof'}, {one.name} | {len(scores)} | "
            f"{low:.0f} {tenth:.0f} {median:.0f} | {below}: {wilson(below, len(scores))} |"
        )
    for (live, single), people in sorted(below_limit.items(), reverse=True):
        what = "pictures" if single else "frames of clips"
        shares = [float(np.mean(values)) for values in people.values()]
        print(
            f"| **mean over {len(people)} {'people' if live else 'spoofs'}**, {what} | | | "
            f"{mean_over_people(shares)} |"
        )


def print_windows(found: Sequence[Scored], calibrated: dict[str, Values]) -> None:
    print("\n| windows each half second | below the limit by the median | or by the worst second |")
    print("|---|---|---|")
    for length in WINDOWS_S:
        for live in (True, False):
            people: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
            for one in found:
                if one.live is live and one.times is not None:
                    people[one.person].extend(
                        (
                            float(np.median(part[:, 1])) < LIMIT,
                            not scores_pass(
                                float(np.median(part[:, 1])), worst_second(part), LIMIT
                            ),
                        )
                        for part in windows(one, calibrated[one.name], length)
                    )
            rows = {name: np.array(values) for name, values in people.items() if values}
            kind = "live" if live else "spoof"
            for name, values in rows.items():
                if live and not values.any():
                    continue
                print(
                    f"| {length:g} s, {kind} {name}, {len(values)} | "
                    + " | ".join(
                        f"{count}: {wilson(int(count), len(values))}"
                        for count in values.sum(axis=0)
                    ) + " |"
                )
            total = sum(map(len, rows.values()))
            print(
                f"| **{length:g} s, {kind}**, {total} of {len(rows)} | "
                + " | ".join(
                    mean_over_people([float(values[:, column].mean()) for values in rows.values()])
                    for column in (0, 1)
                ) + " |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="write the fit to everything")
    parser.add_argument("--keep", type=Path, help="keep the models' scores in this file")
    wanted = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    found = material_scores(pack, wanted.keep)
    whole = fit(found, pack)
    others = {
        name: fit([one for one in found if one.person != name], pack)
        for name in sorted({one.person for one in found})
    }
    calibrated = {
        one.name: np.array([others[one.person].score(score) for score in one.scores])
        for one in found
    }
    print(f"slope {whole.slope}, centre {whole.centre}", end=": ")
    print(f"{whole.people} people, {whole.spoofs} spoofs")
    for live in (True, False):
        fits = {one.person: others[one.person] for one in found if one.live is live}
        print(f"without one of the {len(fits)} {'people' if live else 'spoofs'}:", end=" ")
        for name in ("slope", "centre"):
            values = [getattr(each, name) for each in fits.values()]
            print(f"{name} {min(values)} to {max(values)}", end="; ")
        print()
    print_frames(found, calibrated)
    print_windows(found, calibrated)
    if wanted.out is not None:
        wanted.out.write_text(json.dumps(asdict(whole), indent=1) + "\n")


if __name__ == "__main__":
    main()
