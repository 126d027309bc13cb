"""The cost of the queue: the same photos without a service, fused and staged.

    python -m tests.benchmarks.queue_cost --photos ../shared/faces/photos --rounds 3

All ways in turn, round after round in one run, so that a machine whose speed drifts
drifts for all of them; the medians and the ratios to the bare processes are printed
as a table. Every way decodes, detects and embeds the largest face.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.config.settings import Settings
from tests.benchmarks.baselines import photos
from tests.cluster import Cluster, Process, open_cluster
from tests.servers import RedisServer

POLL_S = 0.2
LIMIT_S = 600.0
WARM_JOBS = 20


@dataclass(frozen=True, slots=True)
class Cost:
    """One measurement of one way. ``messages`` is the number of messages a job."""

    rate: float
    cpu_ms: float
    messages: float = 0.0


def baseline(kind: str, folder: Path, repeat: int) -> Cost:
    """The cost without a service, in processes of its own."""
    output = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.baselines", kind, str(folder),
         "--repeat", str(repeat)],
        check=True, capture_output=True, text=True,
    ).stdout
    figures = json.loads(output.splitlines()[-1])
    count = figures["pictures"]
    return Cost(rate=count / figures["wall_s"], cpu_ms=1000 * figures["cpu_s"] / count)


def service(groups: Sequence[tuple[str, int]], paths: Sequence[Path], jobs: int) -> Cost:
    """Worker groups (stages, processes) that find ``jobs`` features jobs waiting.

    The queue is filled first and never runs dry: from the time that the first
    ``WARM_JOBS`` (at most half of them) are done to the end no worker waits for a submitter.
    """
    defaults = {
        name: Settings.model_fields[name].default
        for name in ("lease_s", "resend_after_s", "reconcile_interval_s")
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = stack.enter_context(RedisServer())
        models = Path(os.environ.get("FACELINE_MODELS", "../shared/models"))
        cluster = stack.enter_context(open_cluster(folder, redis.url, models, **defaults))
        pictures = [path.read_bytes() for path in paths]
        ids = [cluster.submit("features", pictures[i % len(pictures)]) for i in range(jobs)]
        processes = [
            stack.enter_context(cluster.worker(stages, concurrency=count))
            for stages, count in groups
        ]
        processes.append(stack.enter_context(cluster.upkeep()))
        started, cpu = _await(cluster, min(WARM_JOBS, jobs // 2)), _cpu_s(processes)
        # A run of a few jobs may be over at the first look.
        first = min(_ended(cluster), jobs - 1)
        ended, cpu = _await(cluster, jobs), _cpu_s(processes) - cpu
        done = [cluster.job(job_id) for job_id in ids]
    assert all(job.state.value in {"done", "failed"} for job in done)
    return Cost(
        rate=(jobs - first) / (ended - started),
        cpu_ms=1000 * cpu / (jobs - first),
        messages=statistics.mean(job.messages for job in done),
    )


def _await(cluster: Cluster, count: int) -> float:
    """The time at which ``count`` jobs have ended."""
    until = time.monotonic() + LIMIT_S
    while _ended(cluster) < count:
        assert time.monotonic() < until, cluster.logs()
        time.sleep(POLL_S)
    return time.monotonic()


def _ended(cluster: Cluster) -> int:
    counts = cluster.jobs.read.counts()
    return counts.get("done", 0) + counts.get("failed", 0)


def _cpu_s(processes: Sequence[Process]) -> float:
    """CPU seconds of process groups so far, living children included."""
    total = 0.0
    for process in processes:
        parent = psutil.Process(process.pid)
        for each in [parent, *parent.children(recursive=True)]:
            times = each.cpu_times()
            total += times.user + times.system
    return total


def table(costs: dict[str, list[Cost]], reference: str) -> str:
    """Medians, and the median of the ratios round by round, as Markdown."""
    lines = [
        "| way | pictures/s | to (ii) | CPU ms/picture | messages/job |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, found in costs.items():
        ratios = [
            cost.rate / other.rate for cost, other in zip(found, costs[reference], strict=True)
        ]
        lines.append(
            f"| {name} | {_median(found, lambda cost: cost.rate):.1f} "
            f"| {statistics.median(ratios):.2f} "
            f"| {_median(found, lambda cost: cost.cpu_ms):.1f} "
            f"| {_median(found, lambda cost: cost.messages):.2f} |"
        )
    return "\n".join(lines)


def _median(costs: Sequence[Cost], of: Callable[[Cost], float]) -> float:
    return statistics.median(of(cost) for cost in costs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=600)
    options = parser.parse_args()
    paths = photos(options.photos)
    repeat = max(1, options.jobs // (2 * len(paths)))
    bare = "(ii) two bare processes"
    ways: dict[str, Callable[[], Cost]] = {
        "(i) FaceAnalysis, plain loop": lambda: baseline("analysis", options.photos, repeat),
        bare: lambda: baseline("direct", options.photos, repeat),
        "(iii) service, fused": lambda: service(
            [("decode,detect,embed", 2)], paths, options.jobs
        ),
        "(iv) service, staged": lambda: service(
            [("decode", 1), ("detect", 2), ("embed", 1)], paths, options.jobs
        ),
    }
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, measure in ways.items():
            costs[name].append(measure())
            print(f"{name}: {costs[name][-1]}", file=sys.stderr)
    print(table(costs, bare))


if __name__ == "__main__":
    main()
