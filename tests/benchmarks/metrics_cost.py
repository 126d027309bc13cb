"""What metrics and Celery's events add to the processor time of a held call.

    python -m tests.benchmarks.metrics_cost --rounds 30 --calls 20

Three services (`faceline up`) stand side by side: without either, with metrics, and with events.
In each round each of them gets the same calls, one client asking for the embedding of one small
photo after the other; the order changes from round to round. Counted is the processor time of all
processes of a service from before its calls until they have ended, less what it takes when nobody
calls. What a scrape of all processes takes is measured apart. The difference to the service without
is taken within each round, and its median has a 95 % interval from drawing rounds anew.

On a busy machine that interval is wider than what is looked for. So the observations of a call are
counted, too, by what the service shows before and after some calls, and multiplied by what one
takes: measured in turn in a process alone and in one that shares its counts with a parent.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests
from prometheus_client.parser import text_string_to_metric_families

from infra.local.stack import METRICS_PORTS
from pipeline.config.settings import Settings
from pipeline.metrics.endpoint import MetricsEndpoint
from pipeline.metrics.stores import StoreCall
from tests.benchmarks.held_call_cost import parts_of
from tests.benchmarks.side_by_side import Faceline, Photos, Target
from tests.parallel import free_port

WARM = 40
SETTLE_S = 0.5  # what follows the last answer has ended by then
IDLE_S = 20.0
DRAWS = 4000
SCRAPES = 50
OBSERVED, OBSERVED_ROUNDS = 20_000, 9

PLAIN = "neither"


def ports() -> int:
    """The first of free ports, one for each process of a stack."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + len(METRICS_PORTS)):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def cpu_s(pid: int) -> float:
    """Processor seconds of a service so far."""
    return sum(part.cpu_s for part in parts_of(pid).values())


def call(target: Target, photos: Sequence[bytes]) -> None:
    address = urlsplit(target.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        for photo in photos:
            connection.sendall(target.request("embed", photo))
            answer = HTTPResponse(connection)
            answer.begin()
            body = answer.read()
            assert answer.status == 200, body


def scrape(first: int) -> None:
    """Read the metrics of the processes that run; that of `bulk` and `fetch` does not."""
    for name in ("shim", "upkeep", "worker"):
        port = first + METRICS_PORTS.index(name)
        answer = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
        assert answer.status_code == 200


def observations(first: int) -> float:
    """How many observations the shim and the worker have made."""
    found = 0.0
    for name in ("shim", "worker"):
        port = first + METRICS_PORTS.index(name)
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
        for family in text_string_to_metric_families(text):
            if family.name.startswith("faceline_") and family.type in ("counter", "histogram"):
                found += sum(
                    each.value for each in family.samples
                    if each.name.endswith(("_total", "_count"))
                )
    return found


def observation_us() -> tuple[float, float]:
    """Microseconds of processor time of an observation: in a process alone, and in one that
    shares its counts. Medians of rounds in which both are measured in turn."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(OBSERVED_ROUNDS):
        for values, forks in zip(found, (False, True), strict=True):
            with MetricsEndpoint(Settings(metrics_port=free_port()), forks=forks):
                began = time.process_time()
                for _ in range(OBSERVED):
                    with StoreCall("database", "read"):
                        pass
                values.append(1e6 * (time.process_time() - began) / OBSERVED)
    alone, shared = map(statistics.median, found)
    return alone, shared


def interval(values: Sequence[float], seed: int) -> tuple[float, float]:
    """The 95 % interval of the median, from ``DRAWS`` samples with replacement."""
    chance = np.random.default_rng(seed)
    drawn = np.median(chance.choice(values, (DRAWS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def table(
    spent: Mapping[str, Sequence[float]], idle: Mapping[str, float], seed: int
) -> str:
    """``spent``: milliseconds of a call by round; ``idle``: share of a core."""
    plain = spent[PLAIN]
    lines = [
        "| service with | CPU ms a call | more, ms | 95 % | more, % | idle, % of a core |",
        "|---|---|---|---|---|---|",
    ]
    for name, values in spent.items():
        row = f"| {name} | {statistics.median(values):.2f} |"
        if name == PLAIN:
            row += " | | |"
        else:
            more = [value - base for value, base in zip(values, plain, strict=True)]
            low, high = interval(more, seed)
            share = 100 * statistics.median(more) / statistics.median(plain)
            row += f" {statistics.median(more):+.2f} | {low:+.2f} to {high:+.2f} | {share:+.1f} |"
        lines.append(f"{row} {100 * idle[name]:.1f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--idle", type=float, default=IDLE_S, help="seconds without calls")
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    first = ports()
    variants = {
        PLAIN: {}, "metrics": {"FACELINE_METRICS_PORT": str(first)},
        "events": {"FACELINE_CELERY_EVENTS": "true"},
    }
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        targets: dict[str, Target] = {}
        for name, environment in variants.items():
            place = Path(folder) / name
            place.mkdir()
            service = Faceline(place, 0, environment)
            running.callback(service.close)
            targets[name] = running.enter_context(service.running())
        spent, idle = run(options, targets)
        made = observations(first)
        call(targets["metrics"], Photos(options.photos).make("250", WARM, (options.seed, 999)))
        time.sleep(SETTLE_S)
        made = (observations(first) - made) / WARM
        scraped = cpu_s(targets["metrics"].pid)
        for _ in range(SCRAPES):
            scrape(first)
        scraped = 1000 * (cpu_s(targets["metrics"].pid) - scraped) / SCRAPES
    print(table(spent, idle, options.seed))
    alone, shared = observation_us()
    share = 100 * made * shared / 1000 / statistics.median(spent[PLAIN])
    print(
        f"\nan observation takes {alone:.1f} us, with shared counts {shared:.1f} us; a call makes "
        f"{made:.1f}: {made * shared / 1000:.2f} ms, {share:.2f} % of a call"
    )
    print(f"a scrape of the shim, upkeep and the worker: {scraped:.1f} ms")


def run(
    options: argparse.Namespace, targets: Mapping[str, Target]
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds of a call by service and round, and the idle share of a core by service."""
    photos = Photos(options.photos)
    for target in targets.values():
        call(target, photos.make("250", WARM, (options.seed, 0)))
    time.sleep(SETTLE_S)
    before, began = {name: cpu_s(target.pid) for name, target in targets.items()}, time.monotonic()
    time.sleep(options.idle)
    length = time.monotonic() - began
    idle = {name: (cpu_s(targets[name].pid) - before[name]) / length for name in targets}
    spent: dict[str, list[float]] = {name: [] for name in targets}
    names = list(targets)
    for turn in range(options.rounds):
        # Seeds differ, so that no service has seen a photo before; sizes and faces are alike.
        batch = photos.make("250", options.calls, (options.seed, turn + 1))
        for name in names[turn % len(names):] + names[: turn % len(names)]:
            started, since = cpu_s(targets[name].pid), time.monotonic()
            call(targets[name], batch)
            time.sleep(SETTLE_S)
            took = cpu_s(targets[name].pid) - started - idle[name] * (time.monotonic() - since)
            spent[name].append(1000 * took / options.calls)
    return spent, idle


if __name__ == "__main__":
    main()
