"""Compares bulk enrolment of thousands of photos with single enrolments.

    python -m tests.benchmarks.bulk_equality --count 1500 --seed 1

All test pictures, aligned crops, and photos made from them (tests/varied_photos.py), of the
`edge` pack: the same answer, the same faces, embeddings of a cosine above 0.995. Prints
the differences, then a JSON object for each configuration: photos, differences, the least
cosine, the share of photos at which the first size was enough, and the processor time of both ways.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bulk.detection import BulkDetector
from pipeline.bulk.engine import AnalysedPicture, BulkResources, FaceSelection, analyse_pictures
from pipeline.errors import FaceError
from pipeline.stages.decode import decode
from tests.conftest import load_edge, settings_of_edge
from tests.single_path import alone, bulk_tools, differences
from tests.varied_photos import FOLDERS, varied

CHUNK = 32
WISHES = (
    FaceSelection("largest"),
    FaceSelection("largest", gate=True),
    FaceSelection("one"),
    FaceSelection("all"),
)


def files(folder: Path, count: int, crops: int, seed: int) -> Iterator[bytes]:
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*.*")):
            yield path.read_bytes()
    aligned = sorted((folder / "lfw_aligned").rglob("*.jpg"))
    chance = np.random.default_rng(seed)
    for number in chance.choice(len(aligned), crops, replace=False):
        yield aligned[number].read_bytes()
    yield from varied(folder, count, seed)


def compare(data: list[bytes], wanted: FaceSelection, tools: BulkResources) -> dict[str, Any]:
    """Compare one configuration; prints the differences."""
    began = time.process_time()
    answers: list[AnalysedPicture | FaceError] = []
    for start in range(0, len(data), CHUNK):
        answers += analyse_pictures(data[start : start + CHUNK], wanted, tools)
    bulk, began = time.process_time() - began, time.process_time()
    expected = [alone(each, wanted, tools) for each in data]
    single = time.process_time() - began
    least, wrong, other = 1.0, 0, 0
    for number, (answer, other_way) in enumerate(zip(answers, expected, strict=True)):
        told = differences(answer, other_way)
        if told:
            print(number, wanted, told, flush=True)
            wrong += 1
        elif isinstance(answer, AnalysedPicture):
            cosines = (answer.embeddings * other_way.embeddings).sum(axis=1)
            least = min(least, float(cosines.min()))
            other += answer.face_count != len(other_way.found)
    return {
        "faces": wanted.faces, "gate": wanted.gate, "photos": len(data), "different": wrong,
        "least_cosine": round(least, 5), "other_count": other,
        "bulk_ms": round(1000 * bulk / len(data), 1),
        "single_ms": round(1000 * single / len(data), 1),
    }


def short_share(data: list[bytes], tools: BulkResources) -> float:
    finder = BulkDetector(tools.pack)
    for each in data:
        try:
            finder.largest_face(decode(each, tools.limits))
        except FaceError:
            continue
    return finder.early_exits / max(finder.pictures, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--count", type=int, default=1500, help="photos that are made")
    parser.add_argument("--crops", type=int, default=300, help="aligned crops")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wishes", type=int, default=len(WISHES), help="only the first ones")
    options = parser.parse_args()
    tools = bulk_tools(load_edge(), settings_of_edge())
    data = list(files(options.faces, options.count, options.crops, options.seed))
    for wanted in WISHES[: options.wishes]:
        print(json.dumps(compare(data, wanted, tools)), flush=True)
    print(json.dumps({"first_size_enough": round(short_share(data, tools), 3)}))


if __name__ == "__main__":
    main()
