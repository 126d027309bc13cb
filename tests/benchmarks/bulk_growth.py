"""Whether a photo of a bulk enrolment costs the same in a large gallery and a long queue.

    python -m tests.benchmarks.bulk_growth --rounds 2
    python -m tests.benchmarks.bulk_growth --only queue --sizes 1000,10000,100000

`gallery`: galleries of so many made-up faces, written into SQL with their change log and
read by an index process, into which `faceline enroll` brings photos. `queue`: the same
into empty galleries while so many jobs of another stage wait, which no worker serves.
`backlog`: so many one-photo jobs of a bulk enrolment wait, and the workers do some of
them. The sizes take turns, round after round, in one run: a machine whose speed drifts
drifts for all. Cost is processor time an item of the command, workers, index and Redis;
the ratio is the median of the ratios to the smallest round by round. Upkeep works by the
clock and not by the item: its share of a core stands beside it. Prints a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import Table, insert, select, update

from pipeline import storage_keys
from pipeline.batches.model import BatchOptions, ItemState, NewItem
from pipeline.batches.store import BatchStore
from pipeline.config.settings import Settings
from pipeline.database.engine import reading, writing
from pipeline.database.schema import (
    batch_items,
    batches,
    jobs,
)
from pipeline.operations import Stage
from pipeline.sessions import registry
from pipeline.sources.base import About
from pipeline.types import VectorModel
from tests.benchmarks.chart import Axis, line_chart, save
from tests.bulk_harness import Harness, open_harness, usage
from tests.bulk_photos import FACES, Recipe, pictures, write
from tests.synthetic_gallery import BLOCK, fill_gallery
from workers.queues import queue_name

POLL_S = 0.1
SETTLE_S = 2.0  # in which the index takes over the last faces
LIMIT_S = 900.0
KINDS = ("gallery", "queue", "backlog")

# As in production, not as impatient as in tests.
DEFAULTS = {
    name: Settings.model_fields[name].default
    for name in ("lease_s", "resend_after_s", "reconcile_interval_s")
}


# Filling -----------------------------------------------------------------------


def _model(harness: Harness) -> VectorModel:
    info = registry.choose(harness.stack.settings)
    return VectorModel(info.name, info.recognition_model, info.dimension)


def fill_queue(harness: Harness, count: int) -> None:
    """``count`` jobs, with their messages, at a stage that no worker serves."""
    tenant = harness.stack.add_tenant("waiting").tenant_id
    ids = [f"{number:032x}" for number in range(count)]
    _insert_all(harness, jobs, [_job(tenant, "features", Stage.DECODE, each) for each in ids])
    harness.stack.cluster.dispatcher.publish(ids[0], Stage.DECODE)
    _copy_message(harness, Stage.DECODE, count - 1)


def fill_backlog(harness: Harness, count: int, photos: Sequence[bytes]) -> str:
    """``count`` items that wait, each with a job of its own; those that workers will do
    have photos. The batch's id."""
    cluster, tenant = harness.stack.cluster, harness.stack.credentials.tenant_id
    store = BatchStore(cluster.engine)
    batch, _ = store.open(tenant, "0" * 64, "made up", BatchOptions())
    batch = store.acquire(batch.id, "growth", 3600.0)
    fresh = [_item(harness, batch.id, number, data) for number, data in enumerate(photos, 1)]
    cluster.dispatcher.publish_all(store.add(batch, "growth", fresh, chunk_size=1).jobs)
    rest = [(number, f"{number:032x}") for number in range(len(photos) + 1, count + 1)]
    _insert_all(harness, jobs, [_job(tenant, "bulk", Stage.BULK, each) for _, each in rest])
    _insert_all(harness, batch_items, [
        {"batch_id": batch.id, "number": number, "tenant_id": tenant, "state": "waiting",
         "name_hash": number.to_bytes(16), "source_name": f"{number}.jpg", "job_id": each}
        for number, each in rest
    ])
    with writing(cluster.engine) as connection:
        connection.execute(
            update(batches).where(batches.c.id == batch.id).values(items=count, waiting=count)
        )
    _copy_message(harness, Stage.BULK, len(rest))
    return batch.id


