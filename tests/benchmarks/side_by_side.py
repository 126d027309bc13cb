"""faceline beside a loop around insightface: requests a second, latency, processor time.

    python -m tests.benchmarks.side_by_side --rounds 3
    python -m tests.benchmarks.side_by_side --only embed --sizes 250 --seconds 3

Starts in turn, with the same pack and the same photos, the loop (``loop_service``) with a
thread a core, the loop with one thread for the requests of a single client, and `faceline
up`, whose calls are held until their answer is there. Each photo is sent once in a round and
was never sent before, so that no service can keep an answer. Enrolment and detection of
faceline include what it promises: the picture and the job on disk before the computation,
the record after it. Prints medians of the rounds as Markdown; the ratios are medians of the
ratios of each round. ``bulk`` is `tests.benchmarks.bulk_speed`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

import numpy as np
import requests

from pipeline.config.settings import Settings
from pipeline.database.engine import open_engine
from pipeline.sessions import registry
from pipeline.types import VectorModel
from tests.benchmarks import bulk_speed
from tests.benchmarks.baselines import photos
from tests.benchmarks.load_client import Answer, Load, load, post, tree_cpu_s
from tests.benchmarks.loop_service import DIMENSION
from tests.conftest import models_directory
from tests.face2_client import Credentials, Face2Client
from tests.local_service import LocalService
from tests.parallel import free_port
from tests.photos import read
from tests.processes import start
from tests.synthetic_gallery import fill_gallery
from tests.waiting import eventually

OPERATIONS = ("detect", "embed", "enrol", "search")
SIZES = {"250": bulk_speed.SMALL, "2mp": bulk_speed.LARGE}
CLIENTS = (16, 1)
WARM = 24  # photos: enough that every process has done each operation
READY_S = 300.0
STARTS = 3
# Seconds for a started service to become idle: to take less processor time in a second.
SETTLE_S, IDLE_CPU_S = 60.0, 0.1
# Of photos that were made from portraits; some have no face that the service enrols.
MOST_REFUSED = 0.2


class Target(Protocol):
    """A running service. ``pid`` is its first process."""

    url: str
    pid: int

    def request(self, operation: str, photo: bytes) -> bytes: ...

    def succeeded(self, operation: str, answer: Answer) -> bool: ...


@dataclass(frozen=True, slots=True)
class Case:
    """Photos of a size for one operation, by so many clients at once."""

    operation: str
    size: str
    clients: int

    @property
    def name(self) -> str:
        what = "among {faces}" if self.operation == "search" else f"{self.size}"
        return f"{self.operation}, {what}"


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one case at one service; times of a request in milliseconds."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    client_cpu_ms: float
    requests: float

    @classmethod
    def of(cls, found: Load) -> Figures:
        return cls(found.rate, found.quantile_ms(0.5), found.quantile_ms(0.99), found.cpu_ms,
                   found.client_cpu_ms, len(found.answers))

    @classmethod
    def median(cls, rounds: Sequence[Figures]) -> Figures:
        return cls(*(statistics.median(getattr(each, name) for each in rounds)
                     for name in cls.__slots__))


class LoopTarget:
    """``loop_service`` at ``url``."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid

    def request(self, operation: str, photo: bytes) -> bytes:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return post(self.url, f"/{operation}", head + photo + b"\r\n--x--\r\n", kind)

    def succeeded(self, operation: str, answer: Answer) -> bool:
        return answer.status == 200


class FacelineTarget:
    """`faceline up` at ``url``: detection by document a, embeddings by e, enrolment by b (the
    largest face of a picture, as the loop) and search by d."""

    def __init__(self, url: str, pid: int, known: Mapping[str, Any]) -> None:
        self.url = url
        self.pid = pid
        self._known = known
        self._signer = Face2Client(url, Credentials(
            tenant_id=0, app_id=known["app_id"], app_secret=known["app_secret"],
            sm2_private_key="", api_key="", apid=0, kvalue="", api_id="", api_secret="",
        ))

    def request(self, operation: str, photo: bytes) -> bytes:
        image = base64.b64encode(photo).decode()
        headers = {"X-API-Key": self._known["api_key"]}
        match operation:
            case "detect":
                path = "/api/detection"
                body: object = {
                    "Apid": self._known["apid"], "Kvalue": self._known["kvalue"], "Fimg": image,
                }
            case "embed":
                path, body = "/face2/features", self._signer.signed({"image": image})
            case "enrol":
                path, body = "/api/faces", {"image": f"data:image/jpg;base64,{image}"}
            case _:
                headers["Content-Type"] = "application/x-www-form-urlencoded"
                form = urlencode({"img": image}).encode()
                return post(self.url, "/v1/searchface", form, headers)
        headers["Content-Type"] = "application/json"
        return post(self.url, path, json.dumps(body).encode(), headers)

    def succeeded(self, operation: str, answer: Answer) -> bool:
        member, good = {
            "detect": ("msg_code", 1), "embed": ("code", 0), "enrol": ("code", 0),
            "search": ("status", "OK"),
        }[operation]
        return bool(json.loads(answer.body).get(member) == good)


