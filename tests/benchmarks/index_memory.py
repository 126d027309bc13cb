"""The memory of a face in an index process.

    python -m tests.benchmarks.index_memory --faces 100000 --engines flat,codes

Fills a gallery in SQL and opens its view in a process of its own, once from SQL and once
from a snapshot, as an index process does at its start: the growth of that process's
resident memory, by the faces. Beside it the view's own estimate, by which
FACELINE_INDEX_MEMORY_MB is kept.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import insert

from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.gallery.change_log import ChangeLog
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.local_views import LocalViews
from pipeline.index.options import ViewOptions
from pipeline.media.directory import DirectoryStore
from pipeline.types import VectorModel
from tests.synthetic_gallery import fill_gallery

DIMENSION = 512
TENANT = 1


def fill(url: str, count: int) -> None:
    """``count`` faces, each on a picture of its own."""
    engine = open_engine(url, durable=False)
    migrate.upgrade(engine)
    with writing(engine) as connection:
        connection.execute(insert(tenants).values(
            id=TENANT, name="memory", settings={}, disabled=False, created_at=0.0,
        ))
    fill_gallery(engine, TENANT, count, VectorModel("edge", "0" * 64, DIMENSION))
    engine.dispose()


def measure(url: str, media: str, engine: str, write: bool, answer: Any) -> None:
    """(growth of the resident memory, the view's own estimate), in bytes a face."""
    options = ViewOptions(engine_choice=EngineChoice(engine))  # type: ignore[arg-type]
    views = LocalViews(
        ChangeLog(open_engine(url, durable=False)), DirectoryStore(Path(media)), options
    )
    probe = np.eye(1, DIMENSION, dtype=np.float32)[0]
    views.search(TENANT + 1, probe, 1, None, 0)  # libraries are loaded
    before = psutil.Process().memory_info().rss
    view = views.view(TENANT)
    views.search(TENANT, probe, 10, None, 0)
    grown = psutil.Process().memory_info().rss - before
    answer.put((grown / len(view), view.nbytes / len(view)))
    if write:
        view.snapshot()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--engines", default="flat,codes")
    options = parser.parse_args()
    print("| engine | faces | from | bytes a face | reckoned |\n| --- | --- | --- | --- | --- |")
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        fill(f"sqlite:///{folder}/gallery.db", options.faces)
        for engine in options.engines.split(","):
            url = f"sqlite:///{shutil.copy(f'{folder}/gallery.db', f'{folder}/{engine}.db')}"
            for source in ("SQL", "snapshot"):
                answer = spawn.Queue()
                media = f"{folder}/{engine}"
                process = spawn.Process(
                    target=measure, args=(url, media, engine, source == "SQL", answer)
                )
                process.start()
                grown, reckoned = answer.get()
                process.join()
                sizes = f"{grown:,.0f} | {reckoned:,.0f}"
                print(f"| {engine} | {options.faces:,} | {source} | {sizes} |", flush=True)


if __name__ == "__main__":
    main()
