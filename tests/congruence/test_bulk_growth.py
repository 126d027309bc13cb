"""The database cost of a chunk does not grow with the gallery and the batch.

Counted in instructions of SQLite's machine, so that no clock decides. `tests.benchmarks.bulk_store`
shows the same for PostgreSQL, whose planner knows the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from pipeline.batches.store import BatchStore
from pipeline.database import migrate
from pipeline.database.engine import open_engine
from tests.benchmarks import bulk_store

SMALL, LARGE = 300, 9000
CHUNK = 8
STEPS = 50  # instructions between two calls: SQLite counts no finer


@contextmanager
def counted(path: Path) -> Iterator[tuple[Engine, Callable[[], int]]]:
    """An engine, and the instructions that its connections have executed."""
    engine, calls = open_engine(f"sqlite:///{path}", durable=False), [0]

    @event.listens_for(engine, "connect")
    def watch(connection: sqlite3.Connection, _record: object) -> None:
        def step() -> int:
            calls[0] += 1
            return 0

        connection.set_progress_handler(step, STEPS)

    migrate.upgrade(engine)
    yield engine, lambda: calls[0]
    engine.dispose()


def costs(path: Path, count: int) -> dict[str, int]:
    """The cost of looking up, adding and ending chunks with ``count`` faces and items."""
    path.mkdir()
    with counted(path / "faceline.db") as (engine, total):
        bulk_store.fill(engine, count)
        batch = bulk_store.fill_batch(engine, count)
        store = BatchStore(engine)
        begun = total()
        names = [f"new {number}" for number in range(CHUNK)]
        store.known.by_name(batch, names)
        store.known.pictures(batch, [f"{number:064x}" for number in range(CHUNK)], "judged")
        store.jobs_in_flight(batch.id)
        looked = total()
        bulk_store.measure(engine, path, batch, chunks=4, size=CHUNK)
        return {"look": looked - begun, "enrol": total() - looked}


@pytest.mark.parametrize("step", ["look", "enrol"])
def test_the_cost_of_a_chunk_stays(step: str, growth: tuple[dict[str, int], ...]) -> None:
    small, large = growth

    assert large[step] <= 1.3 * small[step] + 20, growth


@pytest.fixture(scope="module")
def growth(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, int], ...]:
    folder = tmp_path_factory.mktemp("growth")
    return tuple(costs(folder / str(count), count) for count in (SMALL, LARGE))
