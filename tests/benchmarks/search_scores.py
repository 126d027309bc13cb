"""Who is missed and who is hit wrongly in a search, by the score that is asked for.

    python -m tests.benchmarks.search_scores --kept lfw-edge.npz

Every person of the aligned LFW faces has one picture in the gallery, the first. Known people
search with their second one, and are missed below the score. Strangers search with their first
one while it is not in the gallery, and are hit when anybody reaches the score. Each person
searches once, so that Wilson's intervals apply. The table is made from one random half of the
people and judges searches of the other half, in both directions; `shipped` is the table of the
pack, which all of these people made. Names known to be one person count as one. Then the known
people again, with two pictures drawn at random. Prints a table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.fit import CalibrationSource, fit_people
from pipeline.calibration.table import Calibration, load_table
from tests.benchmarks.face_like import Photos, embed_aligned
from tests.conftest import load_edge
from tests.shares import interval

SCORES = (80, 90, 95, 96)
DRAWS = 100

# One person under two names in LFW: by the names themselves, and two pairs that share a photo
# or a face (their cosines are above 0.5).
DOUBLES = {
    "Sepp_Blatter": "Joseph_Blatter", "Wang_Nan": "Nan_Wang", "Jon_Gruden": "John_Gruden",
    "Prince_Felipe": "Felipe_De_Borbon", "Gabrielle_Rose": "Martha_Bowen",
    "Nora_Bendijo": "Flor_Montulo",
}

Cosines = NDArray[np.float32]
Threshold = Callable[[Calibration, int], float]


@dataclass(frozen=True, slots=True, eq=False)
class Searches:
    """One search a person: ``who``, the place of the person among all, and the cosine that
    decides: of the person's own face in the gallery, or of the nearest other one."""

    who: NDArray[np.intp]
    cosines: Cosines


def known_searches(photos: Photos, draw: np.random.Generator | None = None) -> Searches:
    """People with two pictures or more; the first and the second, or two that are drawn."""
    who, cosines = [], []
    for number, name in enumerate(np.unique(photos.people)):
        places = np.flatnonzero(photos.people == name)
        if len(places) < 2:
            continue
        enrolled, probe = places[:2] if draw is None else draw.choice(places, 2, replace=False)
        who.append(number)
        cosines.append(photos.vectors[enrolled] @ photos.vectors[probe])
    return Searches(np.array(who), np.array(cosines, np.float32))


def stranger_searches(photos: Photos, doubles: dict[str, str]) -> Searches:
    first = photos.first_of_each()
    names = np.array([doubles.get(name, name) for name in photos.people[first]])
    cosines = photos.vectors[first] @ photos.vectors[first].T
    cosines[names[:, None] == names] = -1
    return Searches(np.arange(len(first)), cosines.max(axis=1))


def tables_of_halves(photos: Photos, seed: int) -> tuple[Calibration, Calibration, set[int]]:
    """A table of each half of the people, and who is in the first half."""
    people = np.unique(photos.people)
    chosen = np.random.default_rng(seed).permutation(len(people))[: len(people) // 2]
    inside = np.isin(photos.people, people[chosen])
    source = CalibrationSource("edge", "", photos.vectors.shape[1])
    first, second = (
        fit_people(photos.vectors[part], list(photos.people[part]), source)
        for part in (inside, ~inside)
    )
    return first, second, set(chosen.tolist())


def below(searches: Searches, limits: NDArray[np.float64]) -> int:
    """How many searches stay below the limit of their person."""
    return int((searches.cosines < limits[searches.who]).sum())


def share(count: int, of: int) -> str:
    low, high = interval(count, of)
    return f"{100 * count / of:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def by_table(table: Calibration, score: int) -> float:
    return table.cosine_of(score / 100)


def straight_to_one(table: Calibration, score: int) -> float:
    """The cosine of a score above 90 on a straight line from one in a million to cosine 1."""
    last = table.cosine_at(1e-6)
    return last + (1 - last) * max(score - 90, 0) / 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--kept", type=Path, help="File to keep the embeddings in.")
    parser.add_argument("--seed", type=int, default=0, help="Of the halves and of the draws.")
    options = parser.parse_args()
    photos = embed_aligned(options.data / "lfw_aligned", load_edge(), options.kept)
    known = known_searches(photos)
    strangers = stranger_searches(photos, DOUBLES)
    labelled = stranger_searches(photos, {})
    count = len(strangers.who)
    print(f"gallery of {count}, {len(known.who)} known people, {count} strangers")
    shipped = load_table("edge")
    assert shipped is not None
    first, second, inside = tables_of_halves(photos, options.seed)
    draw = np.random.default_rng(options.seed)
    drawn = [known_searches(photos, draw) for _ in range(DRAWS)]
    print("| score | table | known people missed | strangers hit | as labelled | drawn pictures |")
    print("|---|---|---|---|---|---|")
    rows: list[tuple[int, str, Threshold]] = [
        *((score, "of the others", by_table) for score in SCORES),
        *((score, "shipped", by_table) for score in SCORES),
        (95, "of the others, straight to cosine 1", straight_to_one),
    ]
    for score, name, threshold in rows:
        if name == "shipped":
            limits = np.full(count, threshold(shipped, score))
        else:
            own, others = threshold(first, score), threshold(second, score)
            limits = np.array([others if number in inside else own for number in range(count)])
        missed = [100 * below(each, limits) / len(each.who) for each in drawn]
        print(
            f"| {score} | {name} | {share(below(known, limits), len(known.who))} "
            f"| {share(count - below(strangers, limits), count)} "
            f"| {share(count - below(labelled, limits), count)} "
            f"| {np.mean(missed):.2f} % ({min(missed):.2f} to {max(missed):.2f}) |"
        )


if __name__ == "__main__":
    main()
