"""How many faces a second can be written into one gallery.

    python -m tests.benchmarks.gallery_writes --writers 1,2,4

Chunks of a bulk enrolment, claimed and ended by so many writer processes as workers do it, all
into the gallery of one application, without models: embeddings are made up, and the cut-outs
count as stored. PostgreSQL runs with fsync, and each chunk's commit waits for the disk.

Prints a JSON object: faces and transactions a second, milliseconds a face for which the gallery is
locked, and of processor time of the writers and of the server; with ``--statements`` also for what
the writers wait, statement by statement.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psutil
from sqlalchemy import Engine, event, func, select, text

from pipeline.batches.chunks import chunk_of
from pipeline.batches.model import Batch
from pipeline.batches.store import BatchStore
from pipeline.database import migrate
from pipeline.database.engine import open_engine, reading
from pipeline.database.schema import changes, tenants, vectors
from pipeline.encryption.data_key import NoKeys
from pipeline.execution.bulk import finish_bulk
from pipeline.execution.context import Resources
from pipeline.jobs.model import Job
from pipeline.jobs.store import JobStore
from pipeline.media.directory import DirectoryStore
from tests.benchmarks.bulk_store import SUBMITTER, TENANT, carry, fill, fill_batch, new_item
from tests.servers import PostgresServer

LEASE_S = 600.0


class DurablePostgres(PostgresServer):
    """PostgreSQL that waits for its disk, with some memory."""

    def command(self) -> Sequence[str | Path]:
        return [*super().command(), "-c", "fsync=on", "-c", "shared_buffers=256MB"]


class StoredCutouts(DirectoryStore):
    """Names objects and stores none."""

    def put_many(self, objects: Sequence[tuple[str, bytes]]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Written:
    """What one writer did: its chunks, processor seconds, seconds for which it held the
    gallery's lock, and seconds by statement."""

    chunks: int
    cpu_s: float
    locked_s: float
    statements: dict[str, float]


class StatementTimes:
    """Seconds of wall time by statement, as the client sees them, and from the grant of the
    gallery's lock to the end of the commit that releases it."""

    def __init__(self, engine: Engine) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.locked_s = 0.0
        self._at = 0.0
        self._locked_at: float | None = None
        event.listen(engine, "before_cursor_execute", self._before)
        event.listen(engine, "after_cursor_execute", self._after)
        commit = engine.dialect.do_commit

        def timed(connection: Any) -> None:
            at = time.perf_counter()
            commit(connection)
            now = time.perf_counter()
            self.seconds["COMMIT"] += now - at
            if self._locked_at is not None:
                self.locked_s += now - self._locked_at
                self._locked_at = None

        engine.dialect.do_commit = timed  # type: ignore

    def _before(self, *_: object) -> None:
        self._at = time.perf_counter()

    def _after(self, _connection: object, cursor: Any, statement: str, *_: object) -> None:
        now, name = time.perf_counter(), _short(statement)
        self.seconds[name] += now - self._at
        if name == "SELECT tenants" and cursor.rowcount and self._locked_at is None:
            self._locked_at = now


def _short(statement: str) -> str:
    """The verb and the table of a statement."""
    words = statement.split()
    before = {"INSERT": "INTO", "UPDATE": "UPDATE"}.get(words[0], "FROM")
    if before in words and words[0] not in ("SAVEPOINT", "RELEASE"):
        return f"{words[0]} {words[words.index(before) + 1]}"
    return " ".join(words[:2])


def write(url: str, folder: str, jobs: Sequence[Job], ready: Barrier, results: Any) -> None:
    """Claim and end ``jobs``, once all writers are ready."""
    engine = open_engine(url, durable=False)
    times = StatementTimes(engine)
    store, batches = JobStore(engine), BatchStore(engine)
    draw = np.random.default_rng(int(jobs[0].id[:8], 16))
    tools = cast(Resources, SimpleNamespace(
        media=StoredCutouts(Path(folder)), keys=NoKeys(),
        get=lambda kind: kind(engine, lambda selection: ""),
    ))
    contexts = []
    for job in jobs:
        batch_id, numbers = chunk_of(job.params)
        items = batches.items(batch_id, after=numbers[0] - 1, limit=len(numbers))
        contexts.append(carry(items, draw))
    times.seconds.clear()
    ready.wait()
    start = time.process_time()
    for job, context in zip(jobs, contexts, strict=True):
        claim = store.claim(job.id, "bulk", "writer", LEASE_S, 3)
        assert claim is not None
        outcome = finish_bulk(claim.job, context, tools)
        assert store.finish(claim, outcome.result, [], outcome.effect)
    cpu_s = time.process_time() - start
    ready.wait()
    results.put(Written(len(jobs), cpu_s, times.locked_s, times.seconds))
    ready.wait()
    engine.dispose()


