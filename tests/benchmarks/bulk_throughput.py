"""Photos a second of `faceline enroll`, by their size and by the number of workers.

    python -m tests.benchmarks.bulk_throughput --plots docs/plots

Every source holds other photos of the same people. Sizes and workers take turns, round
after round in one run; the first round loads everything and is not counted. Rates are
of a command, from its start until its last photo can be found; the processor time an
item of each part bounds the rate of an otherwise idle machine. Prints a JSON
object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.bulk_growth import DEFAULTS, cost_of
from tests.benchmarks.chart import Axis, line_chart, save
from tests.bulk_harness import Harness, open_harness
from tests.bulk_photos import Recipe, write

# Width and height, and the share of --photos that is enough of them.
SIZES: tuple[tuple[int, int, float], ...] = (
    (250, 250, 1.0), (640, 480, 1.0), (1280, 960, 0.6), (1632, 1224, 0.5), (3264, 2448, 0.25),
)
WORKERS = (1, 2, 3)


def enrolled(harness: Harness, source: Path) -> dict[str, float]:
    """Photos a second, from the start of the command until the last can be found, and
    milliseconds of processor time by part."""
    items, parts = cost_of(harness, source)
    seconds = parts.pop("whole")
    del parts["wall"]
    return {
        "photos_per_s": items / seconds,
        **{f"{part}_ms": 1000 * each / items for part, each in parts.items()},
    }


def by_size(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {}
    with open_harness(folder / "sizes", **DEFAULTS) as harness:
        _start(harness, options.workers)
        for turn in range(options.rounds + 1):
            for width, height, share in SIZES:
                name = f"{width}x{height}"
                source = folder / f"{name}-{turn}"
                count = max(int(options.photos * share), 20)
                write(source, Recipe(count, options.seed + turn, size=(width, height)),
                      options.aligned)
                once = enrolled(harness, source)
                if turn:
                    found.setdefault(name, []).append(once)
    return _medians(found)


def by_workers(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    found: dict[str, list[dict[str, float]]] = {}
    for turn in range(options.rounds + 1):
        source = folder / f"workers-{turn}"
        write(source, Recipe(options.photos, options.seed + 50 + turn), options.aligned)
        for count in WORKERS:
            with open_harness(folder / f"workers-{turn}-{count}", **DEFAULTS) as harness:
                _start(harness, count)
                warm = folder / "warm"
                if not warm.exists():
                    write(warm, Recipe(64, options.seed + 99), options.aligned)
                enrolled(harness, warm)
                once = enrolled(harness, source)
            if turn:
                found.setdefault(str(count), []).append(once)
    return _medians(found)


def _start(harness: Harness, workers: int) -> None:
    harness.start_bulk(workers)
    harness.start_upkeep()
    harness.start_index()


def _medians(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    return {
        name: {
            key: round(statistics.median(each[key] for each in rounds if key in each), 2)
            for key in sorted({key for each in rounds for key in each})
        }
        for name, rounds in found.items()
    }


def draw(found: dict[str, Any], plots: Path | None) -> None:
    if plots is None:
        return
    points = []
    for name, figures in found.get("size", {}).items():
        width, height = map(int, name.split("x"))
        points.append((width * height / 1e6, figures["photos_per_s"]))
    if points:
        save(plots / "bulk-size.svg", line_chart(
            "Photos a second by their size", Axis("megapixels", log=True),
            Axis("photos a second"), {"faceline enroll": points},
        ))
    if "workers" in found:
        rates = [(float(name), each["photos_per_s"]) for name, each in found["workers"].items()]
        save(plots / "bulk-workers.svg", line_chart(
            "Photos a second by workers", Axis("worker processes"), Axis("photos a second"),
            {"250x250": rates},
        ))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--only", choices=["size", "workers"])
    parser.add_argument("--photos", type=int, default=500, help="of each source")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="of the runs by size")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plots", type=Path, help="a folder for the SVG files")
    options = parser.parse_args()
    options.aligned = options.faces / "lfw_aligned"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (("size", by_size), ("workers", by_workers)):
            if options.only in (None, name):
                found[name] = measure(options, Path(folder))
    draw(found, options.plots)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
