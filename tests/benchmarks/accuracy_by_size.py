"""Whether the engine recognises people as well as insightface, by size of picture.

    python -m tests.benchmarks.accuracy_by_size --sizes 250,1280,2000,4000 --people 120,120,60,24

Aligned faces of LFW are drawn into soft backgrounds, turned and lit differently, from 0.12 to 0.4
of the longer side wide, and stored as JPEG. Each file is analysed as an enrolment of the largest
face and of all faces, and by insightface's `FaceAnalysis` at 640 and at its own two sizes. Of
each way the largest face counts: genuine pairs are those of one person at one size, impostor
pairs all of different people at any sizes, and each way has one threshold, at which it accepts
the share `--fmr` of its impostor pairs. A picture without a face matches nothing. The intervals
hold 95 of 100 resamples of the people, in which the thresholds are found anew. Prints tables.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.engine import AnalysedPicture, PictureRequest, analyse_pictures
from pipeline.analysis.tools import AnalysisTools
from pipeline.operations import enrolment_analysis
from pipeline.types import AnalysisOptions, Box, Embedding, Picture
from tests.benchmarks.baselines import face_analysis
from tests.conftest import load_edge, models_directory, settings_of_edge
from tests.face_grids import SAME, soft_background
from tests.photos import read

CROP = 112
CROP_FACE = Box(17, 10, 95, 112)  # the face of an aligned crop, as detectors draw it
SHARES = (0.12, 0.4)  # width of the face in the longer side of the picture
RESAMPLES = 2000

LARGEST, ALL = "largest face", "all faces"
INSIGHTFACE, INSIGHTFACE_640 = "`FaceAnalysis`", "`FaceAnalysis`, 640"
WAYS = (LARGEST, ALL, INSIGHTFACE, INSIGHTFACE_640)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """The vector of the largest face, None without a face, and whether the drawn one is among
    those that were found."""

    vector: Embedding | None
    found: bool


Way = Callable[[bytes, Box], Seen]


@dataclass(slots=True)
class Photos:
    """What the ways saw of the photos of one size, by way; ``people`` are the photos' people."""

    people: list[int] = field(default_factory=list)
    seen: dict[str, list[Seen]] = field(default_factory=lambda: {way: [] for way in WAYS})


