"""Engines for SQLite: one writer at a time, fair waiting, deleted data overwritten."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
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


class _CommitLog:
    """The write-ahead log of a database, synced to the disk once for all threads that wait
    for their commits. Another process that checkpoints it has synced it before."""

    def __init__(self, database: str) -> None:
        self._path = f"{database}-wal"
        self._folder = str(Path(database).parent)
        self._counting, self._syncing = threading.Lock(), threading.Lock()
        self._commits = self._synced = 0
        self._inode = 0

    def sync(self) -> None:
        """Return when the commits before this call are on the disk. Raises
        ``sqlite3.OperationalError``."""
        with self._counting:
            self._commits += 1
            mine = self._commits
        with self._syncing:
            if self._synced >= mine:
                return
            upto = self._commits
            try:
                self._sync_file()
            except FileNotFoundError:
                pass  # the last connection has moved it into the database
            except OSError as error:
                raise sqlite3.OperationalError(f"the log cannot be synced: {error}") from error
            self._synced = upto

    def _sync_file(self) -> None:
        file = os.open(self._path, os.O_RDONLY)
        try:
            os.fdatasync(file)
            inode = os.fstat(file).st_ino
        finally:
            os.close(file)
        if inode != self._inode:  # a new log: its name must be on the disk, too
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            self._inode = inode


@dataclass(frozen=True, slots=True)
class _Writers:
    """The turns of an engine's threads, which do not compete for the file."""

    log: _CommitLog
    durable: bool
    lock: threading.Lock = field(default_factory=threading.Lock)


_WRITERS: WeakKeyDictionary[Engine, _Writers] = WeakKeyDictionary()


@contextmanager
def write_turn(engine: Engine, *, durable: bool) -> Iterator[None]:
    """Let the calling thread write; wait for the disk when this or the engine is ``durable``.
    The others write meanwhile: a sync takes ten times as long as a transaction. Raises
    ``sqlite3.OperationalError``."""
    writers = _WRITERS[engine]
    if not writers.lock.acquire(timeout=BUSY_S):
        raise sqlite3.OperationalError("database is locked by another thread")
    try:
        yield
    finally:
        writers.lock.release()
    if durable or writers.durable:
        writers.log.sync()


def open_sqlite(url: URL, durable: bool, **options: Any) -> Engine:
    """An engine for SQLite; ``options`` go to SQLAlchemy."""
    engine = create_engine(
        url,
        poolclass=QueuePool,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
        **options,
    )
    _WRITERS[engine] = _Writers(_CommitLog(url.database or ""), durable)

    @event.listens_for(engine, "do_connect")
    def make_room(*_: Any) -> None:
        # Where that fails, SQLite's own error is clearer.
        with suppress(OSError):
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        # Of several processes that open a new database, each waits for the others' locks on it,
        # and SQLite refuses at once where waiting could be for ever.
        _patiently(connection, "PRAGMA journal_mode=WAL")
        # A commit does not wait for the disk under the write lock: ``write_turn`` does, after it.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")
        # Deleted data, above all vectors, are overwritten in the file.
        connection.execute("PRAGMA secure_delete=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once beside another
        # writer, and cannot wait; so one that will write starts as a writer.
        driver: Any = connection.connection.dbapi_connection
        if connection.get_execution_options().get("writes", False):
            _patiently(driver, "BEGIN IMMEDIATE")
        else:
            driver.execute("BEGIN")

    return engine


def _patiently(driver: sqlite3.Connection, statement: str) -> None:
    """Execute ``statement``, which needs a lock, with short pauses while another holds it.
    Raises ``sqlite3.OperationalError`` after ``BUSY_S``."""
    deadline = time.monotonic() + BUSY_S
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                driver.execute(statement)
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


def truncate_log(driver: Any) -> bool:
    """Write the log into the database's file and empty it; False when a reader prevents that."""
    driver.execute(f"PRAGMA busy_timeout={TRUNCATE_S * 1000:.0f}")
    try:
        busy, _, _ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        driver.execute(f"PRAGMA busy_timeout={BUSY_S * 1000:.0f}")
    return not busy