def _insert_all(harness: Harness, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), BLOCK):
        with writing(harness.stack.cluster.engine) as connection:
            connection.execute(insert(table), rows[start : start + BLOCK])


def _job(tenant: int, operation: str, stage: Stage, job_id: str) -> dict[str, Any]:
    return {
        "tenant_id": tenant, "operation": operation, "dialect": "e", "state": "queued",
        "stage": str(stage), "params": {}, "media": [], "request_id": "growth",
        "digest": "0" * 64, "trace": [], "created_at": time.time(),
        "published_at": time.time(), "id": job_id,
    }


def _copy_message(harness: Harness, stage: Stage, count: int) -> None:
    """Lengthen a queue by messages that no worker will read."""
    client, queue = redis.Redis.from_url(harness.stack.redis.url), queue_name(stage)
    message = client.lindex(queue, 0)
    assert isinstance(message, bytes)
    for start in range(0, count, BLOCK):
        client.lpush(queue, *[message] * min(BLOCK, count - start))
    client.close()


def _item(harness: Harness, batch: str, number: int, data: bytes) -> NewItem:
    media, tenant = harness.stack.cluster.media, harness.stack.credentials.tenant_id
    key = storage_keys.image_media(tenant, f"{batch}.{number}", media.name(tenant, data))
    media.put(key, data)
    return NewItem(
        number=number, source_name=f"{number}.jpg", about=About(name=f"person {number}"),
        state=ItemState.WAITING, sha256=storage_keys.media_hash(key), media_key=key, size=len(data),
        width=250, height=250,
    )


# Measuring ---------------------------------------------------------------------


def cpu_s(harness: Harness) -> dict[str, float]:
    """Processor seconds by part so far."""
    return {name: usage(pid)[1] for name, pid in harness.pids().items()}


def cost_of(harness: Harness, source: Path) -> tuple[int, dict[str, float]]:
    """(items, processor seconds by part) of one command, from its first item to the end of
    the last, with the update of the index; wall seconds of the same (`wall`), and
    with the start of the command (`whole`). The start, and the search of the
    batch for duplicate people when it is done (`after`), are paid once a batch."""
    started = time.monotonic()
    earlier, cli = harness.batch(), harness.enrol(source)
    while (batch := harness.batch()) in ("", earlier) or not harness.counts(batch)[0]["items"]:
        assert cli.running, cli.log.read_text()[-2000:]
        time.sleep(POLL_S)
    before, began = cpu_s(harness), time.monotonic()
    while cli.running and not _all_ended(harness, batch):
        time.sleep(POLL_S)
    done, ended = cpu_s(harness), time.monotonic()
    cli.wait()
    time.sleep(SETTLE_S)
    last = cpu_s(harness)
    spent = {part: done[part] - before[part] for part in before if part in done}
    if "index" in spent:
        spent["index"] += last["index"] - done["index"]
    spent["wall"], spent["whole"] = ended - began, ended - started
    spent["after"] = sum(last[part] - done[part] for part in last if part != "index")
    return harness.counts(batch)[0]["items"], spent


def _all_ended(harness: Harness, batch: str) -> bool:
    with reading(harness.stack.cluster.engine) as connection:
        row = connection.execute(
            select(batches.c.waiting, batches.c.exhausted).where(batches.c.id == batch)
        ).one()
    return row.exhausted and not row.waiting


