"""Opening the database: SQLite for one machine, PostgreSQL for many."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from pipeline.errors import ConfigurationError, DatabaseUnavailable

# Seconds to wait for SQLite's one writer: a job's transaction takes under a
# millisecond, so that only a stuck process reaches this.
BUSY_S = 10

POOL_SIZE = 8
POOL_WAIT_S = 5


def open_engine(url: str, *, durable: bool = True) -> Engine:
    """An engine for ``url``.

    ``durable`` decides what SQLite does at a commit: True waits until the disk has
    it (whoever promises something to a client), False leaves that to the next durable
    commit (a worker, whose lost write costs one repetition of a job). PostgreSQL
    ignores it.

    Raises ``ConfigurationError`` for a URL of another database.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(url, durable)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=POOL_SIZE,
            max_overflow=POOL_SIZE,
            pool_timeout=POOL_WAIT_S,
            pool_pre_ping=True,
            connect_args={"connect_timeout": 5},
        )
    raise ConfigurationError(
        f"FACELINE_DATABASE_URL names {parsed.get_backend_name()!r}; "
        "use sqlite:///path or postgresql://..."
    )


def _open_sqlite(url: str, durable: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_WAIT_S,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for another
        # writer and fails at once; one that is to write says so at its start.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. Raises ``DatabaseUnavailable``."""
    with map_sql_errors(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; commits at the end. Raises ``DatabaseUnavailable``."""
    with (
        map_sql_errors(),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def map_sql_errors() -> Iterator[None]:
    """Translate what SQLAlchemy raises when the database is away or busy.

    Constraint violations pass: they are answers, handled where they are provoked.
    """
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        raise DatabaseUnavailable(f"The database does not answer: {error}") from error
