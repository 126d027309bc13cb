"""The false-match rates of the shipped tables in groups of people.

    python -m tests.benchmarks.rates_by_group --kept lfw-edge.npz
    python -m tests.benchmarks.rates_by_group --pack dlib --people 1600 --kept lfw-dlib.npz

Pairs are of two people of one group of LFW's aligned faces; the groups follow from names
(`name_groups.py`). Each pair of people counts once: by the share of their pairs of pictures that
reach the cosine of the promised rate. Names known to be one person count as one. The intervals hold
95 of 100 resamples of the people; without a pair above the cosine the upper end is that of 3 pairs.
`--people` takes one picture each of so many people: those with East Asian names first, then the
other groups in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.calibration.measure import embed_files
from pipeline.calibration.table import load_table
from pipeline.config.settings import Settings
from pipeline.sessions import registry
from pipeline.sessions.base import Pack
from tests.benchmarks.face_like import Photos, embed_aligned
from tests.benchmarks.name_groups import (
    EAST_ASIAN,
    MIDDLE_EASTERN,
    SOUTH_ASIAN,
    groups_of,
    is_womans,
)
from tests.benchmarks.search_scores import DOUBLES
from tests.conftest import models_directory

RATES = (1e-2, 1e-3, 1e-4)
RESAMPLES = 1000
LEAST_PEOPLE = 15

Shares = NDArray[np.float32]


def taken_first(names: Sequence[str], seed: int) -> list[str]:
    """The people in the order in which ``--people`` takes them."""
    chance = np.random.default_rng(seed)
    first = [name for name in names if name in EAST_ASIAN]
    asian = [name for name in names if name in MIDDLE_EASTERN or name in SOUTH_ASIAN]
    taken = {*first, *asian}
    women = [name for name in names if is_womans(name) and name not in taken]
    taken.update(women)
    others = [name for name in names if name not in taken]
    women, others, asian = (
        [str(name) for name in chance.permutation(some)] for some in (women, others, asian)
    )
    while women or others or asian:
        for some, count in ((others, 5), (women, 5), (asian, 2)):
            first += some[:count]
            del some[:count]
    return first


def embed_people(folder: Path, pack: Pack, count: int, seed: int, kept: Path | None) -> Photos:
    """The first picture of each of so many people."""
    names = taken_first(sorted(path.name for path in folder.iterdir()), seed)[:count]
    if kept and kept.exists():
        stored = np.load(kept)
        wanted = np.isin(stored["people"], names)
        return Photos(stored["vectors"][wanted], stored["people"][wanted])
    found = embed_files([min((folder / name).glob("*.jpg")) for name in names], pack, aligned=True)
    people = np.array([path.parent.name for path in found.vectors])
    photos = Photos(np.array(list(found.vectors.values())), people)
    if kept:
        np.savez(kept, vectors=photos.vectors, people=photos.people)
    return photos


def shares_above(photos: Photos, cosine: float) -> tuple[NDArray[np.str_], Shares]:
    """The people, and for each pair of them the share of their pairs of pictures at or above
    ``cosine``; 0 for a person with itself. Shape (people, people)."""
    names = np.array([DOUBLES.get(name, name) for name in photos.people])
    order = np.argsort(names, kind="stable")
    people, starts, counts = np.unique(names[order], return_index=True, return_counts=True)
    vectors = photos.vectors[order]
    above = (vectors @ vectors.T >= cosine).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(above, starts, axis=0), starts, axis=1)
    shares = sums / np.outer(counts, counts)
    np.fill_diagonal(shares, 0)
    return people, shares.astype(np.float32)


def with_interval(shares: Shares, chance: np.random.Generator) -> str:
    """The rate and its interval."""
    count = len(shares)
    first, second = np.nonzero(np.triu(shares))
    above = shares[first, second]
    if not len(above):
        return f"0 (below {6 / (count * (count - 1)):.1e})"

    def rate(weights: NDArray[np.int64]) -> float:
        """The mean of all pairs of people when person p counts ``weights[p]`` times."""
        pairs = weights.sum() ** 2 - (weights**2).sum()
        return float(2 * (weights[first] * weights[second] * above).sum() / max(pairs, 1))

    drawn = [
        rate(np.bincount(chance.integers(count, size=count), minlength=count))
        for _ in range(RESAMPLES)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{rate(np.ones(count, np.int64)):.1e} ({low:.1e} to {high:.1e})"


def report(photos: Photos, cosines: Sequence[float], seed: int) -> Iterator[str]:
    yield "| group | people | pairs of people | " + " | ".join(f"{r:.0e}" for r in RATES) + " |"
    yield "|---|---|---|" + "---|" * len(RATES)
    by_rate = [shares_above(photos, cosine) for cosine in cosines]
    people = by_rate[0][0]
    member = {name: groups_of(str(name)) for name in people}
    for group in sorted(set().union(*member.values())):
        inside = np.array([group in member[name] for name in people])
        count = int(inside.sum())
        if count < LEAST_PEOPLE:
            continue
        chance = np.random.default_rng(seed)
        cells = [with_interval(shares[np.ix_(inside, inside)], chance) for _, shares in by_rate]
        yield f"| {group} | {count} | {count * (count - 1) // 2:,} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--pack", default="edge")
    parser.add_argument("--people", type=int, help="One picture each of so many people.")
    parser.add_argument("--kept", type=Path, help="File to keep the embeddings in.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = Settings(models=str(models_directory()), pack=options.pack)
    pack = registry.load(registry.choose(settings), settings)
    table = load_table(options.pack, model=pack.info.recognition_model)
    assert table is not None
    folder = options.data / "lfw_aligned"
    if options.people:
        photos = embed_people(folder, pack, options.people, options.seed, options.kept)
    else:
        photos = embed_aligned(folder, pack, options.kept)
    for line in report(photos, [table.cosine_at(rate) for rate in RATES], options.seed):
        print(line)


if __name__ == "__main__":
    main()
