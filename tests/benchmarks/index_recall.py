"""Recall and speed of every engine, each beside exact search in the same run.

    python -m tests.benchmarks.index_recall --aligned ../shared/faces/lfw_aligned \\
        --people 10000,100000,1000000 --engines flat,codes,hnsw --threads 1

draws galleries of face-like vectors (``face_like.py``) and prints Markdown tables. An
answer is right when its first label is as near as exact search's. A search is one probe
with ten answers; searches of the engine and of exact search take turns.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil

from pipeline.config.settings import load_settings
from pipeline.index.engine_choice import Engine, EngineChoice
from pipeline.index.flat import FlatIndex
from pipeline.index.hnsw import HnswIndex
from pipeline.index.snapshots import copy_index, load_snapshot, write_snapshot
from pipeline.index.vector_rows import VectorRows
from pipeline.media.directory import DirectoryStore
from pipeline.sessions import registry
from pipeline.types import IndexEntry, VectorModel
from tests.benchmarks.face_like import FaceLike, Photos, Vectors, embed_aligned

SEED = 20
COSINES = (0.6, 0.45)
ANSWERS = 10
SAME = 1e-5
HALF, FEW = 1, 2
"""Collections: every second person is in the one, every fiftieth in the other."""

SHARE_TIMED = 0.2  # of the probes that are searched one by one, too


@dataclass(frozen=True, slots=True)
class Speed:
    """Single searches: milliseconds, and searches a second of one thread."""

    median: float
    high: float
    rate: float

    @classmethod
    def of(cls, seconds: list[float]) -> Speed:
        ordered = sorted(seconds)
        return cls(
            1000 * statistics.median(ordered),
            1000 * ordered[int(0.99 * (len(ordered) - 1))],
            1 / statistics.fmean(ordered),
        )


def fill(index: FlatIndex, vectors: Iterable[Vectors]) -> float:
    """Take vectors in, labelled from 1; the seconds that the index took for it."""
    label, took = 1, 0.0
    for portion in vectors:
        entries = [
            IndexEntry(at, vector, collections_of(at)) for at, vector in enumerate(portion, label)
        ]
        label += len(entries)
        began = time.perf_counter()
        index.upsert(entries)
        took += time.perf_counter() - began
    return took


def collections_of(label: int) -> frozenset[int]:
    return frozenset(
        name for name, every in ((HALF, 2), (FEW, 50)) if label % every == 0
    )


def inside(index: FlatIndex, probes: Vectors, collection: int) -> float:
    """Median milliseconds of a search in one collection."""
    seconds = []
    for probe in probes:
        began = time.perf_counter()
        index.search(probe[None], ANSWERS, {collection})
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def resident() -> int:
    """Bytes of memory of this process."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)


def timed(index: FlatIndex, probes: Vectors) -> tuple[Speed, Speed]:
    """Single searches by the engine, and exactly, in turn."""
    engine: list[float] = []
    exact: list[float] = []
    for probe in probes:
        for search, seconds in ((index.search, engine), (index.search_exactly, exact)):
            began = time.perf_counter()
            search(probe[None], ANSWERS)
            seconds.append(time.perf_counter() - began)
    return Speed.of(engine), Speed.of(exact)


def recall(index: FlatIndex, probes: Vectors, truth: list[float]) -> float:
    """The share of probes whose first answer is as near as the nearest vector."""
    found = index.search(probes, 1)
    right = [
        bool(hits) and hits[0].cosine >= best - SAME
        for hits, best in zip(found, truth, strict=True)
    ]
    return sum(right) / len(right)


def nearest(index: FlatIndex, probes: Vectors) -> list[float]:
    """The cosine of the nearest vector of each probe."""
    return [hits[0].cosine for hits in index.search_exactly(probes, 1)]


def snapshot_seconds(index: FlatIndex, choice: EngineChoice) -> tuple[float, float, float]:
    """Seconds to write a snapshot to a directory and to load it, and bytes a face."""
    model = VectorModel("benchmark", "0" * 64, index.dimension)
    with tempfile.TemporaryDirectory() as folder:
        store = DirectoryStore(Path(folder))
        began = time.perf_counter()
        record = write_snapshot(copy_index(index, 1), model, 1, store, 0.0)
        written = time.perf_counter() - began
        size = sum(each.size for each in store.walk(""))
        began = time.perf_counter()
        load_snapshot(record, model, store, choice)
        return written, time.perf_counter() - began, size / len(index)