def worked_off(harness: Harness, batch: str, count: int) -> tuple[int, dict[str, float]]:
    """As ``cost_of``, of ``count`` items that wait already."""
    harness.start_bulk()
    _await(harness, batch, _ended(harness, batch) + count // 4)  # everything is loaded
    first, before, began = _ended(harness, batch), cpu_s(harness), time.monotonic()
    _await(harness, batch, first + count)
    last, after = _ended(harness, batch), cpu_s(harness)
    spent = {part: after[part] - before[part] for part in before}
    spent["wall"] = time.monotonic() - began
    harness.parts.pop("bulk").stop()
    return last - first, spent


def _await(harness: Harness, batch: str, ended: int) -> None:
    until = time.monotonic() + LIMIT_S
    while _ended(harness, batch) < ended:
        assert time.monotonic() < until, harness.stack.cluster.logs()
        time.sleep(POLL_S)


def _ended(harness: Harness, batch: str) -> int:
    counts = harness.counts(batch)[0]
    return counts["items"] - counts["waiting"]


def measure(kind: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Cost an item by size, and its ratio to the smallest's."""
    costs: dict[int, list[dict[str, float]]] = {size: [] for size in options.sizes}
    turns: dict[int, Callable[[int], tuple[int, dict[str, float]]]] = {}
    with ExitStack() as stack:
        for size in options.sizes:
            harness = stack.enter_context(open_harness(folder / f"{kind}-{size}", **DEFAULTS))
            turns[size] = _prepare(kind, harness, size, options, folder)
        for turn in range(options.rounds + 1):
            for size in options.sizes:
                items, spent = turns[size](turn)
                if turn:  # in the first all is loaded
                    costs[size].append({k: 1000 * v / items for k, v in spent.items()})
    return _figures(costs)


def _prepare(
    kind: str, harness: Harness, size: int, options: argparse.Namespace, folder: Path
) -> Callable[[int], tuple[int, dict[str, float]]]:
    count = options.photos
    if kind == "backlog":
        recipe = Recipe(2 * count * (options.rounds + 1), options.seed)
        made = [data for one, data in pictures(recipe, options.aligned) if one.kind in FACES]
        batch = fill_backlog(harness, max(size, len(made)), made)
        harness.start_upkeep()
        return lambda turn: worked_off(harness, batch, count)
    if kind == "gallery":
        stack = harness.stack
        fill_gallery(stack.cluster.engine, stack.credentials.tenant_id, size, _model(harness))
    else:
        fill_queue(harness, size)
    harness.start_bulk()
    harness.start_upkeep()
    harness.start_index()
    return lambda turn: cost_of(harness, _source(turn, options, folder))


def _source(turn: int, options: argparse.Namespace, folder: Path) -> Path:
    source = folder / f"photos-{turn}"
    if not source.exists():
        write(source, Recipe(options.photos, options.seed + turn), options.aligned)
    return source


def _figures(costs: dict[int, list[dict[str, float]]]) -> dict[str, Any]:
    smallest = list(map(_total, costs[min(costs)]))
    found = {}
    for size, rounds in costs.items():
        totals = list(map(_total, rounds))
        ratios = [total / least for total, least in zip(totals, smallest, strict=True)]
        found[str(size)] = {
            "cpu_ms_per_item": round(statistics.median(totals), 2),
            "by_part": {
                part: round(statistics.median(each.get(part, 0.0) for each in rounds), 2)
                for part in rounds[0] if part not in ("wall", "whole")
            },
            "upkeep_share": round(
                statistics.median(each["upkeep"] / each["wall"] for each in rounds), 4
            ),
            "ratio": round(statistics.median(ratios), 3),
        }
    return found


def _total(parts: dict[str, float]) -> float:
    return sum(parts.get(part, 0.0) for part in ("cli", "bulk", "index", "redis"))


def draw(found: dict[str, dict[str, Any]]) -> str:
    lines = {
        kind: [(float(size), each["cpu_ms_per_item"]) for size, each in sizes.items()]
        for kind, sizes in found.items()
    }
    return line_chart(
        "Cost of a photo as gallery and queue grow", Axis("faces, or waiting jobs", log=True),
        Axis("ms of processor time"), lines,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=Path, default=Path("../shared/faces"))
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--photos", type=int, default=400, help="of each size in each round")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--plot", type=Path, help="an SVG file to write")
    options = parser.parse_args()
    options.aligned = options.faces / "lfw_aligned"
    options.sizes = [int(size) for size in options.sizes.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        found = {
            kind: measure(kind, options, Path(folder))
            for kind in KINDS if options.only in (None, kind)
        }
    save(options.plot, draw(found))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
