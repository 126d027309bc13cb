"""The latency of a held `features` call from one idle client, beside the same
computation in process.

    python -m tests.benchmarks.idle_latency --photos ../shared/faces/photos --calls 100

The two in turn on the same photo, so that both see the same machine; prints medians
and the median of the differences in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from tests.benchmarks.baselines import direct_loop, photos
from tests.face2_client import base64_of
from tests.stack import Stack

WARM_CALLS = 10
OK, NO_FACE = 0, 9903


def compare(paths: list[Path], calls: int) -> list[tuple[float, float]]:
    """(held call, in process) in milliseconds, call after call."""
    loop = direct_loop()
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start()
        client = stack.client()
        for index in range(WARM_CALLS + calls):
            path = paths[index % len(paths)]
            request = client.signed({"image": base64_of(path)})
            start = time.perf_counter()
            answer = client.send("features", request)
            held = time.perf_counter() - start
            assert answer.json()["code"] in {OK, NO_FACE}, answer.text
            start = time.perf_counter()
            loop([path])
            found.append((1000 * held, 1000 * (time.perf_counter() - start)))
    return found[WARM_CALLS:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--calls", type=int, default=100)
    options = parser.parse_args()
    found = compare(photos(options.photos), options.calls)
    held, bare = (statistics.median(times) for times in zip(*found, strict=True))
    extra = statistics.median(held - bare for held, bare in found)
    print(f"held call {held:.1f} ms, in process {bare:.1f} ms, difference {extra:.1f} ms")


if __name__ == "__main__":
    main()
