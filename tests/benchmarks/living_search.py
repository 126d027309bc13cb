"""The duration of a search for a clip among those used for its face.

    python -m tests.benchmarks.living_search --used 1000 10000

The motions are generated: smooth random paths of two to six seconds, in a SQLite file.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np

from pipeline.database.engine import open_engine
from pipeline.database.schema import METADATA, faces, tenants, used_clips
from pipeline.gallery.used_clips import UsedClips
from pipeline.living.motion_signature import COLUMNS, MotionSignature

SECONDS = (2, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--used", type=int, nargs="+", default=[1000, 10_000])
    wanted = parser.parse_args()
    print("| used for the face | s | a second | stored, MB |\n|---|---|---|---|")
    for count in wanted.used:
        with tempfile.TemporaryDirectory() as folder:
            took, size = _searched(Path(folder), count)
        print(f"| {count} | {took:.2f} | {count / took:.0f} | {size / 1e6:.1f} |", flush=True)


def _searched(folder: Path, count: int) -> tuple[float, int]:
    """Seconds of processor time of a search that finds nothing, and the bytes of
    all motions."""
    chance = np.random.default_rng(7)
    engine = open_engine(f"sqlite:///{folder}/used.db")
    METADATA.create_all(engine, tables=[tenants, faces, used_clips])
    signatures = [_made_up(chance).to_bytes() for _ in range(count)]
    # Past the engine, which would ask for the tenant and the face.
    with closing(sqlite3.connect(folder / "used.db")) as connection, connection:
        connection.executemany(
            "INSERT INTO used_clips (tenant_id, face_id, sha256, motion_signature, used_at)"
            " VALUES (1, 1, ?, ?, ?)",
            [(f"{number:064x}", one, time.time()) for number, one in enumerate(signatures)],
        )
    looked_for = _made_up(chance)
    began = time.process_time()
    for _, signature in UsedClips(engine).motion_signatures(1, 1, days=1):
        assert not looked_for.matches(MotionSignature.from_bytes(signature))
    return time.process_time() - began, sum(map(len, signatures))


def _made_up(chance: np.random.Generator) -> MotionSignature:
    rows = round(15 * chance.uniform(*SECONDS))
    path = np.cumsum(chance.normal(0, 0.15, (rows, COLUMNS)), axis=0)
    return MotionSignature(path - path.mean(axis=0))


if __name__ == "__main__":
    main()
