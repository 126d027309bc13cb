"""The share of pictures whose upright turn is found, and the cost.

    python -m tests.benchmarks.upright --faces ../shared/faces [--pack dlib]

Every photo, in every turn: as it is, mirrored, small (120 pixels), tilted by up to 30
degrees, four people in one picture, two small faces in a large picture; and aligned faces
of 112 pixels. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.config.settings import Settings
from pipeline.sessions import registry
from pipeline.sessions.base import Detector
from pipeline.stages.upright import upright
from pipeline.types import Picture
from tests.photos import read

TURNS = (None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE)

SMALL = 120
TILT = 30.0
CROWD_SIDE = 1600

# Of each kind without a photo of its own.
ALIGNED = 60
GROUPS = 15


def shrunk(picture: Picture, side: int) -> Picture:
    scale = min(side / max(picture.shape[:2]), 1.0)
    made = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(made, np.uint8)


def tilted(picture: Picture, degrees: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    made = cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(made, np.uint8)


def cases(faces: Path) -> Iterator[tuple[str, Picture]]:
    """(kind, upright picture)."""
    chance = np.random.default_rng(0)
    people = [read(path) for path in sorted((faces / "photos").glob("*/*.jpg"))]
    photos = [*people, *map(read, sorted((faces / "photos").glob("*.jpg")))]
    photos.append(read(faces / "rotated" / "r0.jpg"))
    for photo in photos:
        yield "as it is", photo
        yield "mirrored", np.asarray(cv2.flip(photo, 1), np.uint8)
        yield "120 pixels", shrunk(photo, SMALL)
        yield "tilted", tilted(photo, float(chance.uniform(-TILT, TILT)))
    for _ in range(GROUPS):
        four = [people[place] for place in chance.choice(len(people), 4, replace=False)]
        yield "four people", np.vstack([np.hstack(four[:2]), np.hstack(four[2:])])
        crowd = np.full((CROWD_SIDE, CROWD_SIDE, 3), 120, np.uint8)
        for portrait in four[:2]:
            top, left = chance.integers(0, CROWD_SIDE - len(portrait), 2)
            crowd[top : top + len(portrait), left : left + len(portrait)] = portrait
        yield "two small faces in 1600 pixels", crowd
    aligned = sorted((faces / "lfw_aligned").glob("*/*.jpg"))
    for place in chance.choice(len(aligned), ALIGNED, replace=False):
        yield "aligned faces of 112 pixels", read(aligned[place])


def right(picture: Picture, detector: Detector) -> tuple[int, int, list[float]]:
    """In how many turns the upright picture was found, in how many any face was, and the
    CPU milliseconds of each."""
    found = seen = 0
    times = []
    for turn in TURNS:
        turned = picture if turn is None else np.asarray(cv2.rotate(picture, turn), np.uint8)
        start = time.process_time()
        made, faces = upright(turned, detector)
        times.append((time.process_time() - start) * 1000)
        found += bool(faces) and np.array_equal(made, picture)
        seen += bool(faces)
    return found, seen, times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--models", default="")
    parser.add_argument("--pack", default="edge")
    parser.add_argument("--every", type=int, default=1, help="only every so many pictures")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    settings = Settings(models=asked.models, pack=asked.pack)
    detector = registry.load(registry.choose(settings), settings).detector()
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    standing, lying = [], []
    for number, (kind, picture) in enumerate(cases(asked.faces)):
        if number % asked.every:
            continue
        found, seen, times = right(picture, detector)
        for place, count in enumerate((found, seen, len(TURNS))):
            counts[kind][place] += count
        standing.append(times[0])
        lying += times[1:]
    for kind, (found, seen, tried) in counts.items():
        print(f"{kind:32} {found} of {tried} turns right, faces in {seen}")
    print(f"median CPU ms: {np.median(standing):.1f} upright, {np.median(lying):.1f} turned")


if __name__ == "__main__":
    main()
