"""The effect of a tenant that calls at ten times its limit on another tenant.

    python -m tests.benchmarks.noisy_neighbour --photos ../shared/faces/photos --rounds 5

B calls `locate` (document e, held) at a steady pace, alone and while A sends the same
photo to every dialect in turn from a process of its own, at ten times A's rate; the two
phases in turn in one run, so that both see the same machine. Prints B's p50 and p99 in
milliseconds of all rounds together, the ratio of the p99s, and the answers that A got.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from pipeline.metering.limits import ALL_OPERATIONS, Limit
from tests.benchmarks.baselines import photos
from tests.dialect_callers import LETTERS, Caller
from tests.face2_client import Credentials, Face2Client, base64_of
from tests.processes import start
from tests.stack import Stack

TIMES = 10  # A's limit
HAMMERS = 16  # connections of A at a time
WARM_CALLS = 20


def hammer(url: str, credentials: Credentials, photo: Path, rate: float) -> None:
    """Send ``rate`` requests a second until stdin ends; print how they were answered."""
    picture, stop = photo.read_bytes(), threading.Event()
    answers: collections.Counter[str] = collections.Counter()

    def send(index: int) -> None:
        due = time.monotonic() + index / rate
        number = index
        while not stop.wait(max(due - time.monotonic(), 0.0)):
            caller = Caller(LETTERS[number % len(LETTERS)], url, credentials)
            status, code = caller.answered(caller.job(picture))
            answers["accepted" if status == 202 else f"{caller.letter} {status} {code}"] += 1
            due, number = due + HAMMERS / rate, number + 1

    threads = [threading.Thread(target=send, args=(index,)) for index in range(HAMMERS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps(answers))


def calls(client: Face2Client, photo: str, count: int, pace_s: float) -> list[float]:
    """Milliseconds of held calls, one begun every ``pace_s``."""
    found, due = [], time.monotonic()
    for number in range(count):
        time.sleep(max(due - time.monotonic(), 0.0))
        due = max(due + pace_s, time.monotonic())
        request = client.signed({"image": photo}, version=str(number))
        start = time.perf_counter()
        answer = client.send("locate", request)
        found.append(1000 * (time.perf_counter() - start))
        assert answer.json()["code"] == 0, answer.text
    return found


def hammered(
    client: Face2Client, caller: Credentials, path: Path, rate: float, count: int, pace_s: float
) -> tuple[list[float], dict[str, int]]:
    """As ``calls`` beside A; what A was answered."""
    process = start(
        [sys.executable, "-m", "tests.benchmarks.noisy_neighbour", "--hammer", client.url,
         "--photo", str(path), "--rate", str(rate)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "NEIGHBOUR": json.dumps(dataclasses.asdict(caller))},
    )
    time.sleep(3.0)  # until it runs, and A's burst is used up
    found = calls(client, base64_of(path), count, pace_s)
    answered, _ = process.communicate("", timeout=60)
    answers: dict[str, int] = json.loads(answered)
    return found, answers


def compare(path: Path, rounds: int, count: int, rate: float, pace_s: float) -> None:
    idle: list[float] = []
    beside: list[float] = []
    answers: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start()
        neighbour = stack.add_tenant("neighbour")
        limits = {ALL_OPERATIONS: Limit(per_second=rate, burst=1)}
        stack.tenants.set_limits(neighbour.tenant_id, limits)
        client = stack.client()
        calls(client, base64_of(path), WARM_CALLS, 0.0)
        for _ in range(rounds):
            idle += calls(client, base64_of(path), count, pace_s)
            found, answered = hammered(client, neighbour, path, TIMES * rate, count, pace_s)
            beside += found
            answers.update(answered)
    for name, times in (("alone", idle), ("beside A", beside)):
        print(f"{name}: p50 {statistics.median(times):.1f} ms, p99 {_p99(times):.1f} ms, "
              f"{len(times)} calls")
    print(f"p99 beside A / alone: {_p99(beside) / _p99(idle):.2f}")
    print("A:", ", ".join(f"{answer}: {number}" for answer, number in sorted(answers.items())))


def _p99(times: list[float]) -> float:
    return statistics.quantiles(times, n=100)[98]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=100, help="of B in each phase")
    parser.add_argument("--rate", type=float, default=5.0, help="A's limit a second")
    parser.add_argument("--pace", type=float, default=0.1, help="seconds from call to call of B")
    parser.add_argument("--hammer", help=argparse.SUPPRESS)
    parser.add_argument("--photo", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hammer:
        known = Credentials(**json.loads(os.environ["NEIGHBOUR"]))
        hammer(options.hammer, known, options.photo, options.rate)
    else:
        photo = photos(options.photos)[0]
        compare(photo, options.rounds, options.calls, options.rate, options.pace)


if __name__ == "__main__":
    main()
