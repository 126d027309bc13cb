"""Which small faces of large pictures are found, how many false ones, and what it costs.

    python -m tests.benchmarks.small_faces --plot docs/plots/small-faces.svg

Faces of the test pictures are drawn into soft backgrounds of 2 to 24 megapixels: of photos, with
what surrounds them, and closely cut ones. Counts those missed at each width in pixels. Then:
processor time for all faces and for the largest, of a portrait, of a crowd of 40 faces and of
pictures without faces, and the false faces of these. `usual` is detection at
FACELINE_DETECTION_SIZES only. Prints JSON objects.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pipeline.sessions.base import Detector
from pipeline.stages.detect import detect, detect_largest
from pipeline.types import DetectedFace, Picture
from tests.benchmarks.chart import Axis, line_chart, save
from tests.conftest import load_edge
from tests.face_grids import (
    LabelledFace,
    crop_faces,
    faceless,
    grid,
    photo_faces,
    place,
    soft_background,
)

SIZES = {2: (1632, 1224), 6: (2828, 2121), 12: (4000, 3000), 24: (5660, 4245)}
WIDTHS = (24, 32, 58, 115)
CROWD, CROWD_WIDTH = 40, 58
PORTRAIT_SHARE = 0.2  # width of the portrait's face as a share of the picture's


def found(
    people: list[LabelledFace], crops: list[LabelledFace], detector: Detector, seed: int
) -> dict[str, dict[str, str]]:
    """"missed of drawn", by kind and width, by megapixels."""
    told: dict[str, dict[str, str]] = {}
    for megapixels, size in SIZES.items():
        for kind, faces in (("photo", people), ("crop", crops)):
            for width in WIDTHS:
                chance = np.random.default_rng([seed, megapixels, width])
                made = grid(faces, width, soft_background(*size, chance), chance)
                missed = len(made.missed(detect(made.picture, detector)))
                told.setdefault(f"{kind} {width}", {})[f"{megapixels} MP"] = (
                    f"{missed} of {len(made.boxes)}"
                )
    return told


def milliseconds(look: Callable[[], list[DetectedFace]], repeat: int) -> float:
    """The least processor time of several runs."""
    times = []
    for _ in range(repeat):
        began = time.process_time()
        look()
        times.append(1000 * (time.process_time() - began))
    return round(min(times), 1)


def cost(
    people: list[LabelledFace], detector: Detector, repeat: int, seed: int
) -> tuple[dict[str, dict[int, float]], dict[str, int]]:
    """Milliseconds by kind of picture and megapixels; false faces of the faceless."""
    ways: dict[str, Callable[[Picture], list[DetectedFace]]] = {
        "usual": detector.detect,
        "all": lambda picture: detect(picture, detector),
        "largest": lambda picture: detect_largest(picture, detector),
    }
    spent: dict[str, dict[int, float]] = {}
    false = {"usual": 0, "all": 0, "pictures": 0}
    for megapixels, size in SIZES.items():
        chance = np.random.default_rng([seed, megapixels])
        portrait = soft_background(*size, chance)
        place(people[0], PORTRAIT_SHARE * size[0], portrait, (0, 0), min(size))
        crowd = grid(people[:CROWD], CROWD_WIDTH, soft_background(*size, chance), chance).picture
        empty = faceless(*size, chance)
        shown = {"portrait": portrait, "crowd": crowd, "grass": empty["grass"],
                 "blotches": empty["blotches"]}
        for name, picture in shown.items():
            for way, look in ways.items():
                least = milliseconds(partial(look, picture), repeat)
                spent.setdefault(f"{name}, {way}", {})[megapixels] = least
        for picture in empty.values():
            false["pictures"] += 1
            for way in ("usual", "all"):
                false[way] += len(ways[way](picture))
    return spent, false


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--crops", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--only", choices=("cost", "found"))
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    detector = load_edge().detector()
    people = photo_faces(options.faces, detector)
    crops = crop_faces(
        options.faces, detector, options.crops, np.random.default_rng(options.seed)
    )
    if options.only != "found":
        spent, false = cost(people, detector, options.repeat, options.seed)
        print(json.dumps({"milliseconds": spent, "false_faces": false}, indent=1), flush=True)
        drawn = ("portrait, usual", "portrait, all", "crowd, all", "grass, all")
        save(options.plot, line_chart(
            "Processor time of detection by size of picture", Axis("megapixels"),
            Axis("milliseconds"),
            {name: [(float(size), each) for size, each in spent[name].items()] for name in drawn},
        ))
    if options.only != "cost":
        print(json.dumps({"missed": found(people, crops, detector, options.seed)}, indent=1))


if __name__ == "__main__":
    main()
