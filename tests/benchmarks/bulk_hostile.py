"""Hostile sources with 100,000 tiny members, enrolled by `faceline enroll`.

    python -m tests.benchmarks.bulk_hostile --tiny 100000

A folder, a tar.gz and a zip (`tests/hostile_sources.py`): every item must be reported with
the outcome that it has to have, and none may end the run. Prints, for each, the items, the
seconds, and the most memory of the command and of the workers, as JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bulk_harness import Harness, check_gallery, open_harness, usage
from tests.hostile_sources import MAKERS, obey_modes, outcome

POLL_S = 0.5


def enrol(harness: Harness, kind: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    photos = sorted((options.faces / "photos").glob("*/*.jpg"))[:2]
    source, report = folder / kind, folder / f"{kind}.jsonl"
    expected = MAKERS[kind](source, [photo.read_bytes() for photo in photos], options.tiny)
    tenant = harness.stack.add_tenant(kind)
    began, most = time.monotonic(), Counter[str]()
    cli = harness.enrol(source, "--report", str(report), tenant=kind, prepare=obey_modes)
    while cli.running:
        for part in ("cli", "bulk"):
            pid = harness.pids().get(part)
            most[part] = max(most[part], int(usage(pid)[0])) if pid else most[part]
        time.sleep(POLL_S)
    cli.wait()
    seconds = time.monotonic() - began
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    found = Counter((line["source_name"], outcome(line)) for line in lines)
    wanted = Counter(expected)
    counts = check_gallery(harness, harness.batch(tenant.tenant_id), tenant.tenant_id)
    return {
        "items": len(lines), "wrong": sorted((found - wanted).items())[:20],
        "missing": sorted((wanted - found).items())[:20], "counts": counts,
        "seconds": round(seconds, 1), "most_mb": dict(most),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--tiny", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_harness(Path(folder) / "harness") as harness:
        harness.start_bulk()
        harness.start_upkeep()
        found = {kind: enrol(harness, kind, Path(folder), options) for kind in MAKERS}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
