"""A database that goes away, comes back, is busy or hangs: the caller gets a
retryable error in time, nothing is half done, and the same store works afterwards."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, Engine, text, update

from pipeline.database import migrate, postgres, sqlite
from pipeline.database.engine import open_engine, reading, writing
from pipeline.database.schema import jobs
from pipeline.errors import ConfigurationError, DatabaseUnavailable, InvalidParameter
from tests.job_factory import Clock, Queue, add_tenant, new_job
from tests.servers import PostgresServer

# Seconds; far above every limit that is tested, far below for ever.
BOUND_S = 30.0


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A PostgreSQL of this test's own."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def pg_queue(server: PostgresServer) -> Iterator[Queue]:
    engine = open_engine(server.url)
    yield _queue(engine)
    engine.dispose()


def _queue(engine: Engine) -> Queue:
    migrate.upgrade(engine)
    return Queue(engine, add_tenant(engine, "tenant"), Clock())


def test_postgres_restarts_between_two_calls(server: PostgresServer, pg_queue: Queue) -> None:
    """Nobody notices: a dead connection is replaced before it is used."""
    job = pg_queue.add()
    server.stop()
    server.start()
    assert pg_queue.see(job) == job


def test_postgres_is_killed_and_comes_back(server: PostgresServer, pg_queue: Queue) -> None:
    job = pg_queue.add()
    claim = pg_queue.take(job)
    server.kill()
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable) as caught:
            pg_queue.finish(claim, {"n": 1}, [], None)
        assert caught.value.retryable
        with pytest.raises(DatabaseUnavailable):
            pg_queue.submit(new_job(pg_queue.tenant), max_waiting=10)
    server.start()
    assert pg_queue.finish(claim, {"n": 1}, [], None)
    assert pg_queue.see(job).result == {"n": 1}


def test_postgres_dies_within_a_transaction(server: PostgresServer, pg_queue: Queue) -> None:
    job = pg_queue.add()
    claim = pg_queue.take(job)

    def effect(connection: Connection) -> None:
        connection.execute(text("UPDATE tenants SET name = 'changed'"))
        server.kill()
        connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        pg_queue.finish(claim, {}, [], effect)
    server.start()
    assert pg_queue.see(job) == claim.job
    assert pg_queue.finish(claim, {}, [], None)


def test_an_operator_ends_every_connection(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    queue = _queue(engine)
    claim = queue.take(queue.add())

    def effect(connection: Connection) -> None:
        connection.execute(text("UPDATE tenants SET name = 'changed'"))
        with psycopg.connect(postgres_url, autocommit=True) as operator:
            operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        connection.execute(text("SELECT 1"))

    with pytest.raises(DatabaseUnavailable):
        queue.finish(claim, {}, [], effect)
    assert queue.see(claim.job) == claim.job
    assert queue.finish(claim, {}, [], None)
    engine.dispose()


def test_postgres_stands_still(
    server: PostgresServer, pg_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections stay open and nothing answers: psycopg alone would wait for ever."""
    monkeypatch.setattr(postgres.BoundedConnection, "answer_timeout_s", 1.0)
    job = pg_queue.add()
    server.freeze()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        pg_queue.see(job)
    assert time.monotonic() - began < BOUND_S
    server.thaw()
    assert pg_queue.see(job) == job


def test_a_late_answer_is_nobodys(
    server: PostgresServer, pg_queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres.BoundedConnection, "answer_timeout_s", 0.5)
    first, second = pg_queue.add(), pg_queue.add()
    with pytest.raises(DatabaseUnavailable), reading(pg_queue._engine) as connection:
        connection.execute(text("SELECT pg_sleep(1.5)"))
    assert [pg_queue.see(job).id for job in (first, second)] == [first.id, second.id]


def test_a_row_that_is_locked_for_long(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_S", 1)
    engine = open_engine(postgres_url)
    queue = _queue(engine)
    job = queue.add()
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT 1 FROM jobs FOR UPDATE")
        with pytest.raises(DatabaseUnavailable):
            queue.try_take(job)
    assert queue.try_take(job) is not None
    engine.dispose()


def test_a_migration_may_take_its_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "STATEMENT_S", 1)
    monkeypatch.setattr(postgres.BoundedConnection, "answer_timeout_s", 1.0)
    engine = open_engine(postgres_url)
    with writing(engine) as connection:
        postgres.prepare_migration(connection)
        connection.execute(text("SELECT pg_sleep(1.5)"))
    with pytest.raises(DatabaseUnavailable), reading(engine) as connection:
        connection.execute(text("SELECT pg_sleep(1.5)"))
    engine.dispose()


