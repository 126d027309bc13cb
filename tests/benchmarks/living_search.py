"""The duration of a search for a clip among those used for its face, beside the time that a
comparison with each of them takes; and whether both decide alike.

    python -m tests.benchmarks.living_search --used 1000 10000 --copies 400

The motions are generated: paths of two to six seconds (``--seconds``) with an action, in a SQLite
file, and as many copies of each kind.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from pipeline.database.engine import open_engine
from pipeline.database.schema import METADATA, faces, tenants, used_clips
from pipeline.gallery.used_clips import UsedClips
from pipeline.living.motion_search import MotionSearch
from pipeline.living.motion_signature import MotionSignature
from tests.generated_motions import COPIES, motion, signature

# Recordings beside its original that each copy is looked for among; seconds of the shortest.
OTHERS, SHORTEST_S = 40, 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--used", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--copies", type=int, default=400)
    parser.add_argument("--seconds", type=float, nargs=2, default=(2.0, 6.0))
    wanted = parser.parse_args()
    print("| used for the face | search, s | compared | each, s | stored, MB | more memory, MB |")
    print("|---|---|---|---|---|---|")
    for count in wanted.used:
        with tempfile.TemporaryDirectory() as folder:
            print(_searched(Path(folder), count, wanted.seconds), flush=True)
    print("\n| copies | made | recognised by a comparison | by the search | other decisions |")
    print("|---|---|---|---|---|")
    for number, kind in enumerate(COPIES):
        print(_decided(kind, wanted.copies, np.random.default_rng(number)), flush=True)


def _searched(folder: Path, count: int, seconds: tuple[float, float]) -> str:
    """Seconds of processor time of a search that finds nothing, and of a comparison with each."""
    chance = np.random.default_rng(7)
    engine = open_engine(f"sqlite:///{folder}/used.db")
    METADATA.create_all(engine, tables=[tenants, faces, used_clips])
    stored = [signature(motion(chance, chance.uniform(*seconds))).to_bytes() for _ in range(count)]
    # Past the engine, which would ask for the tenant and the face.
    with closing(sqlite3.connect(folder / "used.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO used_clips (tenant_id, face_id, sha256, motion_signature, used_at)"
            " VALUES (1, 1, ?, ?, ?)",
            [(f"{number:064x}", one, time.time()) for number, one in enumerate(stored)],
        )
    query = signature(motion(chance, chance.uniform(*seconds)))
    search, compared = MotionSearch.of(query), 0
    memory, began = _memory(), time.process_time()
    for page in UsedClips(engine).motion_signatures(1, 1, days=1):
        assert not search.finds([one for _, one in page])
    took, more = time.process_time() - began, _memory() - memory
    for page in UsedClips(engine).motion_signatures(1, 1, days=1):
        compared += len(search.candidates([one for _, one in page]))
    began = time.process_time()
    assert not _one_by_one(query, stored)
    each, size = time.process_time() - began, sum(map(len, stored))
    return (
        f"| {count:,} | {took:.2f} | {compared} | {each:.2f} | {size / 1e6:.1f} | {more:.0f} |"
    )


def _decided(kind: str, count: int, chance: np.random.Generator) -> str:
    known = found = otherwise = 0
    others = [motion(chance, chance.uniform(SHORTEST_S, 12)) for _ in range(OTHERS)]
    stored = [signature(one).to_bytes() for one in others]
    for number in range(count):
        longest = (1.6, 6.0, 12.0)[number % 3]
        path = motion(chance, chance.uniform(SHORTEST_S, longest))
        copy, original = signature(COPIES[kind](path, chance)), signature(path).to_bytes()
        search = MotionSearch.of(copy)
        known += (same := _one_by_one(copy, [original]))
        found += (seen := search.finds([original]))
        otherwise += same != seen
        if number % 10 == 0:
            otherwise += _one_by_one(copy, stored) != search.finds(stored)
    return f"| {kind} | {count} | {known} | {found} | {otherwise} |"


def _one_by_one(query: MotionSignature, stored: Sequence[bytes]) -> bool:
    return any(query.matches(MotionSignature.from_bytes(one)) for one in stored)


def _memory() -> float:
    """The most memory that the process has had, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
