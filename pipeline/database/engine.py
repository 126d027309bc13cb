"""Opening the database: SQLite for one machine, PostgreSQL for many."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.pool import QueuePool

from pipeline.errors import ConfigurationError, DatabaseUnavailable, FaceError, InvalidParameter

# Seconds to wait for SQLite's one writer: a job's transaction takes under a
# millisecond, so that only a stuck process reaches this.
BUSY_S = 10

POOL_SIZE = 8
POOL_WAIT_S = 5


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# A result with 512 numbers costs the standard library's json 0.3 ms each way.
_SHARED: dict[str, Any] = {
    "pool_size": POOL_SIZE,
    "max_overflow": POOL_SIZE,
    "pool_timeout": POOL_WAIT_S,
    "json_serializer": _to_json,
    "json_deserializer": msgspec.json.decode,
}


def open_engine(url: str, *, durable: bool = True) -> Engine:
    """An engine for ``url``. Open it in the process that uses it: connections do not
    survive a fork.

    ``durable`` decides what a commit waits for: True waits until the disk has it
    (whoever promises something to a client), False leaves that to the next durable
    commit (a worker, whose lost write costs one repetition of a job).

    Raises ``ConfigurationError`` for a URL of another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("FACELINE_DATABASE_URL is not a database's URL") from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, durable)
    if parsed.get_backend_name() == "postgresql":
        # psycopg costs 60 ms at import; SQLite does without.
        from pipeline.database.postgres import open_postgres

        return open_postgres(parsed, durable, **_SHARED)
    raise ConfigurationError(
        f"FACELINE_DATABASE_URL names {parsed.get_backend_name()!r}; "
        "use sqlite:///path or postgresql://..."
    )


def _open_sqlite(url: URL, durable: bool) -> Engine:
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=POOL_SIZE,
        pool_timeout=POOL_WAIT_S,
        connect_args={"timeout": BUSY_S, "check_same_thread": False, "isolation_level": None},
        # Errors travel to logs: what was to be stored must not go with them.
        hide_parameters=True,
        json_serializer=_to_json,
        json_deserializer=msgspec.json.decode,
    )

    @event.listens_for(engine, "do_connect")
    def make_room(*_: Any) -> None:
        # Where that fails, SQLite's own error says it better.
        with suppress(OSError):
            Path(url.database or "").parent.mkdir(parents=True, exist_ok=True)

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
        driver: Any = connection.connection.dbapi_connection
        driver.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that only reads. Raises ``DatabaseUnavailable``."""
    with map_sql_errors(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that writes; commits at the end. Raises ``DatabaseUnavailable``,
    ``InvalidParameter`` for a value that the database cannot keep."""
    with (
        map_sql_errors(),
        engine.connect().execution_options(writes=True) as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def map_sql_errors() -> Iterator[None]:
    """Translate what SQLAlchemy and sqlite3 raise.

    Constraint violations pass: they are answers, handled where they are provoked.
    """
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, sqlite3.Error, UnicodeEncodeError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> FaceError:
    # A NUL in a text, half of a surrogate pair, a number out of range, NaN: no database
    # that comes back will take it.
    unstorable = isinstance(error, (DataError, UnicodeEncodeError)) or (
        isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    )
    if unstorable:
        return InvalidParameter("a value cannot be stored")
    return DatabaseUnavailable(f"The database does not answer: {error}")
