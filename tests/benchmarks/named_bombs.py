"""The time and the memory to refuse each named bomb.

    python -m tests.benchmarks.named_bombs

Each is opened as the decode stage opens it; the memory is the peak growth of this process
and its decoder. Of several tries the fastest counts: the
machine may be busy, the bomb is the same.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.config.settings import Settings
from pipeline.errors import FaceError
from pipeline.media.pictures import PictureLimits
from pipeline.sandbox.sandbox import Sandbox, open_sandbox
from pipeline.stages.decode import DECODE_FUNCTION, decode
from tests.unit.bombs import DEFUSED, HOLLOW, REFUSED

TRIES = 3
LIMITS = PictureLimits.from_settings(Settings())


def peak_mb(pid: str = "self") -> float:
    """The most memory that a process has had, since it was last reset."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def outcome(data: bytes, sandbox: Sandbox) -> str:
    try:
        decode(data, LIMITS, sandbox)
    except FaceError as error:
        return error.code
    return "shown"


def measure(bombs: Mapping[str, Callable[[], bytes]], sandbox: Sandbox) -> None:
    for name, make in bombs.items():
        data = make()
        times = []
        reset_peak()
        before = peak_mb()
        for _ in range(TRIES):
            start = time.perf_counter()
            said = outcome(data, sandbox)
            times.append(1000 * (time.perf_counter() - start))
        grown = peak_mb() - before
        print(f"| {name} | {len(data):,} | {said} | {min(times):.1f} | {grown:.1f} |", flush=True)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    sandbox = open_sandbox(Settings(), [DECODE_FUNCTION])
    assert sandbox is not None
    print("| bomb | bytes | outcome | ms | MB of this process |")
    print("|---|---|---|---|---|")
    with sandbox:
        sandbox.start()
        for bombs in (REFUSED, HOLLOW, DEFUSED):
            measure(bombs, sandbox)


if __name__ == "__main__":
    main()
