"""Searches that a vector engine serves, beside those of an index process's memory, in one run.

    python -m tests.benchmarks.vector_engine --aligned ../shared/faces/lfw_aligned --faces 100000

Fills a gallery of face-like vectors (``face_like.py``) in SQL, has a follower read it into
PostgreSQL with pgvector, and searches through the views of an index process: with the gallery's
number, the change log and the comparison from SQL, as a job does. A search is one probe with 21
answers; those of memory (``codes``) and of the engine take turns. Recall is that of the probe's
own person, whom exact search finds at both cosines.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import insert

from pipeline.config.settings import load_settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import tenants
from pipeline.gallery.change_log import ChangeLog
from pipeline.index.engine_choice import EngineChoice
from pipeline.index.engine_views import EngineOptions, EngineViews
from pipeline.index.local_views import LocalViews
from pipeline.index.options import ViewOptions
from pipeline.index.pgvector import PgvectorEngine
from pipeline.index.vector_spaces import SpaceStore
from pipeline.media.directory import DirectoryStore
from pipeline.sessions import registry
from pipeline.types import VectorModel
from tests.benchmarks.face_like import FaceLike, read_crop
from tests.benchmarks.index_recall import COSINES, SEED, Speed
from tests.servers import PgvectorServer
from tests.synthetic_gallery import fill_gallery

TENANT = 1
ANSWERS = 21

HEAD = "| | recall@1 | p50 ms | p99 ms |\n| --- | --- | --- | --- |"

Search = Callable[[NDArray[np.float32]], list[int]]


def embed_first_of_each(folder: Path) -> NDArray[np.float32]:
    """An embedding of each person's first photo."""
    settings = load_settings()
    embedder = registry.load(registry.choose(settings), settings).embedder()
    firsts = [min(person.glob("*.jpg")) for person in sorted(folder.iterdir())]
    return np.vstack([
        embedder.embed([read_crop(path) for path in firsts[start : start + 16]])
        for start in range(0, len(firsts), 16)
    ])


def compare(searches: dict[str, Search], probes: NDArray[np.float32], labels: list[int]) -> None:
    """Print a row for each way to search."""
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    right = dict.fromkeys(searches, 0)
    for probe, label in zip(probes, labels, strict=True):
        for name, search in searches.items():
            began = time.perf_counter()
            found = search(probe)
            seconds[name].append(time.perf_counter() - began)
            right[name] += found[0] == label
    for name in searches:
        speed = Speed.of(seconds[name])
        print(f"| {name} | {right[name] / len(labels):.4f} | {speed.median:.1f} | "
              f"{speed.high:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--aligned", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--probes", type=int, default=300)
    given = parser.parse_args()
    faces = FaceLike(embed_first_of_each(given.aligned), SEED)
    vectors = faces.people(given.faces)
    with tempfile.TemporaryDirectory() as folder, PgvectorServer() as server:
        engine = open_engine(f"sqlite:///{folder}/gallery.db", durable=False)
        migrate.upgrade(engine)
        with writing(engine) as connection:
            connection.execute(insert(tenants).values(
                id=TENANT, name="engine", settings={}, disabled=False, created_at=0.0,
            ))
        model = VectorModel("edge", "0" * 64, vectors.shape[1])
        fill_gallery(engine, TENANT, given.faces, model, units=vectors)
        log = ChangeLog(engine)
        outside = EngineViews(
            log, PgvectorEngine(server.url), SpaceStore(engine), "benchmark", EngineOptions(1)
        )
        began, used = time.perf_counter(), time.process_time()
        while not outside.spaces.all_serving():
            outside.keep([TENANT])
        took, used = time.perf_counter() - began, time.process_time() - used
        (row,) = outside.spaces.rows()
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}; read into the engine in "
              f"{took:.0f} s ({used:.0f} s of the follower), {row.size / row.faces:,.0f} bytes a "
              "face there\n")
        local = LocalViews(
            log, DirectoryStore(Path(folder) / "media"),
            ViewOptions(engine_choice=EngineChoice("codes"), canary_every=0),
        )

        def search_in(views: LocalViews | EngineViews) -> Search:
            return lambda probe: [
                hit.label for hit in views.search(TENANT, probe, ANSWERS, None, 0)
            ]

        searches = {"codes, in memory": search_in(local), "pgvector": search_in(outside)}
        chosen = faces.choose(given.probes, given.faces)
        for search in searches.values():
            search(vectors[0])
        for cosine in COSINES:
            print(f"\ncosine {cosine}\n\n{HEAD}")
            compare(searches, faces.mates(vectors[chosen], cosine), [int(at) + 1 for at in chosen])
        outside.close()
        engine.dispose()


if __name__ == "__main__":
    main()
