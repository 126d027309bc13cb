"""The cost of recording a photo: the transactions of a bulk enrolment alone.

    python -m tests.benchmarks.bulk_store --sizes 1000,10000,100000

On SQLite and on PostgreSQL, into galleries of so many made-up faces, in batches of as many
items: adding items with their chunk jobs, and the transaction that ends a chunk. That one
locks the application's gallery: its duration bounds the photos that one application can enrol
a second, with any number of workers. No picture is decoded. Prints a JSON
object; milliseconds an item by the clock (median over chunks), and of processor time of
this process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
from sqlalchemy import Engine, insert, update

from pipeline import storage_keys
from pipeline.analysis.engine import AnalysedPicture, ExaminedPicture
from pipeline.batches.model import Batch, BatchItem, BatchOptions, ItemState, NewItem
from pipeline.batches.store import BatchStore
from pipeline.database import migrate
from pipeline.database.engine import open_engine, writing
from pipeline.database.schema import batch_items, batches, tenants
from pipeline.encryption.data_key import NoKeys
from pipeline.execution.bulk import InspectedChunk, InspectedItem, finish_bulk
from pipeline.execution.context import JobContext, Resources
from pipeline.media.directory import DirectoryStore
from pipeline.media.pictures import PictureHeader
from pipeline.sources.base import About
from pipeline.types import Box, DetectedFace, Quality, VectorModel
from tests.servers import PostgresServer
from tests.synthetic_gallery import fill_gallery

TENANT = 1
MODEL = VectorModel("edge", "0" * 64, 512)
QUALITY = Quality(
    size=90.0, blur=70.0, brightness=120.0, contrast=50.0, yaw=3.0, pitch=2.0, roll=1.0, score=0.9
)
CUTOUT = bytes(4000)
SUBMITTER = "store"


def fill(engine: Engine, count: int) -> None:
    with writing(engine) as connection:
        connection.execute(insert(tenants).values(
            id=TENANT, name="store", settings={}, disabled=False, created_at=0.0
        ))
    # Ids far above those that the database gives by itself.
    fill_gallery(engine, TENANT, count, MODEL, first=10**9 + 1)


def fill_batch(engine: Engine, count: int) -> Batch:
    """A batch whose reader has the lease, with ``count`` items that have ended."""
    store = BatchStore(engine)
    batch, _ = store.open(TENANT, "1" * 64, "made up", BatchOptions())
    rows = [
        {"batch_id": batch.id, "number": number, "tenant_id": TENANT, "state": "rejected",
         "name_hash": number.to_bytes(16), "picture_hash": number.to_bytes(16),
         "source_name": f"{number}.jpg", "reason": "no_face"}
        for number in range(1, count + 1)
    ]
    with writing(engine) as connection:
        connection.execute(insert(batch_items), rows)
        connection.execute(update(batches).values(items=count, rejected=count))
    return store.acquire(batch.id, SUBMITTER, 3600.0)


def measure(
    engine: Engine, folder: Path, batch: Batch, chunks: int, size: int
) -> dict[str, float]:
    """Milliseconds an item of both transactions."""
    store, draw = BatchStore(engine), np.random.default_rng(3)
    tools = cast(Resources, SimpleNamespace(
        media=DirectoryStore(folder), keys=NoKeys(),
        get=lambda kind: kind(engine, lambda selection: ""),
    ))
    found: dict[str, list[float]] = {}
    for number in range(chunks):
        first = batch.items + number * size
        items = [new_item(batch, first + 1 + place) for place in range(size)]
        with _timed(found, "add", size):
            job = store.add(batch, SUBMITTER, items, chunk_size=size).jobs[0]
        rows = store.items(batch.id, after=first, limit=size)
        conclusion = finish_bulk(job, carry(rows, draw), tools)
        assert conclusion.effect is not None
        with _timed(found, "end", size), writing(engine) as connection:
            done = conclusion.effect(connection)
        assert done is not None
        assert done["enrolled"] == size, done
    return {name: round(statistics.median(times[1:]), 3) for name, times in found.items()}


@contextlib.contextmanager
def _timed(found: dict[str, list[float]], name: str, items: int) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    found.setdefault(f"{name}_ms", []).append(1000 * (time.perf_counter() - wall) / items)
    found.setdefault(f"{name}_cpu_ms", []).append(1000 * (time.process_time() - cpu) / items)


def new_item(batch: Batch, number: int) -> NewItem:
    name = f"{10**12 + number:064x}"
    key = storage_keys.image_media(TENANT, f"{batch.id}.{number}", name)
    return NewItem(
        number=number, source_name=f"{number}.jpg", about=About(name=f"person {number}"),
        state=ItemState.WAITING, sha256=name, media_key=key, size=15_000, width=250, height=250,
    )


def carry(items: list[BatchItem], draw: np.random.Generator) -> JobContext:
    """The chunk of ``items`` as if it was analysed: one face each."""
    drawn = draw.standard_normal((len(items), MODEL.dimension)).astype(np.float32)
    units = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    face = DetectedFace(
        Box(60.0, 60.0, 180.0, 200.0), 0.9, np.zeros((5, 2), np.float32), "arcface5"
    )
    inspected = [
        InspectedItem(
            item,
            AnalysedPicture(
                PictureHeader("jpeg", 250, 250, 1),
                ExaminedPicture(250, 250, [face], [QUALITY], [CUTOUT], [], []), unit[None],
            ),
            f"id{item.sha256[2:]}",
        )
        for item, unit in zip(items, units, strict=True)
    ]
    return JobContext(model=MODEL).add(InspectedChunk(BatchOptions(), inspected))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--chunks", type=int, default=60)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = PostgresServer() if options.only != "sqlite" else None
        if server is not None:
            stack.enter_context(server)
        for backend in ("sqlite", "postgresql"):
            if options.only in (None, backend):
                found[backend] = {}
                for size in map(int, options.sizes.split(",")):
                    place = Path(folder) / f"{backend}-{size}"
                    place.mkdir()
                    url = f"sqlite:///{place}/faceline.db"
                    if backend == "postgresql" and server is not None:
                        url = stack.enter_context(server.database())
                    engine = open_engine(url, durable=False)
                    migrate.upgrade(engine)
                    fill(engine, size)
                    found[backend][str(size)] = measure(
                        engine, place, fill_batch(engine, size), options.chunks, options.chunk
                    )
                    engine.dispose()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