def measure(
    engine: Engine, count: int, probe_count: int, real: Vectors, choice: EngineChoice
) -> tuple[str, str]:
    """One row of the table, and for a graph the rows of its curve."""
    draw = FaceLike(real, SEED)
    before = resident()
    rows = VectorRows(real.shape[1])
    index: FlatIndex = FlatIndex(rows)
    filling = fill(index, draw.in_portions(count))
    began = time.perf_counter()
    if engine != "flat":
        index = replace(choice, engine=engine).build(rows)
    built = time.perf_counter() - began
    memory = (resident() - before) / count
    chosen = draw.choose(min(probe_count, count), count)
    probes = [draw.mates(rows.vectors[chosen], cosine) for cosine in COSINES]
    truth = [nearest(index, part) for part in probes]
    shares = [recall(index, *pair) for pair in zip(probes, truth, strict=True)]
    some = probes[-1][: max(50, int(SHARE_TIMED * probe_count))]
    speed, exact = timed(index, some)
    half, few = (inside(index, some[:50], collection) for collection in (HALF, FEW))
    written, loaded, stored = snapshot_seconds(index, choice)
    row = (
        f"| {engine} | {count:,} | {shares[0]:.4f} | {shares[1]:.4f} | {speed.median:.2f} "
        f"| {speed.high:.2f} | {speed.rate:,.0f} | {exact.median:.2f} / {exact.high:.2f} "
        f"| {half:.2f} / {few:.2f} | {count / (filling + built):,.0f} | {memory:,.0f} "
        f"| {stored:,.0f} | {written:.1f} | {loaded:.1f} |"
    )
    curve = widths(index, probes, truth) if isinstance(index, HnswIndex) else []
    shape = choice.graph
    name = f"| M={shape.links}, efC={shape.build_width} | {count:,} | {built:.0f} "
    return row, "\n".join(name + line for line in curve)


HEAD = (
    "| engine | people | recall@1 at 0.6 | at 0.45 | p50 ms | p99 ms | searches/s "
    "| exact p50 / p99 ms | p50 ms in 1/2, in 1/50 | faces/s built | bytes/face in memory "
    "| on disk | write s | load s |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


def widths(
    index: HnswIndex, probes: list[Vectors], truth: list[list[float]]
) -> list[str]:
    """The curve of a graph: recall and time by the width of the search."""
    lines = []
    for width in (100, 200, 400, 800, 1600):
        index._graph.set_ef(width)
        shares = [recall(index, *pair) for pair in zip(probes, truth, strict=True)]
        speed, _ = timed(index, probes[-1][:50])
        lines.append(
            f"| {width} | {shares[0]:.4f} | {shares[1]:.4f} | {speed.median:.2f} "
            f"| {speed.high:.2f} |"
        )
    return lines


WIDTHS_HEAD = (
    "| graph | people | build s | ef | recall@1 at 0.6 | at 0.45 | p50 ms | p99 ms |\n"
    "|---|---|---|---|---|---|---|---|"
)


def real_faces(photos: Photos, choice: EngineChoice) -> str:
    """One photo a person enrolled, all others as probes: rank-1 beside exact search."""
    first = photos.first_of_each()
    others = np.setdiff1d(np.arange(len(photos.people)), first)
    rows = VectorRows(photos.vectors.shape[1])
    rows.upsert(IndexEntry(int(place) + 1, photos.vectors[place]) for place in first)
    index = choice.build(rows)
    probes = photos.vectors[others]

    def rank_1(search: object) -> float:
        assert callable(search)
        found = [hits[0].label - 1 for hits in search(probes, 1)]
        return float(np.mean(photos.people[found] == photos.people[others]))

    return (
        f"| {index.engine} | {len(first):,} | {len(others):,} | {rank_1(index.search):.4f} "
        f"| {rank_1(index.search_exactly):.4f} |"
    )


REAL_HEAD = (
    "| engine | people enrolled | probes | rank-1 | exact rank-1 |\n|---|---|---|---|---|"
)


def apart(
    engine: Engine, count: int, probe_count: int, real: Vectors, choice: EngineChoice
) -> tuple[str, str]:
    """``measure`` in a fresh process, so that its memory counts nothing else."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(measure, engine, count, probe_count, real, choice).result()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--aligned", type=Path, required=True)
    parser.add_argument("--keep", type=Path, help="file to keep the embeddings in")
    parser.add_argument("--people", default="10000,100000,1000000")
    parser.add_argument("--engines", default="flat,codes")
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--short-list", type=int, default=EngineChoice().short_list)
    parser.add_argument("--graph", default="32,400", help="M and ef_construction")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    settings = load_settings()
    pack = registry.load(registry.choose(settings), settings)
    photos = embed_aligned(given.aligned, pack, given.keep)
    real = photos.vectors[photos.first_of_each()]
    links, build_width = (int(part) for part in given.graph.split(","))
    shape = replace(
        EngineChoice().graph, links=links, build_width=build_width, threads=given.threads
    )
    choice = EngineChoice(short_list=given.short_list, graph=shape)
    print(f"{os.cpu_count()} cores, {given.threads} thread, {given.probes} probes\n")
    curves = []
    print(HEAD, flush=True)
    for count in (int(part) for part in given.people.split(",")):
        for engine in given.engines.split(","):
            row, curve = apart(engine, count, given.probes, real, choice)
            curves.append(curve)
            print(row, flush=True)
    print(f"\n{REAL_HEAD}")
    for engine in given.engines.split(","):
        few = replace(choice, engine=engine, short_list=min(given.short_list, 200))
        print(real_faces(photos, few), flush=True)
    if any(curves):
        print("\n".join(["", WIDTHS_HEAD, *filter(None, curves)]))


if __name__ == "__main__":
    main(sys.argv[1:])
