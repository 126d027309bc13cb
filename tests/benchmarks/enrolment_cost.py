"""Whether the ten-thousandth enrolment costs what the first did.

    python -m tests.benchmarks.enrolment_cost --faces ../shared/faces/lfw_aligned

Sends pictures to ``/v1/addface`` of a whole service and prints, for each thousand, the
wall and CPU time of one enrolment; then what a search costs and what the index process
holds. Pictures are crops, turned and lit differently
each time, so that no two are the same. CPU times compare well on a machine that does
other things, wall times do not.
"""

from __future__ import annotations

import argparse
import base64
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import psutil
import requests

from tests.cluster import Process
from tests.stack import Stack

CLIENTS = 6
SEARCHES = 300


@dataclass(frozen=True, slots=True)
class Block:
    """The seconds of ``count`` enrolments in a row; ``cpu`` by process."""

    count: int
    faces: int
    wall_s: float
    cpu_s: dict[str, float]

    @property
    def total_ms(self) -> float:
        return 1000 * sum(self.cpu_s.values()) / self.count


def variant(data: bytes, seed: int) -> bytes:
    """The picture, a little turned, scaled and lit, as JPEG."""
    chance = random.Random(seed)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D(
        (width / 2, height / 2), chance.uniform(-6, 6), chance.uniform(0.95, 1.05)
    )
    turned = cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT)
    lit = cv2.convertScaleAbs(turned, alpha=chance.uniform(0.85, 1.1), beta=chance.uniform(-8, 8))
    return cv2.imencode(".jpg", lit)[1].tobytes()


class Load:
    """A running service, and clients that enrol and search."""

    def __init__(self, stack: Stack, pictures: Sequence[bytes]) -> None:
        self._stack = stack
        self._pictures = pictures
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=CLIENTS))
        self._headers = {"X-API-Key": stack.credentials.api_key}
        assert stack.worker is not None
        assert stack.shim is not None
        self.index = stack.cluster.index()
        self.processes: dict[str, Process] = {
            "shim": stack.shim, "worker": stack.worker, "index": self.index,
        }

    def call(self, path: str, seed: int) -> str:
        picture = variant(self._pictures[seed % len(self._pictures)], seed)
        answer = self._session.post(
            f"{self._stack.url}/v1/{path}", headers=self._headers, timeout=120,
            data={"img": base64.b64encode(picture).decode()},
        )
        return str(answer.json()["status"])

    def cpu_s(self) -> dict[str, float]:
        return {name: _cpu_s(process) for name, process in self.processes.items()}

    def block(self, clients: ThreadPoolExecutor, path: str, seeds: range) -> Block:
        start, before = time.monotonic(), self.cpu_s()
        said = list(clients.map(lambda seed: self.call(path, seed), seeds))
        after = self.cpu_s()
        assert set(said) <= {"OK", "FACE_DETECT_FAILED", "NO_SIMILAR_FACE"}, set(said)
        return Block(
            len(seeds), said.count("OK"), time.monotonic() - start,
            {name: after[name] - before[name] for name in after},
        )


def _cpu_s(process: Process) -> float:
    parent = psutil.Process(process.pid)
    times = [each.cpu_times() for each in [parent, *parent.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def line(name: str, block: Block) -> str:
    shares = " | ".join(f"{1000 * cpu / block.count:.1f}" for cpu in block.cpu_s.values())
    return (
        f"| {name} | {block.faces} | {1000 * block.wall_s / block.count:.1f} "
        f"| {block.total_ms:.1f} | {shares} |"
    )


def measure(load: Load, count: int, size: int) -> None:
    print("| calls | faces | wall ms | CPU ms | shim | worker | index |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with ThreadPoolExecutor(CLIENTS) as clients:
        load.block(clients, "addface", range(-100, 0))  # everything is warm
        blocks = []
        for start in range(0, count, size):
            blocks.append(load.block(clients, "addface", range(start, start + size)))
            print(line(f"enrol {start} to {start + size}", blocks[-1]), flush=True)
        found = load.block(clients, "searchface", range(count, count + SEARCHES))
        print(line("search", found))
    print(f"last / first thousand, CPU: {blocks[-1].total_ms / blocks[0].total_ms:.3f}")
    middle = statistics.median(block.total_ms for block in blocks)
    print(f"median of all: {middle:.1f} ms; index process: "
          f"{psutil.Process(load.index.pid).memory_info().rss / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces/lfw_aligned"))
    parser.add_argument("--models", type=Path, default=Path("../shared/models"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--block", type=int, default=1000)
    options = parser.parse_args()
    pictures = [path.read_bytes() for path in sorted(options.faces.rglob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), options.models) as stack:
        stack.start()
        load = Load(stack, pictures)
        with load.index:
            measure(load, options.count, options.block)


if __name__ == "__main__":
    main()
