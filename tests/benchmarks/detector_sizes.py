"""Which detector sizes give the boxes of which others.

    python -m tests.benchmarks.detector_sizes --portraits 2000 --photos 60

First: does 640 ever score a large face higher that scores high at 128? `EarlyExit` in
pipeline/sessions/scrfd.py assumes that it does not with the detector of `edge`. Tried on
portraits made from the test pictures and from the aligned crops, whose people were not used
to draw the line. Then: how far embeddings move from those of both sizes with other sizes, or
with a JPEG decoded at half its size (the whole picture, 1632 x 1224). Prints a JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.sessions.base import Pack
from pipeline.sessions.candidates import BoxCandidates
from pipeline.sessions.scrfd import ScrfdDetector, detect_at_size, faces_of, side_share
from pipeline.stages.align import align_faces
from pipeline.stages.detect import detect, largest_first
from pipeline.stages.embed import embed
from pipeline.types import DetectedFace, Embedding, Picture
from tests.benchmarks.baselines import photos
from tests.benchmarks.bulk_speed import LARGE, write_photos
from tests.conftest import load_edge
from tests.varied_photos import originals, portrait

SAME = 0.4  # overlap of two boxes of one face

WAYS = {
    "128, 320": ((128, 320), False), "320": ((320,), False), "448": ((448,), False),
    "128, 640, half the JPEG": ((128, 640), True),
}


def portraits(folder: Path, count: int, seed: int) -> Iterator[Picture]:
    """Half of them of the test pictures, half of the aligned crops."""
    chance = np.random.default_rng(seed)
    pictures = originals(folder)
    crops = sorted((folder / "lfw_aligned").rglob("*.jpg"))
    for number in range(count):
        if number % 2:
            page = pictures[chance.integers(len(pictures))]
        else:
            crop = cv2.imread(str(crops[chance.integers(len(crops))]))
            assert crop is not None
            above, below, left, right = (int(side) for side in chance.integers(0, 110, 4))
            page = cv2.copyMakeBorder(crop, above, below, left, right, cv2.BORDER_REFLECT)
        yield np.ascontiguousarray(portrait(page, chance, pictures, crops), np.uint8)


def found(picture: Picture, sizes: Sequence[int], detector: ScrfdDetector) -> list[DetectedFace]:
    each = [
        detect_at_size(picture, size, detector.network, detector.threshold) for size in sizes
    ]
    return largest_first(faces_of(BoxCandidates.concatenate(each).best()))


def beaten(folder: Path, options: argparse.Namespace, detector: ScrfdDetector) -> dict[str, Any]:
    """Of the faces beyond the line: how many, and by how much 640 scored more."""
    assert detector.early_exit is not None
    beyond, excess = 0, []
    for picture in portraits(folder, options.portraits, options.seed):
        first = found(picture, detector.sizes[:1], detector)[:1]
        if not first:
            continue
        face, share = first[0], side_share(first[0].box, picture)
        if face.score < detector.early_exit.score_for(share):
            continue
        beyond += 1
        others = found(picture, detector.sizes[1:], detector)
        excess += [
            other.score - face.score for other in others if other.box.overlap(face.box) > SAME
        ]
    return {
        "portraits": options.portraits, "beyond_the_line": beyond,
        "beaten": sum(each > 0 for each in excess),
        "closest": round(max(excess, default=0.0), 4),
    }


def moved(
    folder: Path, options: argparse.Namespace, pack: Pack, detector: ScrfdDetector
) -> Any:
    """Cosines to the embedding of both sizes, for each way."""
    cosines: dict[str, list[float]] = {way: [] for way in WAYS}
    sources = [path for path in photos(folder / "photos") if path.parent != folder / "photos"]
    with tempfile.TemporaryDirectory() as made:
        write_photos(Path(made), sources, options.photos, LARGE, options.seed)
        for path in photos(Path(made)):
            data = np.frombuffer(path.read_bytes(), np.uint8)
            full = decoded(data, cv2.IMREAD_COLOR)
            half = decoded(data, cv2.IMREAD_REDUCED_COLOR_2)
            expected = embedding(full, detect(full, detector), pack)
            for way, (sizes, reduced) in WAYS.items():
                picture = half if reduced else full
                seen = embedding(picture, found(picture, sizes, detector), pack)
                cosines[way].append(float(expected @ seen))
    return {
        way: {
            "least": round(min(each), 3), "median": round(float(np.median(each)), 4),
            "above_0.995": round(float(np.mean(np.array(each) > 0.995)), 2),
        }
        for way, each in cosines.items()
    }


def decoded(data: Any, flag: int) -> Picture:
    picture = cv2.imdecode(data, flag)
    assert picture is not None
    return np.asarray(picture, np.uint8)


def embedding(picture: Picture, faces: Sequence[DetectedFace], pack: Pack) -> Embedding:
    """Of the first face; of none, zeros."""
    embedder = pack.embedder()
    if not faces:
        return np.zeros(embedder.dimension, np.float32)
    return np.asarray(embed(align_faces(picture, list(faces[:1]), embedder), embedder)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--portraits", type=int, default=2000)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_edge()
    detector = pack.detector()
    assert isinstance(detector, ScrfdDetector)
    print(json.dumps({
        "unbeaten": beaten(options.faces, options, detector),
        "moved": moved(options.faces, options, pack, detector),
    }, indent=1))


if __name__ == "__main__":
    main()
