"""Opening the database: SQLite for one machine, PostgreSQL for many."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar, TypeVarTuple

import msgspec
from sqlalchemy import Connection, Engine, Row, Select, Table, UpdateBase, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from pipeline.database.sqlite import open_sqlite, truncate_log, write_turn
from pipeline.disk_space import is_no_space
from pipeline.errors import (
    ConfigurationError,
    DatabaseFull,
    DatabaseUnavailable,
    FaceError,
    InvalidParameter,
)
from pipeline.metrics.stores import StoreCall

Value = TypeVar("Value")
Columns = TypeVarTuple("Columns")
Parameters = Mapping[str, object] | None

# How PostgreSQL and SQLite say that their disk is full. SQLite's file of shared memory beside
# the database grows when it is opened: that it cannot has one cause.
POSTGRES_DISK_FULL = "53100"
SQLITE_DISK_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)

POOL_SIZE = 8
POOL_WAIT_S = 5


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# The standard library's json takes 0.3 ms each way for a result with 512 numbers.
_SHARED: dict[str, Any] = {
    "pool_size": POOL_SIZE,
    "max_overflow": POOL_SIZE,
    "pool_timeout": POOL_WAIT_S,
    # Errors are logged, and stored values must not be.
    "hide_parameters": True,
    "json_serializer": _to_json,
    "json_deserializer": msgspec.json.decode,
}


def open_engine(url: str, *, durable: bool = True) -> Engine:
    """An engine for ``url``. Open it in the process that uses it: connections do not
    survive a fork.

    With ``durable`` a commit waits until it is on disk, as is needed before a promise to a client.
    Without, a later durable commit takes it along: a worker's lost write only repeats a job.

    Raises ``ConfigurationError`` for a URL of another database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise ConfigurationError("FACELINE_DATABASE_URL is not a database's URL") from error
    if parsed.get_backend_name() == "sqlite":
        return open_sqlite(parsed, durable, **_SHARED)
    if parsed.get_backend_name() == "postgresql":
        # Importing psycopg takes 60 ms, which SQLite saves.
        from pipeline.database.postgres import open_postgres

        return open_postgres(parsed, durable, **_SHARED)
    raise ConfigurationError(
        f"FACELINE_DATABASE_URL names {parsed.get_backend_name()!r}; "
        "use sqlite:///path or postgresql://..."
    )


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction. Raises ``DatabaseUnavailable``."""
    with (
        StoreCall("database", "read"), map_sql_errors(), engine.connect() as connection,
        connection.begin(),
    ):
        yield connection


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """A read-only transaction whose statements all see the database as of the first one, while
    others write. Raises ``DatabaseUnavailable``."""
    with map_sql_errors(), engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        with connection.begin():
            yield connection


def read_rows(
    engine: Engine, query: Select[*Columns], parameters: Parameters = None
) -> Sequence[Row[*Columns]]:
    """The rows of one query, in a transaction of its own. Raises ``DatabaseUnavailable``."""
    with reading(engine) as connection:
        return connection.execute(query, parameters).all()


def read_row(
    engine: Engine, query: Select[*Columns], parameters: Parameters = None
) -> Row[*Columns] | None:
    """The only row of a query, None when there is none. Raises as ``read_rows``."""
    with reading(engine) as connection:
        return connection.execute(query, parameters).one_or_none()


def read_values(
    engine: Engine, query: Select[Value], parameters: Parameters = None
) -> list[Value]:
    """The values of a query's one column. Raises as ``read_rows``."""
    with reading(engine) as connection:
        return list(connection.execute(query, parameters).scalars())


@contextmanager
def writing(engine: Engine, *, durable: bool = False) -> Iterator[Connection]:
    """A transaction that writes. Commits at the end, and waits for the disk when it or the
    engine is ``durable``. Raises ``DatabaseUnavailable``, and ``InvalidParameter`` for a
    value that the database cannot store."""
    with (
        StoreCall("database", "write"),
        map_sql_errors(),
        write_turn(engine, durable=durable) if engine.dialect.name == "sqlite" else nullcontext(),
        engine.connect().execution_options(writes=True, durable=durable) as connection,
        connection.begin(),
    ):
        yield connection


def change_rows(engine: Engine, change: UpdateBase, *, durable: bool = False) -> int:
    """Carry out one change in a transaction of its own; how many rows it changed. Raises as
    ``writing``."""
    with writing(engine, durable=durable) as connection:
        return connection.execute(change).rowcount


def purge_deleted_data(engine: Engine, *vacuum: Table) -> None:
    """Remove deleted data from the files. SQLite keeps them in its log until that is
    overwritten. PostgreSQL removes them by VACUUM, which it runs by itself, and which this
    runs at once on the tables in ``vacuum``. Raises ``DatabaseUnavailable``."""
    with map_sql_errors(), engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            truncate_log(connection.connection.dbapi_connection)
            return
        alone = connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in vacuum:
            alone.execute(text(f"VACUUM {table.name}"))


@contextmanager
def map_sql_errors() -> Iterator[None]:
    """Translate the errors of SQLAlchemy and sqlite3.

    ``IntegrityError`` passes: callers that provoke it handle it.
    """
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, sqlite3.Error, UnicodeEncodeError) as error:
        raise _translated(error) from error


def _translated(error: Exception) -> FaceError:
    # A NUL in a text, half of a surrogate pair, a number out of range, NaN: a retry will not help.
    unstorable = isinstance(error, (DataError, UnicodeEncodeError)) or (
        isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    )
    if unstorable:
        return InvalidParameter("a value cannot be stored")
    # The driver's message, without what SQLAlchemy adds.
    cause = getattr(error, "orig", None) or error
    reason = str(cause).strip().partition("\n")[0]
    if _is_full(cause):
        return DatabaseFull(f"The database has no space left: {reason}")
    return DatabaseUnavailable(f"The database does not answer: {reason}")


def _is_full(cause: BaseException) -> bool:
    """Whether a driver's error says that the disk is full."""
    return (
        getattr(cause, "sqlstate", None) == POSTGRES_DISK_FULL
        or getattr(cause, "sqlite_errorcode", None) in SQLITE_DISK_FULL
        or is_no_space(cause.__cause__)
    )
