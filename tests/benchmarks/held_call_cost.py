"""Where the processor time and the time of a held call go, process by process, step by step.

    python -m tests.benchmarks.held_call_cost --calls 300 --label "now" \
        --keep docs/plots/held-call.json --plot docs/plots/held-call.svg

One client of `faceline up` asks for the embedding of one small photo after the other; between
two calls the same computation runs in this process (a warm one, which never waits), so that
both see the same machine.

Processor time: probes in the service's processes count their steps (``step_probes``; a step is
without those inside it), the kernel counts the processes, and the difference is what no probe
covers, less what the service takes when nobody calls. Time: the moments that the job's row
keeps, between those of the client. ``--keep`` adds the processor time to a file under the
label, and the plot shows all labels of that file.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.jobs.model import Job
from pipeline.jobs.reader import JobReader
from tests.benchmarks import step_probes
from tests.benchmarks.baselines import direct_loop
from tests.benchmarks.chart import bar_chart, save
from tests.benchmarks.side_by_side import Faceline, Photos, Target

WARM = 30
SETTLE_S = 1.0  # what follows an answer has ended by then
IDLE_S = 10.0

# Of the plot: what each step belongs to. The rest of a process has the process's name.
GROUPS = {
    "header of the picture": "accept", "read, authenticate": "accept", "accept": "accept",
    "render": "accept",
    "store the picture": "media store", "fetch the picture": "media store",
    "delete the picture": "media store",
    "record the job": "job rows", "read the job": "job rows", "claim": "job rows",
    "end the job": "job rows",
    "send a message": "messages", "wake the waiting": "messages",
    "look for company": "messages",
    "decode": "decode", "detect": "detect", "embed": "embed", "align": "quality, crop",
    "quality": "quality, crop",
}


@dataclass(frozen=True, slots=True)
class Call:
    """Epoch seconds of a call's begin and end, and the seconds of the same computation
    here."""

    job: str
    sent: float
    answered: float
    bare_s: float


@dataclass(frozen=True, slots=True)
class Part:
    """A kind of process of the service, so far: its processor seconds and its processes."""

    cpu_s: float
    pids: tuple[int, ...]


def parts_of(pid: int) -> dict[str, Part]:
    """The processes of a service by their command. A process that was forked for the jobs
    of a worker has the command of its parent."""
    found: dict[str, Part] = {}
    parent = psutil.Process(pid)
    for process in [parent, *parent.children(recursive=True)]:
        name = _name_of(process)
        times = process.cpu_times()
        so_far = found.get(name, Part(0.0, ()))
        found[name] = Part(so_far.cpu_s + times.user + times.system, (*so_far.pids, process.pid))
    return found


def _name_of(process: psutil.Process) -> str:
    words = process.cmdline()
    if "pipeline.sandbox.fork_server" in words:
        return "decoder"
    if "infra.cli" not in words:
        return Path(words[0]).name.split()[0].rstrip(":") if words else "ended"
    name = " ".join(words[words.index("infra.cli") + 1 :])
    above = process.parent()
    return f"{name}, jobs" if above is not None and above.cmdline() == words else name


def measure(target: Target, photos: Sequence[bytes], folder: Path) -> list[Call]:
    """One call after the other, each with its photo."""
    loop, calls, path = direct_loop(), [], folder / "photo.jpg"
    address = urlsplit(target.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        for photo in photos:
            path.write_bytes(photo)
            request = target.request("embed", photo)
            sent = time.time()
            connection.sendall(request)
            answer = HTTPResponse(connection)
            answer.begin()
            body = answer.read()
            answered = time.time()
            assert answer.status == 200, body
            start = time.perf_counter()
            loop([path])
            bare_s = time.perf_counter() - start
            calls.append(Call(answer.headers["X-Job-Id"], sent, answered, bare_s))
    return calls


def moments(call: Call, job: Job) -> dict[str, float]:
    """The milliseconds of a call's sections, in their order."""
    assert job.started_at is not None
    assert job.finished_at is not None
    stages = {f"{each['stage']}": float(each["ms"]) for each in job.trace}
    run = 1000 * (job.finished_at - job.started_at)
    return {
        "send, read, check, store the picture": 1000 * (job.created_at - call.sent),
        "record the job, message, wake a worker": 1000 * (job.started_at - job.created_at),
        **stages,
        "claim, fetch, between the stages": run - sum(stages.values()),
        "end the job, wake the shim, read, render": 1000 * (call.answered - job.finished_at),
    }


@dataclass(frozen=True, slots=True)
class Reading:
    """What a running service has spent and counted until ``at`` (seconds)."""

    at: float
    parts: Mapping[str, Part]
    counted: Mapping[int, Mapping[str, step_probes.Count]]

    @classmethod
    def now(cls, pid: int, folder: Path) -> Reading:
        return cls(time.monotonic(), parts_of(pid), step_probes.read(folder))

    def spent(self, since: Reading) -> dict[str, float]:
        """Processor seconds of each part."""
        return {
            name: part.cpu_s - (since.parts[name].cpu_s if name in since.parts else 0.0)
            for name, part in self.parts.items()
        }