def test_sqlite_waits_for_the_other_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.2)
    path = tmp_path / "faceline.db"
    engine = open_engine(f"sqlite:///{path}", durable=False)
    queue = _queue(engine)
    job = queue.add()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseUnavailable, match="locked"):
        queue.try_take(job)
    assert queue.see(job) == job  # reading goes on
    other.execute("COMMIT")
    other.close()
    assert queue.try_take(job) is not None
    engine.dispose()


def test_sqlite_waits_for_another_process_that_creates_the_database(tmp_path: Path) -> None:
    """Two processes that start at once both create the file and both set its journal mode."""
    path = tmp_path / "faceline.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.3, other.execute, ["COMMIT"])
    end.start()
    engine = open_engine(f"sqlite:///{path}")
    assert migrate.revision(engine) is None
    engine.dispose()
    end.join()
    other.close()


def test_sqlite_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction within a transaction of the same thread can never begin."""
    monkeypatch.setattr(sqlite, "BUSY_S", 0.2)
    engine = open_engine(f"sqlite:///{tmp_path / 'faceline.db'}", durable=False)
    queue = _queue(engine)
    claim = queue.take(queue.add())
    with pytest.raises(DatabaseUnavailable, match="locked"):
        queue.finish(claim, {}, [], lambda _: queue.renew([claim], 15))
    assert queue.finish(claim, {}, [], None)
    engine.dispose()


def test_sqlite_makes_its_directory(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'new' / 'deep' / 'faceline.db'}")
    assert _queue(engine).add().seq == 1
    engine.dispose()


def test_sqlite_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "faceline.db").write_bytes(b"not a database, but long enough to be one" * 99)
    engine = open_engine(f"sqlite:///{tmp_path / 'faceline.db'}")
    with pytest.raises(DatabaseUnavailable):
        migrate.upgrade(engine)
    engine.dispose()


DURABLE = [(True, False), (False, True), (False, False)]  # the engine, the transaction


@pytest.mark.parametrize(("always", "now"), DURABLE)
def test_sqlite_writes_ahead_and_durably_when_asked(
    tmp_path: Path, always: bool, now: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def sync(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr(os, "fsync", sync)
    path = tmp_path / "faceline.db"
    engine = open_engine(f"sqlite:///{path}", durable=always)
    queue = _queue(engine)
    for asked in (now, False, now):
        synced.clear()
        with writing(engine, durable=asked) as connection:
            pragmas = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "synchronous", "foreign_keys")
            ]
            connection.execute(update(jobs).values(fence=1))
            assert synced == []
        assert pragmas == ["wal", 1, 1]
        assert [name for name in synced if name != str(tmp_path)] == (
            [f"{path}-wal"] if always or asked else []
        )
    assert queue.add().seq == 1
    engine.dispose()


def test_sqlite_syncs_once_for_all_that_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync covers the commits before it began, and no others."""
    engine = open_engine(f"sqlite:///{tmp_path / 'faceline.db'}")
    queue = _queue(engine)
    other = sqlite3.connect(tmp_path / "faceline.db", check_same_thread=False)
    durable = [0]
    syncs = [0]

    def sync(_file: int) -> None:
        syncs[0] += 1
        committed = other.execute("SELECT count(*) FROM jobs").fetchone()[0]
        time.sleep(0.02)
        durable[0] = committed

    monkeypatch.setattr(os, "fdatasync", sync)
    late: list[int] = []

    def add() -> None:
        for _ in range(10):
            job = queue.add()
            if job.seq > durable[0]:
                late.append(job.seq)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert late == []
    assert durable[0] == 80
    assert syncs[0] < 60
    engine.dispose()


def test_sqlite_says_when_the_disk_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'faceline.db'}")
    queue = _queue(engine)

    def fail(_file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", fail)
        with pytest.raises(DatabaseUnavailable, match="synced"):
            queue.add()
    assert queue.add().seq > 0
    engine.dispose()


@pytest.mark.parametrize(("always", "now"), DURABLE)
def test_postgres_commits_durably_when_asked(
    postgres_url: str, always: bool, now: bool
) -> None:
    engine = open_engine(postgres_url, durable=always)
    for asked in (now, False):
        with writing(engine, durable=asked) as connection:
            setting = connection.exec_driver_sql("SHOW synchronous_commit").scalar_one()
        assert setting == ("on" if always or asked else "off")
    engine.dispose()


@pytest.mark.parametrize("url", ["", "no url", "mysql://x/y", "postgres+nothing"])
def test_another_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="FACELINE_DATABASE_URL"):
        open_engine(url)


@pytest.mark.parametrize("value", ["a\x00b", "half \ud800"])
def test_a_text_that_cannot_be_kept(postgres_url: str, value: str) -> None:
    engine = open_engine(postgres_url)
    migrate.upgrade(engine)
    with pytest.raises(InvalidParameter):
        add_tenant(engine, value)
    engine.dispose()
