"""The cost of reading a source into a batch, and of storing many objects at once.

    python -m tests.benchmarks.submitting
    python -m tests.benchmarks.submitting --database postgresql --store minio

Prints processor time and time of an item, of the submitter alone (no worker serves its
chunks), for a fresh source and for one that is read again; and the same of single puts
and of puts of 32 together.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from pipeline import storage_keys
from pipeline.batches.model import BatchOptions
from pipeline.batches.store import BatchStore
from pipeline.batches.submit import SubmitLimits, Submitter
from pipeline.config.settings import Settings
from pipeline.database import migrate
from pipeline.database.engine import open_engine
from pipeline.media.base import MediaStore
from pipeline.media.open import open_media
from pipeline.media.pictures import PictureLimits
from pipeline.sources.folder import FolderSource
from tests.benchmarks.stores import add_store_options, stores
from tests.job_factory import add_tenant

SIZES = ((250, 60, 3000), (1500, 30, 500))  # pixels a side, JPEG quality, pictures
ROUND = 32

Pairs = Sequence[tuple[str, bytes]]


def pictures(folder: Path, side: int, quality: int, count: int) -> int:
    """``count`` files that differ in their last bytes; the size of one."""
    pixels = np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8)
    body = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    for number in range(count):
        place = folder / f"person {number // 10}" / f"{number}.jpg"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(body + str(number).encode())
    return len(body)


def timed(name: str, count: int, work: Callable[[], object]) -> None:
    began, worked = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - began, time.process_time() - worked
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{name}: {cpu / count * 1000:.2f} ms of processor time and "
          f"{wall / count * 1000:.2f} ms an item, {memory} MB at most", flush=True)


def submit(settings: Settings, side: int, quality: int, count: int) -> None:
    engine = open_engine(settings.sql_url, durable=False)
    migrate.upgrade(engine)
    tenant = add_tenant(engine, uuid.uuid4().hex)
    batches, media = BatchStore(engine), open_media(settings)
    with tempfile.TemporaryDirectory() as name:
        size = pictures(Path(name), side, quality, count)
        batch, _ = batches.open(tenant, "f" * 64, name, BatchOptions())
        submitter = Submitter(
            batches,
            media,
            PictureLimits.from_settings(settings),
            list,
            SubmitLimits(in_flight=count),
        )
        for run in ("fresh", "again"):
            timed(
                f"{count} pictures of {size // 1000} kB, {run}", count,
                lambda: submitter.run(batch, FolderSource(Path(name))),
            )
    engine.dispose()


def put(media: MediaStore, size: int, rounds: int = 8) -> None:
    """Single puts, and puts of many."""

    def fresh() -> Pairs:
        datas = [os.urandom(size) for _ in range(ROUND)]
        return [
            (storage_keys.image_media(1, uuid.uuid4().hex, storage_keys.plain_name(data)), data)
            for data in datas
        ]

    def single(pairs: Pairs) -> None:
        for key, data in pairs:
            media.put(key, data)

    for name, work in (("put", single), (f"put_many of {ROUND}", media.put_many)):
        made = [fresh() for _ in range(rounds)]
        timed(f"{name}, {size // 1000} kB", ROUND * rounds, partial(_all, work, made))


def _all(work: Callable[[Pairs], None], rounds: Sequence[Pairs]) -> None:
    for pairs in rounds:
        work(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_store_options(parser)
    arguments = parser.parse_args()
    for side, quality, count in SIZES:
        with stores(arguments) as settings:
            submit(settings, side, quality, count)
    with stores(arguments) as settings:
        for size in (15_000, 150_000, 1_500_000):
            put(open_media(settings), size)


if __name__ == "__main__":
    main()
