"""Damaged media files by the thousand, through decoding and through a whole service.

    python -m tests.benchmarks.mutated_media --count 20000

Half of the files go straight to the sandboxed decode stage, half through the web side and
workers of a service of its own. Printed are the outcomes, deaths, and the most memory
that any process had. It ends with 1 when a worker died, an answer had no envelope or
memory went over its bound.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests

from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox, open_sandbox
from pipeline.stages.decode import DECODE_FUNCTION, decode
from tests.conftest import models_directory
from tests.face2_client import Face2Client, base64_of
from tests.mutations import damaged_files, whole_files
from tests.stack import Stack
from tests.waiting import eventually

MB = 1024 * 1024
CLIENTS = 4
SAMPLE_S = 0.1

# Bytes that a process may grow by, as docs/operations.md says: a worker's by the largest
# picture and its copy, a decoder's by FACELINE_DECODE_MEMORY_MB.
WORKER_GROWTH = 400 * MB
DECODER_GROWTH = Settings.model_fields["decode_memory_mb"].default * MB

WORKERS = 2  # of the service

# The codes of document e for a picture: found, too large, no picture, no face.
CODES = {0, 9002, 9902, 9903}


# What damage may be told as.
DAMAGE = frozenset({
    "not_a_picture", "format_not_accepted", "picture_corrupt", "picture_out_of_range"
})


@dataclass(slots=True)
class Findings:
    """``outcomes`` counts error codes; ``wrong`` are sentences about violations;
    ``grown`` is the most bytes that a process of each kind grew by."""

    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    wrong: list[str] = field(default_factory=list)
    grown: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def straight(count: int) -> Findings:
    """Files through ``decode`` with a sandbox, as the stage calls it."""
    settings = Settings()
    limits = PictureLimits.from_settings(settings)
    sandbox = open_sandbox(settings, [DECODE_FUNCTION])
    assert sandbox is not None
    findings = Findings()
    whole_files()  # encoders take memory, too
    start = time.monotonic()
    with sandbox:
        sandbox.start()
        with _watched([psutil.Process()], findings):
            for name, data in damaged_files(count):
                findings.outcomes[_outcome(data, limits, sandbox, name, findings)] += 1
    findings.seconds = time.monotonic() - start
    return findings


def _outcome(
    data: bytes, limits: PictureLimits, sandbox: Sandbox, name: str, findings: Findings
) -> str:
    try:
        decode(data, limits, sandbox)
    except FaceError as error:
        if "decoder died" in error.message or "took too long" in error.message:
            return f"{error.code} (cost its decoder)"
        if error.code not in DAMAGE:
            findings.wrong.append(f"{name}: {error.code}: {error.message}")
        return error.code
    return "decoded"


def through_a_service(stack: Stack, count: int) -> Findings:
    """Files as pictures of ``locate`` calls of several clients at once."""
    assert stack.shim is not None
    assert stack.worker is not None
    findings, group = Findings(), stack.worker
    whole_files()
    # The fork server of the decoders is one more.
    eventually(lambda: len(group.children()) > WORKERS, "the workers are there")
    workers = set(group.children())
    watched = [psutil.Process(pid) for pid in (stack.shim.pid, *workers)]
    start = time.monotonic()
    with _watched(watched, findings), ThreadPoolExecutor(CLIENTS) as clients:
        files = damaged_files(count, seed=count)
        calls = (
            clients.submit(_call, stack, number, name, data, findings)
            for number, (name, data) in enumerate(files)
        )
        for call in list(calls):
            findings.outcomes[call.result()] += 1
    findings.seconds = time.monotonic() - start
    if set(group.children()) != workers:
        findings.wrong.append("a worker process died")
    return findings


def _call(stack: Stack, number: int, name: str, data: bytes, findings: Findings) -> str:
    answer = _client(stack).call("locate", {"image": base64_of(data), "serial": number})
    code = _code(answer)
    if code not in CODES:
        findings.wrong.append(f"{name}: {answer.status_code} {answer.text[:200]}")
    return str(code)


def _code(answer: requests.Response) -> int | None:
    """The code in the documented envelope; None when it is not one."""
    if answer.status_code != 200:
        return None
    envelope = answer.json()
    expected = {"appId", "code", "data", "encType", "signType", "success", "timestamp"}
    return int(envelope["code"]) if set(envelope) == expected else None


_own = threading.local()


def _client(stack: Stack) -> Face2Client:
    """This thread's client of the service."""
    found: Face2Client | None = getattr(_own, "client", None)
    if found is None or found.url != stack.url:
        found = _own.client = stack.client()
    return found


@contextmanager
def _watched(roots: Sequence[psutil.Process], findings: Findings) -> Iterator[None]:
    """Look at the memory of these processes and of those that decode for them."""
    first: dict[int, int] = {}
    done = threading.Event()

    def look() -> None:
        while not done.wait(SAMPLE_S):
            for root in roots:
                _note(root, "worker or shim", first, findings)
                for child in _children(root):
                    _note(child, "decoder", first, findings)

    for root in roots:
        first[root.pid] = root.memory_info().rss
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    for kind, bound in (("worker or shim", WORKER_GROWTH), ("decoder", DECODER_GROWTH)):
        if findings.grown.get(kind, 0) > bound:
            findings.wrong.append(f"a {kind} grew by {findings.grown[kind] // MB} MB")


def _children(root: psutil.Process) -> list[psutil.Process]:
    try:
        return root.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _note(process: psutil.Process, kind: str, first: dict[int, int], findings: Findings) -> None:
    try:
        now = process.memory_info().rss
    except psutil.NoSuchProcess:
        return
    grown = now - first.setdefault(process.pid, now)
    findings.grown[kind] = max(findings.grown.get(kind, 0), grown)


def report(way: str, findings: Findings) -> None:
    total = findings.outcomes.total()
    print(f"{way}: {total} files in {findings.seconds:.0f} s")
    for outcome, count in findings.outcomes.most_common():
        print(f"  {count:6d}  {outcome}")
    for kind, grown in findings.grown.items():
        print(f"  a {kind} grew by {grown / MB:.0f} MB at most")
    for wrong in findings.wrong[:20]:
        print(f"  WRONG: {wrong}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    arguments = parser.parse_args()
    found = [straight(arguments.count - arguments.count // 2)]
    report("decode stage", found[0])
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), models_directory()) as stack:
        stack.start()
        found.append(through_a_service(stack, arguments.count // 2))
    report("service", found[1])
    return 1 if any(findings.wrong for findings in found) else 0


if __name__ == "__main__":
    sys.exit(main())