@contextmanager
def loop_target(options: argparse.Namespace, threads: int) -> Iterator[Target]:
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = start([
        sys.executable, "-W", "ignore", "-m", "tests.benchmarks.loop_service", "--port",
        str(port), "--faces", str(options.faces), "--threads", str(threads),
    ], stdout=sys.stderr, env={
        **os.environ, "FACELINE_PACK": "edge", "FACELINE_MODELS": str(models_directory()),
    })
    try:
        eventually(lambda: _answers(url) or process.poll() is not None, "it serves", READY_S)
        yield LoopTarget(url, process.pid)
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code > 0
    except requests.RequestException:
        return False


class Faceline:
    """An installed `faceline` whose application has ``faces`` faces; its processes have the
    variables of ``environment``, too."""

    def __init__(
        self, folder: Path, faces: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self._service = LocalService(folder, models_directory(), port=0, concurrency=0,
                                     pack="edge", hold_s=READY_S)
        self._service.environment |= environment or {}
        self.data_dir = self._service.data_dir
        made = self._service.faceline("apps", "create", "benchmark", "--json")
        assert made.returncode == 0, made.stderr
        self._known = json.loads(made.stdout)
        settings = Settings(data_dir=self._service.data_dir, models=str(models_directory()),
                            pack="edge")
        model = VectorModel("edge", registry.choose(settings).recognition_model, DIMENSION)
        engine = open_engine(settings.sql_url, durable=False)
        fill_gallery(engine, 1, faces, model)
        engine.dispose()

    @contextmanager
    def running(self) -> Iterator[Target]:
        # `faceline up` gives its processes a minute to start: on a busy machine that is too short.
        started = (self._start() for _ in range(STARTS))
        process = next((each for each in started if each is not None), None)
        running = self._service.running()
        assert process is not None, self._service.said()
        assert running is not None
        try:
            yield FacelineTarget(running.url, process.pid, self._known)
        finally:
            process.terminate()
            process.wait(READY_S)

    def _start(self) -> subprocess.Popen[bytes] | None:
        """`faceline up`; None when it has ended."""
        process = self._service.begin("up")
        eventually(lambda: self._service.running() or process.poll() is not None, "it serves",
                   READY_S)
        return process if process.poll() is None else None

    def close(self) -> None:
        self._service.close()


class Photos:
    """Photos that were not there before; equal for equal seeds."""

    def __init__(self, folder: Path) -> None:
        self._originals = [read(path) for path in photos(folder) if path.parent != folder]
        self._originals = self._originals or [read(path) for path in photos(folder)]

    def make(self, size: str, count: int, seed: Sequence[int]) -> list[bytes]:
        chance = np.random.default_rng(seed)
        return [
            bulk_speed.varied_photo(self._originals[n % len(self._originals)], SIZES[size], chance)
            for n in range(count)
        ]


class Benchmark:
    """``measure`` runs the cases of one round at one service."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._photos = Photos(options.photos)
        self.cases = [
            Case(operation, size, clients)
            for operation, size, clients in product(options.only, options.sizes, CLIENTS)
            if operation in OPERATIONS and (operation != "search" or size == options.sizes[0])
        ]

    def measure(
        self, target: Target, turn: int, of: Callable[[Case], bool] = lambda _: True
    ) -> dict[Case, Figures]:
        cases = [case for case in self.cases if of(case)]
        self._warm(target, turn, {case.operation for case in cases})
        found = {}
        for case in cases:
            at_once = self._run(target, case, turn)
            found[case] = Figures.of(at_once)
            print(turn, type(target).__name__, case, found[case], file=sys.stderr, flush=True)
        return found

    def _run(self, target: Target, case: Case, turn: int) -> Load:
        number = self.cases.index(case) + 1
        made = self._photos.make(
            case.size, self._options.pictures[case.size], (self._options.seed, turn, number)
        )
        ready = [target.request(case.operation, photo) for photo in made]
        found = load(target.url, ready, case.clients, self._options.seconds, target.pid)
        good = sum(target.succeeded(case.operation, answer) for answer in found.answers)
        assert good >= (1 - MOST_REFUSED) * len(found.answers), found.answers[-1]
        return found

    def _warm(self, target: Target, turn: int, operations: set[str]) -> None:
        """Every process works, the searched people are among the faces, the gallery is read, and
        what a start leaves to do is done."""
        made = self._photos.make("250", WARM, (self._options.seed, turn, 0))
        for operation in ("enrol", "search", *operations - {"enrol", "search"}):
            ready = [target.request(operation, photo) for photo in made]
            load(target.url, ready, 4, READY_S, target.pid)
        until = time.monotonic() + SETTLE_S
        while time.monotonic() < until:
            spent = tree_cpu_s(target.pid)
            time.sleep(1.0)
            if tree_cpu_s(target.pid) - spent < IDLE_CPU_S:
                break


def compare(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[Case, Figures]]]:
    """The figures of each service, round after round."""
    benchmark = Benchmark(options)
    found: dict[str, list[dict[Case, Figures]]] = {"loop": [], "loop, 1 thread": [], "faceline": []}
    if not benchmark.cases:
        return found
    with closing(Faceline(folder, options.faces)) as faceline:
        for turn in range(options.rounds):
            with loop_target(options, 0) as target:
                found["loop"].append(benchmark.measure(target, turn))
            with loop_target(options, 1) as target:
                found["loop, 1 thread"].append(
                    benchmark.measure(target, turn, lambda case: case.clients == 1)
                )
            with faceline.running() as target:
                found["faceline"].append(benchmark.measure(target, turn))
    return found


def table(found: dict[str, list[dict[Case, Figures]]], clients: int, faces: int) -> str:
    """The cases with so many clients, as Markdown."""
    loops = ["loop"] if clients > 1 else ["loop", "loop, 1 thread"]
    shown = [*loops, "faceline"]
    lines = [
        "| " + " | ".join([
            f"{clients} client{'s' * (clients > 1)}",
            *(f"{name}: /s; p50, p99; CPU ms" for name in shown),
            *(f"/s to {name}" for name in loops), *(f"p50 to {name}" for name in loops),
            "client CPU ms",
        ]) + " |",
    ]
    lines.append("| " + " | ".join("---" for _ in lines[0].split("|")[1:-1]) + " |")
    for case in found["faceline"][0]:
        if case.clients != clients:
            continue
        rounds = {name: [each[case] for each in found[name]] for name in shown}
        medians = {name: Figures.median(each) for name, each in rounds.items()}
        ours = rounds["faceline"]
        lines.append("| " + " | ".join([
            case.name.format(faces=f"{faces:,}"),
            *(f"{each.rate:.1f}; {each.p50_ms:.0f}, {each.p99_ms:.0f}; {each.cpu_ms:.0f}"
              for each in medians.values()),
            *(_ratio([each.rate for each in ours], [each.rate for each in rounds[name]])
              for name in loops),
            *(_ratio([each.p50_ms for each in ours], [each.p50_ms for each in rounds[name]])
              for name in loops),
            f"{max(each.client_cpu_ms for each in medians.values()):.1f}",
        ]) + " |")
    return "\n".join(lines)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    return f"**{statistics.median(a / b for a, b in zip(ours, theirs, strict=True)):.2f}**"


def bulk_table(found: Mapping[str, Any]) -> str:
    """What ``bulk_speed.compare`` found, as Markdown."""
    ways = {"i": "`FaceAnalysis()`", "ii": "at 640", "iii": "two bare processes"}
    lines = [
        "| bulk enrolment | /s; CPU ms | " + " | ".join(f"/s to {w}" for w in ways.values()) + " |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, size in (("small", "250"), ("large", "2mp")):
        ours = found[name]["ways"]["iv"]
        ratios = [f"**{found[name]['times'][way]['rate']:.2f}**" for way in ways]
        lines.append(f"| {size} | {ours['photos_per_s']:.1f}; {ours['cpu_ms']:.1f} | "
                     + " | ".join(ratios) + " |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one case at most")
    parser.add_argument("--only", default="detect,embed,enrol,search,bulk")
    parser.add_argument("--sizes", default="250,2mp")
    parser.add_argument("--small", type=int, default=1000, help="photos of 250x250 a case at most")
    parser.add_argument("--large", type=int, default=400, help="photos of 2 MP a case at most")
    parser.add_argument("--faces", type=int, default=100_000, help="faces in the gallery")
    parser.add_argument("--bulk-photos", type=int, default=1600,
                        help="photos of 250x250 that are enrolled at once; a fourth of 2 MP")
    parser.add_argument("--json", type=Path, help="a file for every round's figures")
    parser.add_argument("--seed", type=int, default=13)
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.sizes = options.sizes.split(",")
    options.pictures = {"250": options.small, "2mp": options.large}
    return options


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        found = compare(options, Path(folder))
        everything: dict[str, Any] = {
            name: [
                [{**_plain(case), **_plain(figures)} for case, figures in each.items()]
                for each in rounds
            ]
            for name, rounds in found.items()
        }
        if found["faceline"]:
            for clients in CLIENTS:
                print(table(found, clients, options.faces), end="\n\n", flush=True)
        if "bulk" in options.only:
            count = options.bulk_photos
            bulk = bulk_speed.compare(
                argparse.Namespace(photos=options.photos, rounds=options.rounds, small=count,
                                   large=max(count // 4, 1), workers=2, seed=options.seed),
                Path(folder) / "bulk",
            )
            print(bulk_table(bulk))
            everything["bulk"] = bulk
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1))


def _plain(value: Case | Figures) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


if __name__ == "__main__":
    main()
