"""The cost of decoding in a sandbox, against decoding in the worker's own process.

    python -m tests.benchmarks.sandbox_cost --photos ../shared/faces/photos --rounds 200

The same JPEG at 250 x 250 pixels and at two megapixels, with and without a sandbox in
turn, picture by picture, so that a machine whose speed drifts drifts for both. Decoding
alone, and with the other work of a fused worker: finding faces and embedding the largest.
Medians; the ratio is the median of the ratios picture by picture. CPU is that of this
process, its fork server and its decoder together.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import psutil

from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import open_sandbox
from pipeline.stages.align import align_faces
from pipeline.stages.decode import DECODE_FUNCTION, decode
from pipeline.stages.detect import detect
from pipeline.stages.embed import embed
from pipeline.types import Picture
from tests.benchmarks.baselines import photos
from tests.conftest import load_edge, settings_of_edge
from tests.photos import read

SIZES = {"250 x 250": (250, 250), "1632 x 1224": (1632, 1224)}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to go: milliseconds by the clock, each picture's, and of CPU for all."""

    clock: list[float]
    cpu_ms: float


def resized(paths: Sequence[Path], size: tuple[int, int]) -> list[bytes]:
    files = []
    for path in paths:
        small = cv2.resize(read(path), size, interpolation=cv2.INTER_AREA)
        files.append(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
    return files


def cpu_ms() -> float:
    own = psutil.Process()
    total = 0.0
    for process in [own, *own.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return 1000 * total


def in_turn(
    ways: Sequence[Callable[[bytes], object]], files: Sequence[bytes], rounds: int
) -> list[Way]:
    """Each way on each picture; who goes first changes with every picture."""
    clocks: list[list[float]] = [[] for _ in ways]
    for number in range(rounds):
        data = files[number % len(files)]
        order = range(len(ways)) if number % 2 else reversed(range(len(ways)))
        for index in order:
            start = time.perf_counter()
            ways[index](data)
            clocks[index].append(1000 * (time.perf_counter() - start))
    costs = []
    for way, clock in zip(ways, clocks, strict=True):
        before = cpu_ms()
        for number in range(rounds):
            way(files[number % len(files)])
        costs.append(Way(clock, (cpu_ms() - before) / rounds))
    return costs


def row(name: str, plain: Way, boxed: Way) -> str:
    ratio = statistics.median(b / a for a, b in zip(plain.clock, boxed.clock, strict=True))
    return (
        f"| {name} | {statistics.median(plain.clock):.2f} | {statistics.median(boxed.clock):.2f} "
        f"| {ratio:.3f} | {plain.cpu_ms:.2f} | {boxed.cpu_ms:.2f} "
        f"| {boxed.cpu_ms / plain.cpu_ms:.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=200)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    settings, pack = settings_of_edge(), load_edge()
    limits = PictureLimits.from_settings(settings)
    sandbox = open_sandbox(settings, [DECODE_FUNCTION])
    assert sandbox is not None

    def whole(picture: Picture) -> object:
        faces = detect(picture, pack.detector())[:1]
        return embed(align_faces(picture, faces, pack.embedder()), pack.embedder())

    ways: dict[str, list[Callable[[bytes], object]]] = {
        "decode": [
            lambda data: decode(data, limits), lambda data: decode(data, limits, sandbox)
        ],
        "decode, detect, embed": [
            lambda data: whole(decode(data, limits)),
            lambda data: whole(decode(data, limits, sandbox)),
        ],
    }
    print("| picture, work | ms without | ms with | ratio | CPU ms without | with | ratio |")
    print("|---|---|---|---|---|---|---|")
    with sandbox:
        for size, pixels in SIZES.items():
            files = resized(photos(arguments.photos), pixels)
            for name, pair in ways.items():
                in_turn(pair, files, 5)
                print(row(f"{size}, {name}", *in_turn(pair, files, arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
