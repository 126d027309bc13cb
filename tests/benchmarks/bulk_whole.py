"""A whole source of photos enrolled by `faceline enroll`, left alone or with kills.

    python -m tests.benchmarks.bulk_whole --count 10000
    python -m tests.benchmarks.bulk_whole --count 10000 --kills 3

Makes photos with people and truth known (`tests/bulk_photos.py`), enrols them with two
workers on SQLite and a directory, and prints a JSON object: what became of the items and
whether it is what must, photos and processor time by part, memory of each part in the
first thousand (tenth) and the last. The batch's counts are read twice a second: each time
they must add up, be those of the rows, and not go back. ``--kills N`` sends SIGKILL to
the command, the workers, Redis and the shim, N times each at random moments, and repeats
the command.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import text

from pipeline import storage_keys
from pipeline.database.engine import reading
from tests.benchmarks.chart import Axis, line_chart, save
from tests.bulk_harness import (
    Harness,
    Sample,
    check_gallery,
    check_progress,
    open_harness,
    wrong_outcomes,
)
from tests.bulk_photos import Recipe, summary, write

SAMPLE_S = 0.5
VICTIMS = ("cli", "bulk", "redis", "shim")
STALLED_S = 300.0  # without any item's end: something hangs


class Run:
    """One source from the first command to the last."""

    def __init__(self, harness: Harness, source: Path, count: int, kills: int, seed: int) -> None:
        self.harness = harness
        self.source = source
        self.samples: list[Sample] = []
        self.commands = 0
        chance = random.Random(seed)
        # Each kill is due when so many items have ended.
        self.due = sorted(
            (chance.randrange(count * 9 // 10), victim) for victim in VICTIMS for _ in range(kills)
        )
        self.killed: list[tuple[int, str]] = []

    def go(self) -> float:
        """Repeat the command until it ends well; seconds."""
        began = moved = time.monotonic()
        ended = -1
        while True:
            self.commands += 1
            cli = self.harness.enrol(self.source)
            while cli.running:
                time.sleep(SAMPLE_S)
                now = self._look()
                if now > ended:
                    ended, moved = now, time.monotonic()
                assert time.monotonic() < moved + STALLED_S, self.harness.stack.cluster.logs()
                self._kill_what_is_due(now)
            cli.close()
            if cli.process.returncode == 0:
                return time.monotonic() - began
            sys.stderr.write(f"command ended with {cli.process.returncode} at {ended} items\n")
            assert time.monotonic() < moved + STALLED_S, cli.log.read_text()[-2000:]

    def _look(self) -> int:
        batch = self.harness.batch()
        if not batch:
            return 0
        self.samples.append(self.harness.sample(batch))
        return self.samples[-1].ended

    def _kill_what_is_due(self, ended: int) -> None:
        while self.due and self.due[0][0] <= ended:
            _, victim = self.due.pop(0)
            self.killed.append((ended, victim))
            if victim == "cli" and self.harness.cli is not None:
                self.harness.cli.kill()
            elif victim == "bulk":
                self.harness.parts["bulk"].kill()
                self.harness.start_bulk()
            elif victim == "redis":
                self.harness.stack.redis.kill()
                self.harness.stack.redis.start()
            elif victim == "shim":
                self.harness.parts["shim"].kill()
                self.harness.start_shim()


def memory(samples: Sequence[Sample], count: int) -> dict[str, dict[str, float]]:
    """Medians in megabytes by part: of the second tenth, when everything is loaded, and
    of the last tenth."""
    first = [each for each in samples if count * 0.1 <= each.ended < count * 0.2]
    last = [each for each in samples if each.ended >= count * 0.9]
    found = {}
    for part in sorted({part for each in first for part in each.rss_mb}):
        early = [each.rss_mb[part] for each in first if part in each.rss_mb]
        late = [each.rss_mb[part] for each in last if part in each.rss_mb]
        if early and late:
            before, after = statistics.median(early), statistics.median(late)
            found[part] = {
                "first_mb": round(before, 1), "last_mb": round(after, 1),
                "ratio": round(after / before, 3),
            }
    return found


def cpu_ms(samples: Sequence[Sample], count: int) -> dict[str, float]:
    """Milliseconds of processor time an item by part; a process that was killed takes
    its own with it."""
    most: dict[str, float] = {}
    for sample in samples:
        for part, seconds in sample.cpu_s.items():
            most[part] = max(most.get(part, 0.0), seconds)
    return {part: round(1000 * seconds / count, 2) for part, seconds in sorted(most.items())}


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    source = folder / "photos"
    recipe = Recipe(options.count, options.seed, large=options.large)
    truth = write(source, recipe, options.faces / "lfw_aligned")
    with open_harness(folder / "harness", max_attempts=20) as harness:
        harness.start_bulk(options.workers)
        harness.start_upkeep()
        harness.start_index()
        harness.start_shim()
        run = Run(harness, source, options.count, options.kills, options.seed)
        wall_s = run.go()
        batch = harness.batch()
        samples = [*run.samples, harness.sample(batch)]
        check_progress(samples)
        wrong = wrong_outcomes(harness, batch, truth)
        counts = check_gallery(harness, batch)
        again_s = _again(harness, source, counts)
        stored = stored_bytes(harness, counts["enrolled"])
    save(options.plot, draw(samples, options.count))
    return {
        "made": summary(truth), "counts": counts, "wrong": wrong, "wall_s": round(wall_s, 1),
        "photos_per_s": round(options.count / wall_s, 1), "commands": run.commands,
        "killed": run.killed, "samples": len(samples), "memory": memory(samples, options.count),
        "cpu_ms_per_photo": cpu_ms(samples, options.count), "again_s": round(again_s, 1),
        "bytes_per_face": stored,
    }


def _again(harness: Harness, source: Path, counts: dict[str, int]) -> float:
    """Seconds that the same command takes once everything is done; it changes nothing."""
    began = time.monotonic()
    harness.enrol(source).wait()
    assert harness.counts(harness.batch())[0] == counts
    return time.monotonic() - began


def stored_bytes(harness: Harness, enrolled: int) -> dict[str, int]:
    """The bytes of an enrolled photo in the database, as picture and as cut-out face."""
    cluster, tenant = harness.stack.cluster, harness.stack.credentials.tenant_id
    with reading(cluster.engine) as connection:
        pages, size = (
            connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("page_count", "page_size")
        )
    found = {"database": pages * size}
    for name, prefix in (
        ("picture", storage_keys.images_prefix),
        ("face", storage_keys.faces_prefix),
    ):
        found[name] = sum(item.size for item in cluster.media.walk(prefix(tenant)))
    return {name: size // max(enrolled, 1) for name, size in found.items()}


def draw(samples: Sequence[Sample], count: int) -> str:
    parts = sorted({part for each in samples for part in each.rss_mb})
    lines = {
        part: [(each.ended, each.rss_mb[part]) for each in samples if part in each.rss_mb]
        for part in parts
    }
    return line_chart(
        f"Memory while {count:,} photos are enrolled", Axis("photos done", most=float(count)),
        Axis("MB"), lines,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--large", type=float, default=0.0, help="share of about 2 megapixels")
    parser.add_argument("--kills", type=int, default=0, help="of each of four parts")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(options, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
