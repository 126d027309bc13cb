"""Many generated calls of every operation: each answer must be one that the OpenAPI document
describes.

    python -m tests.benchmarks.api_fuzz --photos ../shared/faces/photos --calls 300 --seed 1

Prints the number of answers of each kind for each operation; stops at the first answer that
is not described or is an internal error.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.api_fuzz import Fuzz, succeeded
from tests.stack import Stack


def fuzz(photos: Path, calls: int, seed: int) -> Counter[tuple[str, str]]:
    """(operation, answer) of ``calls`` calls of each operation."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder)) as stack:
        stack.start_index()
        stack.start()
        made = Fuzz(stack, photos, "fuzz")
        for name, run in made.operations():
            start = time.monotonic()
            run(calls, seed)
            answers = {answer: n for (known, answer), n in made.seen.items() if known == name}
            print(f"{name} ({time.monotonic() - start:.0f} s): {answers}", flush=True)
        return made.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, default=Path("../shared/faces/photos"))
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    seen = fuzz(options.photos, options.calls, options.seed)
    good = sum(number for (_, answer), number in seen.items() if succeeded(answer))
    print(f"{seen.total()} calls, {good} of which succeeded, every answer as described")


if __name__ == "__main__":
    main()