def feed(engine: Engine, batch: Batch, chunks: int, size: int) -> list[Job]:
    store = BatchStore(engine)
    jobs: list[Job] = []
    for number in range(chunks):
        first = batch.items + number * size
        items = [new_item(batch, first + 1 + place) for place in range(size)]
        jobs += store.add(batch, SUBMITTER, items, chunk_size=size).jobs
    return jobs


def measure(
    engine: Engine, url: str, folder: Path, jobs: Sequence[Job], writers: int, size: int,
    server: PostgresServer | None, statements: bool,
) -> dict[str, Any]:
    """Faces and transactions a second, milliseconds of processor time a face."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(writers + 1), context.Queue()
    processes = [
        context.Process(
            target=write, args=(url, str(folder), list(jobs[place::writers]), ready, results)
        )
        for place in range(writers)
    ]
    for process in processes:
        process.start()
    ready.wait()
    server_s, transactions = _server_cpu(server), _transactions(engine)
    start = time.perf_counter()
    ready.wait()
    seconds = time.perf_counter() - start
    server_s = _server_cpu(server) - server_s
    written = [results.get() for _ in processes]
    ready.wait()
    for process in processes:
        process.join(60)
    faces = len(jobs) * size
    found: dict[str, Any] = {
        "faces_per_s": round(faces / seconds),
        "locked_ms": round(1000 * sum(each.locked_s for each in written) / faces, 3),
        "writer_cpu_ms": round(1000 * sum(each.cpu_s for each in written) / faces, 3),
    }
    if server is not None:
        found["server_cpu_ms"] = round(1000 * server_s / faces, 3)
        found["transactions_per_s"] = round((_transactions(engine) - transactions) / seconds)
    if statements:
        total: dict[str, float] = defaultdict(float)
        for name, spent in (pair for each in written for pair in each.statements.items()):
            total[name] += spent
        found["wait_ms"] = {
            name: round(1000 * total[name] / faces, 4)
            for name in sorted(total, key=lambda name: -total[name])
        }
    return found


def check(engine: Engine, faces: int) -> None:
    """The log has every number once, in the order of the labels, and each face its vector."""
    mine = changes.c.tenant_id == TENANT
    with reading(engine) as connection:
        rows = connection.execute(
            select(changes.c.number, changes.c.label).where(mine).order_by(changes.c.number)
        ).all()
        last = connection.execute(select(tenants.c.log_number)).scalar_one()
        stored = connection.execute(select(func.count()).select_from(vectors)).scalar_one()
    assert [row.number for row in rows] == list(range(1, last + 1))
    labels = [row.label for row in rows]
    assert len(set(labels[-faces:])) == faces
    assert stored == len(set(labels))


def _server_cpu(server: PostgresServer | None) -> float:
    """Processor seconds of the server and its processes, ended ones included."""
    if server is None:
        return 0.0
    main = psutil.Process(server.pid)
    times = main.cpu_times()
    seconds = times.user + times.system + times.children_user + times.children_system
    for child in main.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            seconds += sum(child.cpu_times()[:2])
    return float(seconds)


def _transactions(engine: Engine) -> int:
    if engine.dialect.name != "postgresql":
        return 0
    with reading(engine) as connection:
        return int(connection.execute(text(
            "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        )).scalar_one())


@contextlib.contextmanager
def open_url(server: PostgresServer | None, folder: Path) -> Iterator[str]:
    if server is None:
        yield f"sqlite:///{folder}/faceline.db"
        return
    with server.database() as url:
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--writers", default="1,2,4")
    parser.add_argument("--faces", type=int, default=10_000, help="in the gallery before")
    parser.add_argument("--chunks", type=int, default=120)
    parser.add_argument("--chunk", type=int, default=32)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--statements", action="store_true")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        server = None
        if options.database == "postgresql":
            server = stack.enter_context(DurablePostgres())
        for writers in map(int, options.writers.split(",")):
            place = Path(folder) / str(writers)
            place.mkdir()
            url = stack.enter_context(open_url(server, place))
            engine = open_engine(url, durable=False)
            migrate.upgrade(engine)
            fill(engine, options.faces)
            jobs = feed(engine, fill_batch(engine, 1), options.chunks, options.chunk)
            if server is not None:
                with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as each:
                    each.execute(text("VACUUM ANALYZE"))
            found[f"{writers} writers"] = measure(
                engine, url, place, jobs, writers, options.chunk, server, options.statements
            )
            check(engine, options.chunks * options.chunk)
            engine.dispose()
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
