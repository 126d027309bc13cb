"""Where the processor time of a bulk enrolment goes, stage by stage.

    python -m tests.benchmarks.bulk_stages --photos 160

Analyses photos as a chunk's worker does, in one process with its sandbox, nothing stored:
portraits of 250 x 250 and 1632 x 1224 pixels as `bulk_speed` makes them, and the `mixed`
ones of `bulk_throughput`. Prints a JSON object: milliseconds of processor time a photo, by
stage, the median of the rounds; `decoder` is the sandbox's process, `detector` the part
of `finding` that is neither scaling nor choosing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

import workers.single_threaded_blas  # noqa: F401  # before numpy
from pipeline.analysis import engine
from pipeline.analysis.engine import PictureRequest, analyse_pictures
from pipeline.analysis.tools import AnalysisTools, open_tools
from pipeline.operations import Stage, enrolment_analysis
from pipeline.sessions.scrfd_steps import ScrfdSteps
from tests.benchmarks.baselines import photos
from tests.benchmarks.bulk_speed import LARGE, SMALL, write_photos
from tests.bulk_photos import Recipe, write
from tests.conftest import load_edge, settings_of_edge
from workers.runtime import warm

CHUNK = 32

STAGES: tuple[tuple[Any, str, str], ...] = (
    (engine, "inspect", "header"), (engine, "decode_inspected", "handing over"),
    (engine, "detect_largest", "finding"), (ScrfdSteps, "candidates", "detector"),
    (engine, "measure", "quality"), (engine, "cut_out", "cutout"),
    (engine, "align_faces", "crop"), (engine, "embed", "embedding"),
)


class Meter:
    """Adds up the seconds that functions take."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        for owner, name, label in STAGES:
            setattr(owner, name, self._timed(getattr(owner, name), label))

    def _timed(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[label] += time.process_time() - began

        return timed


def measured(
    data: list[bytes], tools: AnalysisTools, rounds: int, meter: Meter
) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    options = enrolment_analysis("largest")
    for turn in range(rounds + 1):
        meter.seconds.clear()
        decoder, began = _of_children(), time.process_time()
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            analyse_pictures([PictureRequest(each, options) for each in chunk], tools)
        whole = time.process_time() - began
        spent = {**meter.seconds, "worker": whole, "decoder": _of_children() - decoder}
        for label, seconds in spent.items():
            if turn:  # in the first all is loaded
                found.setdefault(label, []).append(1000 * seconds / len(data))
    return {label: round(statistics.median(each), 2) for label, each in found.items()}


def _of_children() -> float:
    times = [child.cpu_times() for child in psutil.Process().children(recursive=True)]
    return float(sum(each.user + each.system for each in times))


def make(folder: Path, options: argparse.Namespace) -> None:
    originals = [path for path in photos(options.faces / "photos") if path.parent.name != "photos"]
    write_photos(folder / "small", originals, options.photos, SMALL, options.seed)
    write_photos(folder / "large", originals, options.photos // 2, LARGE, options.seed)
    write(folder / "mixed", Recipe(options.photos, options.seed), options.faces / "lfw_aligned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--photos", type=int, default=160)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=77)
    options = parser.parse_args()
    settings, pack = settings_of_edge(), load_edge()
    warm(pack, frozenset({Stage.BULK}))
    meter = Meter()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options)
        with open_tools(pack, settings) as tools:
            assert tools.sandbox is not None, "pictures are decoded without one here"
            for kind in ("small", "mixed", "large"):
                files = sorted(path for path in Path(folder, kind).rglob("*") if path.is_file())
                found[kind] = measured(
                    [path.read_bytes() for path in files], tools, options.rounds, meter
                )
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
