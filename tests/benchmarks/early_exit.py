"""Compares the largest face of thousands of photos, searched alone, with the largest of all.

    python -m tests.benchmarks.early_exit --count 1500 --seed 1

All test pictures, aligned crops, and photos made from them (tests/varied_photos.py), of the
`edge` pack: the same face or none, embeddings of a cosine above 0.995. Prints the differences,
then a JSON object: photos, differences, the least cosine, the share of photos at which the
first size was enough, and milliseconds of processor time of both searches.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import FaceError
from pipeline.media.pictures import PictureLimits
from pipeline.sessions.base import Pack
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.scrfd import ScrfdDetector, ScrfdNetwork
from pipeline.stages.align import align_faces
from pipeline.stages.decode import decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.types import DetectedFace, Picture
from tests.conftest import load_edge, settings_of_edge
from tests.varied_photos import FOLDERS, varied

LEAST_IOU = 0.98
LEAST_COSINE = 0.995


class CountingNetwork:
    """Counts the inputs that a network is given."""

    def __init__(self, network: ScrfdNetwork) -> None:
        self._network = network
        self.fixed_size = network.fixed_size
        self.inputs = 0

    def candidates(
        self, picture: Picture, threshold: float, *, large_only: bool = False
    ) -> BoxCandidates:
        self.inputs += 1
        return self._network.candidates(picture, threshold, large_only=large_only)

    def window_candidates(
        self, picture: Picture, threshold: float, *, small_only: bool = False
    ) -> BoxCandidates:
        self.inputs += 1
        return self._network.window_candidates(picture, threshold, small_only=small_only)


def counting(detector: ScrfdDetector) -> tuple[ScrfdDetector, CountingNetwork]:
    """The detector, with a network that counts."""
    network = CountingNetwork(detector.network)
    return ScrfdDetector(network, settings_of_edge(), detector.early_exit), network


def photos(folder: Path, count: int, crops: int, seed: int) -> Iterator[Picture]:
    limits = PictureLimits.from_settings(settings_of_edge())
    for data in files(folder, count, crops, seed):
        try:
            yield decode(data, limits)
        except FaceError:
            continue


def files(folder: Path, count: int, crops: int, seed: int) -> Iterator[bytes]:
    for name in FOLDERS:
        for path in sorted((folder / name).rglob("*.*")):
            yield path.read_bytes()
    aligned = sorted((folder / "lfw_aligned").rglob("*.jpg"))
    chance = np.random.default_rng(seed)
    for number in chance.choice(len(aligned), crops, replace=False):
        yield aligned[number].read_bytes()
    yield from varied(folder, count, seed)


def cosine(picture: Picture, one: DetectedFace, other: DetectedFace, pack: Pack) -> float:
    embedder = pack.embedder()
    first, second = embed(align_faces(picture, [one, other], embedder), embedder)
    return float(first @ second)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--count", type=int, default=1500, help="photos that are made")
    parser.add_argument("--crops", type=int, default=300, help="aligned crops")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    detector = pack.detector()
    assert isinstance(detector, ScrfdDetector)
    sparing, network = counting(detector)
    number, wrong, least, early, spent = 0, 0, 1.0, 0, {"all": 0.0, "largest": 0.0}
    for picture in photos(options.faces, options.count, options.crops, options.seed):
        number += 1
        began = time.process_time()
        found = detect(picture, detector)
        spent["all"] += time.process_time() - began
        network.inputs, began = 0, time.process_time()
        face = sparing.detect_largest(picture)
        spent["largest"] += time.process_time() - began
        early += network.inputs == 1
        if face is None or not found:
            same = face is None and not found
        else:
            here = cosine(picture, face, found[0], pack)
            least = min(least, here)
            same = face.box.overlap(found[0].box) >= LEAST_IOU and here >= LEAST_COSINE
        if not same:
            wrong += 1
            print(number, picture.shape, face and face.box, [each.box for each in found])
    print(json.dumps({
        "photos": number, "different": wrong, "least_cosine": round(least, 5),
        "first_size_enough": round(early / number, 3),
        "ms": {way: round(1000 * each / number, 1) for way, each in spent.items()},
    }))


if __name__ == "__main__":
    main()
