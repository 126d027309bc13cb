"""How well a table is fitted to a gallery whose people nobody has labelled.

    python -m tests.benchmarks.own_tables --kept lfw-edge.npz

Galleries are LFW's aligned faces: all, those of people with several pictures, of women by their
given names, and random ones. The fit sees no names, or the right ones. Of each the table says how
many people there are, and its cosines at 1e-2 to 1e-6 are judged by a table that is fitted to the
same faces with all labels: the rate there, divided by the promised one. `shipped` judges the
pack's table in the same way.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.calibration.fit import CalibrationSource, fit_people
from pipeline.calibration.own import fit_gallery
from pipeline.calibration.table import Calibration, load_table
from pipeline.duplicates.names import name_numbers
from pipeline.errors import InvalidParameter
from tests.benchmarks.face_like import Photos, embed_aligned
from tests.benchmarks.name_groups import is_womans
from tests.conftest import load_edge

LOGS = (-2, -3, -4, -5, -6)
PICTURES = (2, 4, 6)
DRAWN = (1000, 480)


def galleries(photos: Photos, seed: int) -> Iterator[Photos]:
    names, counts = np.unique(photos.people, return_counts=True)
    yield photos
    for pictures in PICTURES:
        some = np.isin(photos.people, names[counts >= pictures])
        yield Photos(photos.vectors[some], photos.people[some])
    women = np.array([is_womans(name) for name in photos.people])
    yield Photos(photos.vectors[women], photos.people[women])
    chance = np.random.default_rng(seed)
    for count in DRAWN:
        drawn = chance.choice(len(photos.people), count, replace=False)
        yield Photos(photos.vectors[drawn], photos.people[drawn])


def ratios(table: Calibration, truth: Calibration) -> str:
    return " | ".join(f"{truth.fmr(table.cosine_at(10.0**log)) / 10.0**log:.2f}" for log in LOGS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--kept", type=Path, help="File to keep the embeddings in.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    photos = embed_aligned(options.data / "lfw_aligned", load_edge(), options.kept)
    shipped = load_table("edge")
    assert shipped is not None
    source = CalibrationSource("edge", "", photos.vectors.shape[1])
    print("| faces, people | names | people found | " + " | ".join(f"1e{n}" for n in LOGS) + " |")
    print("|---|---|---|" + "---|" * len(LOGS))
    for gallery in galleries(photos, options.seed):
        people = list(gallery.people)
        size = f"{len(people):,}, {len(set(people)):,}"
        numbers = name_numbers(people)
        for title, names in (("none", np.zeros_like(numbers)), ("right", numbers)):
            try:
                made = fit_gallery(gallery.vectors, names, shipped, source)
            except InvalidParameter as error:
                print(f"| {size} | {title} | refused: {error.message} |")
                break
            truth = fit_people(gallery.vectors, people, source)
            print(f"| {size} | {title} | {made.people:,} | {ratios(made, truth)} |")
        else:
            print(f"| {size} | shipped | | {ratios(shipped, truth)} |")


if __name__ == "__main__":
    main()
