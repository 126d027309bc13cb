"""The speed of whole enrolments, beside that of detection and embedding alone.

    python -m tests.benchmarks.bulk_speed --rounds 3

On the same photos, in turn, round after round in one run: (i) insightface's
`FaceAnalysis` at its own two sizes in a plain loop, (ii) the same at 640, (iii) two
single-threaded processes that only decode, detect at 640 and embed, and (iv) `faceline
enroll` into a running service: stored, recorded, indexed, searched by the index process.
Photos are turned, scaled, lit and encoded anew from the test pictures' `photos`, so that
each is another file; 250 x 250 and 1632 x 1224 pixels. (iv) is timed from the start of the
command until its last photo can be found, not until duplicate people were searched. Prints a JSON
object: rates and processor time of the medians, ratios as medians of the rounds' own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.types import Picture
from tests.benchmarks.baselines import photos
from tests.benchmarks.bulk_growth import DEFAULTS
from tests.benchmarks.bulk_throughput import enrolled
from tests.bulk_harness import Harness, open_harness
from tests.conftest import models_directory
from tests.photos import read

YARDSTICKS = {"i": "analysis-both", "ii": "analysis", "iii": "bare"}
SMALL, LARGE = (250, 250), (1632, 1224)
# Chunks enough that every worker has loaded its models before anything is measured.
WARM = 256
# The speed that (iv) must reach, in multiples of each baseline.
WANTED = {"small": {"i": 5.0, "iii": 1.3}, "large": {"i": 3.0, "iii": 1.3}}


def varied_photo(
    picture: Picture, size: tuple[int, int], chance: np.random.Generator
) -> bytes:
    """Another photo of the same face as a JPEG of ``size``: turned, scaled and lit a little.
    The margins of one of another shape than the original reflect it."""
    width, height = size
    rows, columns = picture.shape[:2]
    scale = min(width / columns, height / rows) * chance.uniform(0.95, 1.15)
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), chance.normal(0, 3), scale)
    matrix[:, 2] += [(width - columns) / 2, (height - rows) / 2]
    page = cv2.warpAffine(
        picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT
    )
    page = cv2.convertScaleAbs(page, alpha=chance.uniform(0.85, 1.15))
    quality = int(chance.integers(85, 95))
    return cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def write_photos(
    folder: Path, originals: Sequence[Path], count: int, size: tuple[int, int], seed: int
) -> None:
    """``count`` different files: FOLDER/PERSON/NUMBER.jpg."""
    chance = np.random.default_rng(seed)
    for number in range(count):
        path = originals[number % len(originals)]
        target = folder / path.parent.name / f"{number:05d}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(varied_photo(read(path), size, chance))


def baseline(kind: str, folder: Path) -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.baselines", kind, str(folder),
         "--repeat", "1"],
        check=True, capture_output=True, text=True,
        env={**os.environ, "FACELINE_PACK": "edge", "FACELINE_MODELS": str(models_directory())},
    ).stdout
    found = json.loads(output.splitlines()[-1])
    return {
        "photos_per_s": found["pictures"] / found["wall_s"],
        "cpu_ms": 1000 * found["cpu_s"] / found["pictures"],
    }


def enrolment(harness: Harness, folder: Path) -> dict[str, float]:
    found = enrolled(harness, folder)
    parts = {name: each for name, each in found.items() if name.endswith("_ms")}
    return {"photos_per_s": found["photos_per_s"], "cpu_ms": sum(parts.values()), **parts}


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    originals = [path for path in photos(options.photos) if path.parent != options.photos]
    found: dict[str, dict[str, list[dict[str, float]]]] = {"small": {}, "large": {}}
    with open_harness(folder / "harness", **DEFAULTS) as harness:
        harness.start_bulk(options.workers)
        harness.start_upkeep()
        harness.start_index()
        for turn in range(options.rounds + 1):
            for name, size, count in (
                ("small", SMALL, options.small), ("large", LARGE, options.large),
            ):
                source = folder / f"{name}-{turn}"
                write_photos(source, originals, count if turn else WARM, size, options.seed + turn)
                ways = ["iv", *(YARDSTICKS if turn else ())]
                # The order alternates, so that no way always finds a warm machine.
                for way in ways if turn % 2 else reversed(ways):
                    began = time.monotonic()
                    once = (
                        enrolment(harness, source) if way == "iv"
                        else baseline(YARDSTICKS[way], source)
                    )
                    print(turn, name, way, once, f"{time.monotonic() - began:.1f} s",
                          file=sys.stderr, flush=True)
                    if turn:
                        found[name].setdefault(way, []).append(once)
    return {name: _told(name, ways) for name, ways in found.items()}


def _told(name: str, ways: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    def ratio(key: str, way: str) -> list[float]:
        both = zip(ways["iv"], ways[way], strict=True)
        return [
            ours[key] / theirs[key] if key == "photos_per_s" else theirs[key] / ours[key]
            for ours, theirs in both
        ]

    return {
        "ways": {
            way: {
                key: round(statistics.median(each[key] for each in rounds), 2)
                for key in rounds[0] if all(key in each for each in rounds)
            }
            for way, rounds in sorted(ways.items())
        },
        "times": {
            way: {
                "wanted": WANTED[name].get(way),
                "rate": round(statistics.median(ratio("photos_per_s", way)), 2),
                "rates": [round(each, 2) for each in ratio("photos_per_s", way)],
                "cpu": round(statistics.median(ratio("cpu_ms", way)), 2),
            }
            for way in YARDSTICKS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=1200, help="small photos a round")
    parser.add_argument("--large", type=int, default=400, help="large photos a round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
