"""Engines for SQLite: one writer at a time, fair waiting, deleted data overwritten."""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import QueuePool

# Seconds to wait for the present writer. A job's transaction takes under a millisecond, so
# that only a stuck process exceeds this.
BUSY_S = 10.0

# Seconds between two tries. SQLite's own pauses grow to 0.1 s, and a process that pauses so
# long beside constant writers starves: beside eight threads that submitted as fast as they
# could, two workers did 10 jobs a second each and a submit took up to 5 s. With short pauses,
# and one thread of a process trying at a time, it was 80 a second and 0.2 s.
TRY_S = (0.0005, 0.002)


# One lock per engine: the threads of a process do not compete for the file.
_WRITE_LOCKS: WeakKeyDictionary[Engine, threading.Lock] = WeakKeyDictionary()


@contextmanager
def write_lock(engine: Engine) -> Iterator[None]:
    """Let the calling thread write. Raises ``sqlite3.OperationalError``."""
    lock = _WRITE_LOCKS[engine]
    if not lock.acquire(timeout=BUSY_S):
        raise sqlite3.OperationalError("database is locked by another thread")
    try:
        yield
    finally:
        lock.release()


def open_sqlite(url: URL, durable: bool, **options: Any) -> Engine:
    """An engine for SQLite; ``options`` go to SQLAlchemy."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
        **options,
    )
    _WRITE_LOCKS[engine] = threading.Lock()

    @event.listens_for(engine, "do_connect")
    def make_room(*_: Any) -> None:
        # Where that fails, SQLite's own error is clearer.
        with suppress(OSError):
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Deleted data, above all vectors, are overwritten in the file.
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once beside another
        # writer, and cannot wait; so one that will write starts as a writer.
        driver: Any = connection.connection.dbapi_connection
        options = connection.get_execution_options()
        if options.get("writes", False):
            waits = durable or options.get("durable", False)
            driver.execute(f"PRAGMA synchronous={'FULL' if waits else 'NORMAL'}")
            _begin_writing(driver)
        else:
            driver.execute("BEGIN")

    return engine


def _begin_writing(driver: sqlite3.Connection) -> None:
    deadline = time.monotonic() + BUSY_S
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(*TRY_S))  # noqa: S311 - no secret
            else:
                return
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_S * 1000:.0f}")


# Seconds that writers are blocked while the log waits for the last reader.
TRUNCATE_S = 0.5


def truncate_log(driver: Any) -> None:
    """Write the log into the database's file and empty it, unless a reader prevents that."""
    driver.execute(f"PRAGMA busy_timeout={TRUNCATE_S * 1000:.0f}")
    try:
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_S * 1000:.0f}")