def drawn(
    crop: Picture, longer: int, chance: np.random.Generator
) -> tuple[Picture, Box]:
    """A picture of ``longer`` pixels that shows the face, and the box of the face."""
    width, height = longer, longer if longer <= 250 else longer * 3 // 4
    page = soft_background(width, height, chance)
    scale = float(chance.uniform(*SHARES)) * longer / CROP_FACE.width
    side = max(1, round(CROP * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    face = cv2.resize(crop, (side, side), interpolation=method)
    face = cv2.convertScaleAbs(face, alpha=float(chance.uniform(0.7, 1.2)))
    edge = max(1, side // 16)
    inner = np.zeros((side, side), np.float32)
    inner[edge:-edge, edge:-edge] = 1
    inner = np.asarray(cv2.blur(inner, (2 * edge + 1, 2 * edge + 1)), np.float32)
    angle = float(np.clip(chance.normal(0, 6), -12, 12))
    around = math.cos(math.radians(angle)) + abs(math.sin(math.radians(angle)))
    room = min(math.ceil(side * around), height)
    turn = np.asarray(cv2.getRotationMatrix2D((side / 2, side / 2), angle, 1), np.float64)
    turn[:, 2] += (room - side) / 2
    face = cv2.warpAffine(face, turn, (room, room), borderMode=cv2.BORDER_REPLICATE)
    weight = np.asarray(cv2.warpAffine(inner, turn, (room, room)))[:, :, None]
    left, top = (int(chance.integers(free - room + 1)) for free in (width, height))
    part = page[top : top + room, left : left + room]
    part[:] = (part + (face.astype(np.float32) - part) * weight).round().astype(np.uint8)
    across, down = CROP_FACE.centre
    x, y = turn @ [across * scale, down * scale, 1]
    centre_x, centre_y = left + float(x), top + float(y)
    across, down = CROP_FACE.width * scale / 2, CROP_FACE.height * scale / 2
    box = Box(centre_x - across, centre_y - down, centre_x + across, centre_y + down)
    return page, box


def engine(options: AnalysisOptions, tools: AnalysisTools) -> Way:
    def look(data: bytes, box: Box) -> Seen:
        (answer,) = analyse_pictures([PictureRequest(data, options)], tools)
        if not isinstance(answer, AnalysedPicture):
            return Seen(None, found=False)
        boxes = [face.box for face in answer.examined.faces]
        return Seen(answer.embeddings[0], among(box, boxes))

    return look


def insightface(app: Any) -> Way:
    def look(data: bytes, box: Box) -> Seen:
        faces = app.get(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        boxes = [Box(*face.bbox.tolist()) for face in faces]
        if not boxes:
            return Seen(None, found=False)
        largest = max(range(len(boxes)), key=lambda number: boxes[number].area)
        return Seen(faces[largest].normed_embedding, among(box, boxes))

    return look


def among(face: Box, boxes: Sequence[Box]) -> bool:
    return any(face.overlap(box) > SAME for box in boxes)


def people_of(folder: Path, photos: int, chance: np.random.Generator) -> Iterator[list[Path]]:
    """``photos`` files of each person who has so many, in random order."""
    paths = [sorted(person.glob("*.jpg")) for person in sorted((folder / "lfw_aligned").iterdir())]
    enough = [some for some in paths if len(some) >= photos]
    for number in chance.permutation(len(enough)):
        yield [enough[number][each] for each in chance.permutation(len(enough[number]))[:photos]]


def look_at(
    people: Sequence[Sequence[Path]], counts: dict[int, int], ways: dict[str, Way], seed: int,
    seconds: float,
) -> dict[int, Photos]:
    """Every photo of the first ``counts[size]`` people, drawn at that size, in every way. Person
    by person, and nobody new after ``seconds``."""
    by_size = {longer: Photos() for longer in counts}
    began = time.monotonic()
    for number in range(min(len(people), max(counts.values()))):
        if time.monotonic() - began > seconds:
            break
        for longer, photos in by_size.items():
            chance = np.random.default_rng([seed, longer, number])
            for path in people[number] if number < counts[longer] else ():
                page, box = drawn(read(path), longer, chance)
                data = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
                photos.people.append(number)
                for name, way in ways.items():
                    photos.seen[name].append(way(data, box))
    return by_size


# Rates ----------------------------------------------------------------------


def cosines(seen: Sequence[Seen]) -> NDArray[np.float32]:
    """Of all pairs; -1 with a photo without a face. Shape (photos, photos)."""
    dimension = max((len(each.vector) for each in seen if each.vector is not None), default=1)
    rows = np.array([
        np.zeros(dimension, np.float32) if each.vector is None else each.vector for each in seen
    ])
    faceless = np.array([each.vector is None for each in seen])
    products = rows @ rows.T
    products[faceless] = products[:, faceless] = -1
    return np.asarray(products, np.float32)


class Impostors:
    """The highest cosines of pairs of different people, highest first."""

    def __init__(self, seen: Sequence[Seen], people: NDArray[np.intp], share: float) -> None:
        first, second = np.triu_indices(len(people), 1)
        differ = people[first] != people[second]
        first, second = first[differ], second[differ]
        scores = cosines(seen)[first, second]
        self.pairs, self._share = len(scores), share
        kept = min(len(scores), max(100, math.ceil(50 * share * len(scores))))
        highest = np.argsort(-scores)[:kept]
        self._scores = scores[highest]
        self._first, self._second = people[first[highest]], people[second[highest]]
        self._photos = np.bincount(people)

    def threshold(self, weights: NDArray[np.int64]) -> float:
        """The cosine that at most ``share`` of the pairs exceed when person p counts
        ``weights[p]`` times."""
        each = weights * self._photos
        allowed = self._share * (each.sum() ** 2 - (each**2).sum()) / 2
        counted = np.cumsum(weights[self._first] * weights[self._second])
        beyond = int(np.searchsorted(counted, allowed, side="right"))
        return float(self._scores[min(beyond, len(self._scores) - 1)])


@dataclass(frozen=True, slots=True, eq=False)
class Genuine:
    """The cosines of the pairs of one person at one size, by way, and whose they are."""

    people: NDArray[np.intp]
    scores: dict[str, NDArray[np.float32]]

    @classmethod
    def of(cls, photos: Photos) -> Genuine:
        people = np.array(photos.people, np.intp)
        first, second = np.triu_indices(len(people), 1)
        same = people[first] == people[second]
        first, second = first[same], second[same]
        scores = {way: cosines(seen)[first, second] for way, seen in photos.seen.items()}
        return cls(people[first], scores)

    def accepted(self, way: str, threshold: float, weights: NDArray[np.int64]) -> float:
        """The share of the pairs above the threshold (TAR), in percentage points."""
        each = weights[self.people]
        above = (each * (self.scores[way] > threshold)).sum()
        return float(100 * above / max(1, each.sum()))


def report(by_size: dict[int, Photos], share: float, seed: int) -> Iterator[str]:
    """The tables, line by line."""
    everybody = np.array([each for photos in by_size.values() for each in photos.people], np.intp)
    impostors = {
        way: Impostors(
            [each for photos in by_size.values() for each in photos.seen[way]], everybody, share
        )
        for way in WAYS
    }
    count = int(everybody.max()) + 1
    chance = np.random.default_rng(seed)
    resampled = [np.ones(count, np.int64)] + [
        np.bincount(chance.integers(count, size=count), minlength=count) for _ in range(RESAMPLES)
    ]
    thresholds = {
        way: [some.threshold(weights) for weights in resampled] for way, some in impostors.items()
    }
    pairs = impostors[LARGEST].pairs
    yield f"{pairs:,} impostor pairs, of which a threshold accepts {math.floor(share * pairs)}."
    yield ""
    yield f"| pixels | people, photos, genuine pairs | {' | '.join(WAYS)} |"
    yield "|---|---|" + "---|" * len(WAYS)
    genuine = {longer: Genuine.of(photos) for longer, photos in by_size.items()}
    rates = {
        longer: {
            way: np.array([
                pairs.accepted(way, threshold, weights)
                for threshold, weights in zip(thresholds[way], resampled, strict=True)
            ])
            for way in WAYS
        }
        for longer, pairs in genuine.items()
    }
    for longer, photos in by_size.items():
        sizes = len(set(photos.people)), len(photos.people), len(genuine[longer].people)
        shown = " | ".join(f"{rates[longer][way][0]:.2f}" for way in WAYS)
        yield f"| {longer} | {', '.join(map(str, sizes))} | {shown} |"
    yield ""
    yield (
        "| pixels, way | to `FaceAnalysis` | to it at 640 | pairs lost, won | least, median cosine"
        " | faces found, lost, won |"
    )
    yield "|---|---|---|---|---|---|"
    for longer, photos in by_size.items():
        for way in (LARGEST, ALL):
            differences = [
                interval(rates[longer][way] - rates[longer][other])
                for other in (INSIGHTFACE, INSIGHTFACE_640)
            ]
            ours, theirs = (
                genuine[longer].scores[one] > thresholds[one][0] for one in (way, INSIGHTFACE)
            )
            yield (
                f"| {longer}, {way} | {' | '.join(differences)} | "
                f"{(theirs & ~ours).sum()}, {(ours & ~theirs).sum()} | "
                f"{agreement(photos, way)} | {faces(photos, way)} |"
            )


def interval(differences: NDArray[np.float64]) -> str:
    """The first, and between which 95 % of the others lie."""
    low, high = np.percentile(differences[1:], (2.5, 97.5))
    return f"{differences[0]:+.2f} ({low:+.2f} to {high:+.2f})"


def agreement(photos: Photos, way: str) -> str:
    """How alike the vectors are to those of `FaceAnalysis`, where both have one."""
    alike = [
        float(ours.vector @ theirs.vector)
        for ours, theirs in zip(photos.seen[way], photos.seen[INSIGHTFACE], strict=True)
        if ours.vector is not None and theirs.vector is not None
    ]
    return f"{min(alike):.3f}, {np.median(alike):.4f}" if alike else ""


def faces(photos: Photos, way: str) -> str:
    """How many drawn faces are found, how many only `FaceAnalysis` finds, at its own sizes or
    at 640, and how many only ``way``."""
    ours = np.array([each.found for each in photos.seen[way]])
    theirs = np.array([each.found for each in photos.seen[INSIGHTFACE]])
    theirs |= np.array([each.found for each in photos.seen[INSIGHTFACE_640]])
    return f"{ours.sum()}, {(theirs & ~ours).sum()}, {(ours & ~theirs).sum()}"


def numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--sizes", type=numbers, default=[250, 1280, 2000, 4000])
    parser.add_argument("--people", type=numbers, default=[120, 120, 60, 24],
                        help="one number, or one for each size")
    parser.add_argument("--photos", type=int, default=4, help="of each person")
    parser.add_argument("--seconds", type=float, default=math.inf,
                        help="after which no further person is looked at")
    parser.add_argument("--fmr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    os.environ |= {"FACELINE_PACK": "edge", "FACELINE_MODELS": str(models_directory())}
    tools = AnalysisTools.of(load_edge(), settings_of_edge())
    ways = {
        LARGEST: engine(enrolment_analysis("largest"), tools),
        ALL: engine(enrolment_analysis("all"), tools),
        INSIGHTFACE: insightface(face_analysis(0, threads=1)),
        INSIGHTFACE_640: insightface(face_analysis(640, threads=1)),
    }
    people = list(people_of(options.faces, options.photos, np.random.default_rng(options.seed)))
    counts = options.people * len(options.sizes) if len(options.people) == 1 else options.people
    by_size = look_at(
        people, dict(zip(options.sizes, counts, strict=True)), ways, options.seed, options.seconds
    )
    print("\n".join(report(by_size, options.fmr, options.seed)))


if __name__ == "__main__":
    main()
