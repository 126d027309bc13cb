"""The effect of a bulk enrolment on waiting clients, and of large tenants on small ones.

    python -m tests.benchmarks.bulk_fairness --rounds 3
    python -m tests.benchmarks.bulk_fairness --only tenants --small 1000 --large 10000

`waiting`: one client calls `locate` (document e, held) at a steady pace and, every fourth
time, `/v1/searchface` of the application that is enrolled, while nothing else happens
and while `faceline enroll` saturates the machine; in turn, round after round. `tenants`:
two applications enrol a small and a large source, begun together: how much of the large
one is done when the small one is. Prints a JSON object. Two workers serve the waiting
clients, two the bulk.
"""

from __future__ import annotations

import argparse
import base64
import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.baselines import photos
from tests.bulk_harness import Enrolment, Harness, open_harness
from tests.bulk_photos import Recipe, write
from tests.face2_client import Face2Client, base64_of

WARM_CALLS = 20
SEARCH_EVERY = 4
POLL_S = 0.25
BEGUN = 64  # items that have ended
LIMIT_S = 1800.0


class Caller:
    """One client that waits for each answer; milliseconds by operation."""

    def __init__(self, harness: Harness, photo: Path, pace_s: float) -> None:
        credentials = harness.stack.credentials
        self._client = Face2Client(harness.stack.url, credentials)
        self._photo = base64_of(photo)
        self._bytes = base64.b64encode(photo.read_bytes()).decode()
        self._search = f"{harness.stack.url}/v1/searchface"
        self._key = {"X-API-Key": credentials.api_key}
        self._session = requests.Session()
        self._pace_s = pace_s
        self._number = 0

    def calls(self, count: int, pace_s: float | None = None) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {"locate": [], "search": []}
        pace, due = self._pace_s if pace_s is None else pace_s, time.monotonic()
        for number in range(count):
            time.sleep(max(due - time.monotonic(), 0.0))
            due = max(due + pace, time.monotonic())
            name = "locate" if number % SEARCH_EVERY else "search"
            start = time.perf_counter()
            getattr(self, name)()
            found[name].append(1000 * (time.perf_counter() - start))
        return found

    def locate(self) -> None:
        self._number += 1
        request = self._client.signed({"image": self._photo}, version=str(self._number))
        answer = self._client.send("locate", request)
        assert answer.json()["code"] == 0, answer.text

    def search(self) -> None:
        answer = self._session.post(
            self._search, headers=self._key, data={"img": self._bytes}, timeout=120
        )
        assert answer.json()["status"] in {"OK", "NO_SIMILAR_FACE"}, answer.text


def start(harness: Harness) -> None:
    harness.start_workers()
    harness.start_bulk()
    harness.start_upkeep()
    harness.start_index()
    harness.start_shim()


def waiting(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Idle and beside a bulk run, by operation."""
    sources = [folder / f"photos-{number}" for number in range(options.rounds + 1)]
    for number, source in enumerate(sources):
        write(source, Recipe(options.photos, options.seed + number), options.aligned)
    idle: dict[str, list[float]] = {"locate": [], "search": []}
    beside: dict[str, list[float]] = {"locate": [], "search": []}
    done, seconds = 0, 0.0
    with open_harness(folder / "harness") as harness:
        start(harness)
        caller = Caller(harness, photos(options.faces / "photos")[0], options.pace)
        _bulk(harness, sources.pop(), lambda: None)  # everything is loaded
        caller.calls(WARM_CALLS, 0.0)
        for source in sources:
            _add(idle, caller.calls(options.calls))
            measured = _bulk(harness, source, lambda: _add(beside, caller.calls(options.calls)))
            done, seconds = done + measured[0], seconds + measured[1]
    found: dict[str, Any] = {"bulk_photos_per_s": round(done / seconds, 1)}
    for name in idle:
        before, after = _p95(idle[name]), _p95(beside[name])
        found[name] = {
            "calls": len(idle[name]), "idle_p50_ms": round(statistics.median(idle[name]), 1),
            "idle_p95_ms": round(before, 1),
            "bulk_p50_ms": round(statistics.median(beside[name]), 1),
            "bulk_p95_ms": round(after, 1), "p95_ratio": round(after / before, 2),
        }
    return found


def _bulk(harness: Harness, source: Path, meanwhile: Callable[[], None]) -> tuple[int, float]:
    """Run ``meanwhile`` while the source is enrolled; (photos, seconds) of that time. What
    is left of the source afterwards is given up."""
    earlier = harness.batch()
    cli = harness.enrol(source)
    batch = _begun(harness, cli, earlier)
    before, began = _ended(harness, batch), time.monotonic()
    meanwhile()
    done, seconds = _ended(harness, batch) - before, time.monotonic() - began
    assert cli.running, "the source was too small: more --photos or fewer --calls"
    cli.process.send_signal(signal.SIGINT)
    cli.process.communicate(timeout=60)
    while sum(harness.stack.jobs.read.counts().get(state, 0) for state in ("running", "queued")):
        time.sleep(POLL_S)
    return done, seconds


def _begun(harness: Harness, cli: Enrolment, earlier: str) -> str:
    """The batch of ``cli``, once items of it have ended."""
    until = time.monotonic() + LIMIT_S
    while (batch := harness.batch()) in ("", earlier) or _ended(harness, batch) < BEGUN:
        assert cli.running, cli.log.read_text()[-2000:]
        assert time.monotonic() < until, harness.stack.cluster.logs()
        time.sleep(POLL_S)
    return batch


def _ended(harness: Harness, batch: str) -> int:
    counts = harness.counts(batch)[0]
    return counts["items"] - counts["waiting"]


def tenants(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A small source and a large one, begun together; the large one is given up when the
    small one is done."""
    sources = {"small": folder / "small", "large": folder / "large"}
    sizes = {"small": options.small, "large": options.large}
    for number, (name, source) in enumerate(sources.items()):
        write(source, Recipe(sizes[name], options.seed + 100 + number), options.aligned)
    with open_harness(folder / "tenants") as harness:
        start(harness)
        ids = {name: harness.stack.add_tenant(name).tenant_id for name in sources}
        # The large one first: it may fill the queue.
        running = {name: harness.enrol(sources[name], tenant=name) for name in ("large", "small")}
        began = time.monotonic()
        while running["small"].running:
            assert running["large"].running, running["large"].log.read_text()[-2000:]
            assert time.monotonic() < began + LIMIT_S, harness.stack.cluster.logs()
            time.sleep(POLL_S)
        seconds = time.monotonic() - began
        large = _ended(harness, harness.batch(ids["large"]))
        small = _ended(harness, harness.batch(ids["small"]))
        running["large"].kill()
    assert small == options.small, running["small"].log.read_text()[-2000:]
    return {
        "small": small, "large": options.large, "seconds": round(seconds, 1),
        "large_done": large, "large_share": round(large / options.large, 4),
    }


def _add(into: dict[str, list[float]], found: dict[str, list[float]]) -> None:
    for name, times in found.items():
        into[name] += times


def _p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[18]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--only", choices=["waiting", "tenants"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=120, help="in each half of a round")
    parser.add_argument("--pace", type=float, default=0.2, help="seconds from call to call")
    parser.add_argument("--photos", type=int, default=6000, help="of each round's source")
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--large", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    options.aligned = options.faces / "lfw_aligned"
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, measure in (("waiting", waiting), ("tenants", tenants)):
            if options.only in (None, name):
                found[name] = measure(options, Path(folder))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
