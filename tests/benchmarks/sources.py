"""The cost of reading a source of 100,000 tiny pictures, and sources damaged at random.

    python -m tests.benchmarks.sources --items 100000
    python -m tests.benchmarks.sources --damaged 3400

The first prints, for a tar.gz, a zip and a folder, each in a process of its own, seconds
and megabytes at a hundredth, half and all of the items; the second how many damaged
sources of each kind raised an unexpected exception (none should).
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import psutil

from infra.cli.enroll.dry_run import DryRunTotals, dry_run
from infra.cli.enroll.oddities import Oddities
from pipeline.errors import InvalidParameter
from pipeline.gallery.records import DEFAULT_COLLECTION
from pipeline.sources.archives import ArchiveOptions
from pipeline.sources.base import PictureSource
from pipeline.sources.folder import FolderSource
from pipeline.sources.tar import TarSource
from pipeline.sources.zip import ZipSource
from tests.unit.sources.makers import LIMITS, member, outcomes, picture, tar, zipped
from tests.unit.sources.test_damage import MAKERS, damaged

KINDS = ("tgz", "zip", "folder")
PICTURES = 60_000  # different ones; the rest comes twice
PEOPLE = 977


def made(kind: str, folder: Path, items: int) -> PictureSource:
    """A source of ``items`` pictures of 16 x 16 pixels."""
    names = ((f"p{number % PEOPLE}/{number}.png", picture(number % PICTURES))
             for number in range(items))
    if kind == "tgz":
        path = tar(folder / "a.tgz", (member(name, data) for name, data in names), "gz")
        return TarSource(path, ArchiveOptions())
    if kind == "zip":
        return ZipSource(zipped(folder / "a.zip", names), ArchiveOptions())
    for name, data in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    return FolderSource(folder)


def measure(kind: str, items: int) -> None:
    shown = {max(items // 100, 1), items // 2, items}
    with tempfile.TemporaryDirectory() as folder:
        source = made(kind, Path(folder), items)
        picture.cache_clear()
        tally, process = DryRunTotals(), psutil.Process()
        began, worked = time.monotonic(), time.process_time()
        for finding in dry_run(source, LIMITS, DEFAULT_COLLECTION, Oddities()):
            tally.add(finding)
            if tally.items in shown:
                print(
                    f"{kind}: {tally.items} items, {time.monotonic() - began:.1f} s, "
                    f"{time.process_time() - worked:.1f} s of processor time, "
                    f"{process.memory_info().rss / 1e6:.0f} MB",
                )
        print(f"{kind}: {dict(tally.outcomes)}")


def damage(rounds: int) -> None:
    """Damage sources with other seeds than the test."""
    warnings.simplefilter("ignore")
    for kind, (make, opened) in MAKERS.items():
        chance, failed = random.Random(99), 0
        with tempfile.TemporaryDirectory() as folder:
            path = make(Path(folder) / "a")
            whole = path.read_bytes()
            for _ in range(rounds):
                path.write_bytes(damaged(whole, chance))
                try:
                    outcomes(opened(path))
                except InvalidParameter:
                    pass
                except Exception as error:  # noqa: BLE001  # what is looked for
                    failed += 1
                    print(f"{kind}: {error!r}")
        print(f"{kind}: {rounds} damaged, {failed} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--damaged", type=int, default=0)
    options = parser.parse_args()
    if options.damaged:
        damage(options.damaged)
    elif options.kind:
        measure(options.kind, options.items)
    else:
        for kind in KINDS:
            subprocess.run(
                [sys.executable, "-m", "tests.benchmarks.sources", "--kind", kind,
                 "--items", str(options.items)],
                check=True,
            )


if __name__ == "__main__":
    main()