def cost(idle: Reading, before: Reading, after: Reading, calls: int) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time of a call, by process and step, without what the service
    takes when nobody calls, as from ``idle`` to ``before``."""
    unused, found = before.spent(idle), {}
    share = (after.at - before.at) / (before.at - idle.at)
    for name, spent in after.spent(before).items():
        total = spent - share * unused.get(name, 0.0)
        steps: dict[str, float] = {}
        for pid in after.parts[name].pids:
            for step, count in step_probes.by_process(before.counted, after.counted, pid).items():
                steps[step] = steps.get(step, 0.0) + 1000 * count.cpu_s / calls
        rest = 1000 * total / calls - sum(steps.values())
        found[name] = {**steps, "the rest": max(rest, 0.0)}
    return found


def grouped(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The bar of the plot: groups of steps, then what no step covers."""
    bar = dict.fromkeys(dict.fromkeys(GROUPS.values()), 0.0)
    for name, steps in found.items():
        if "accept" in steps:
            rest = "HTTP, rest of the shim"
        elif "run the job" in steps or f"{name}, jobs" in found:
            rest = "Celery, rest of the workers"
        else:
            rest = "other processes"
        for step, spent in steps.items():
            group = GROUPS.get(step, rest)
            bar[group] = bar.get(group, 0.0) + spent
    return {name: round(each, 2) for name, each in bar.items()}


def tables(
    found: Mapping[str, Mapping[str, float]], sections: Sequence[Mapping[str, float]],
) -> str:
    lines = ["| process | step | CPU ms |", "| --- | --- | --- |"]
    for name, steps in found.items():
        if sum(steps.values()) < 0.05:
            continue
        lines.append(f"| **{name}** | | **{sum(steps.values()):.2f}** |")
        lines += [f"| | {step} | {spent:.2f} |" for step, spent in steps.items()]
    total = sum(sum(steps.values()) for steps in found.values())
    lines += [f"| all | | **{total:.2f}** |", "", "| section | median ms |", "| --- | --- |"]
    names = dict.fromkeys(name for each in sections for name in each)
    for name in names:
        lines.append(
            f"| {name} | {statistics.median(each.get(name, 0.0) for each in sections):.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--size", choices=["250", "2mp"], default="250")
    parser.add_argument("--label", default="now", help="name of the bar")
    parser.add_argument("--keep", type=Path, help="a JSON file of bars, to which this is added")
    parser.add_argument("--plot", type=Path, help="an SVG of all bars of --keep")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    for target in step_probes.missing():
        print(f"no step {target}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        found, calls, jobs = run(options, Path(name))
    print(tables(found, [moments(call, job) for call, job in zip(calls, jobs, strict=True)]))
    held = statistics.median(1000 * (call.answered - call.sent) for call in calls)
    bare = statistics.median(1000 * call.bare_s for call in calls)
    extra = statistics.median(1000 * (c.answered - c.sent - c.bare_s) for c in calls)
    print(f"\nheld call {held:.1f} ms, in process {bare:.1f} ms, difference {extra:.1f} ms")
    bars: dict[str, Any] = {}
    if options.keep is not None and options.keep.exists():
        bars = json.loads(options.keep.read_text())
    bars[options.label] = grouped(found)
    if options.keep is not None:
        options.keep.write_text(json.dumps(bars, indent=1) + "\n")
    save(options.plot, bar_chart("Processor time of a held call", "ms", bars))


def run(
    options: argparse.Namespace, folder: Path
) -> tuple[dict[str, dict[str, float]], list[Call], list[Job]]:
    """The cost by process and step, the calls, and their jobs."""
    probes = folder / "probes"
    probes.mkdir()
    photos = Photos(options.photos).make(
        options.size, WARM + options.calls, (options.seed, options.calls)
    )
    faceline = Faceline(folder, 0, step_probes.environment(probes))
    with faceline.running() as target:
        measure(target, photos[:WARM], folder)
        time.sleep(SETTLE_S)
        idle = Reading.now(target.pid, probes)
        time.sleep(IDLE_S)
        before = Reading.now(target.pid, probes)
        calls = measure(target, photos[WARM:], folder)
        time.sleep(SETTLE_S)
        found = cost(idle, before, Reading.now(target.pid, probes), options.calls)
        unused = sum(before.spent(idle).values()) / (before.at - idle.at)
        print(f"without a call the service takes {100 * unused:.1f} % of a core\n")
    faceline.close()
    engine = open_engine(Settings(data_dir=faceline.data_dir).sql_url)
    reader = JobReader(engine)
    jobs = [job for job in (reader.find(call.job) for call in calls) if job is not None]
    engine.dispose()
    return found, calls, jobs


if __name__ == "__main__":
    main()
