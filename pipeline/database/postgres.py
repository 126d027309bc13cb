"""Engines for PostgreSQL, with a limit on every wait."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.errors import OperationalError
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from sqlalchemy import URL, Connection, Engine, create_engine, event, text

from pipeline.database.server_time import is_known, learn_time

# Seconds. No statement of the service takes one. The server cancels longer ones; when it does
# not answer at all, the client gives up.
CONNECT_S = 4
STATEMENT_S = 6
ANSWER_S = 8.0

# Seconds for which the difference between the server's clock and this process's is taken as
# known. Clocks that are set right drift by a millisecond in that time.
FRESH_S = 30.0

# Keepalives detect a lost machine within 15 s.
KEEPALIVES = {
    "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}

# Any number, the same in every process that migrates one database.
MIGRATION_LOCK = 0x666163656C

Answer = TypeVar("Answer")


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A connection that gives up on a server that hangs; psycopg would wait forever."""

    answer_timeout_s: float | None = ANSWER_S

    pooled = False
    """Whether a pooler stands before the server: it may give each transaction another of its
    connections, so that nothing may be set or prepared for longer than a transaction."""

    def find_pooler(self) -> None:
        """Learn whether there is a pooler: its clients get process numbers of its own."""
        row = self.execute("SELECT pg_backend_pid()").fetchone()
        self.pooled = row is None or row[0] != self.pgconn.backend_pid
        if self.pooled:
            self.prepare_threshold = None

    def wait(
        self, gen: Generator[Any, Any, Answer], interval: float = 0.1,
        timeout: float | None = None,
    ) -> Answer:
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_s)
        except OperationalError:
            # The rest of the answer may come later, and must not be taken for the answer to
            # the next statement.
            if not self.closed and self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def open_postgres(url: URL, durable: bool, **options: Any) -> Engine:
    """An engine for PostgreSQL; ``options`` go to SQLAlchemy."""
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        # The conditional UPDATEs assume this, whatever the server's default is.
        isolation_level="READ COMMITTED",
        pool_pre_ping=True,
        connect_args={"connect_timeout": CONNECT_S, **KEEPALIVES},
        **options,
    )

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, args: Any, values: Any) -> Any:
        return BoundedConnection.connect(*args, **values)

    @event.listens_for(engine, "connect")
    def prepare(driver: BoundedConnection, _record: Any) -> None:
        driver.autocommit = True
        try:
            driver.find_pooler()
            if not driver.pooled:
                driver.execute(_set_limits(durable, for_transaction=False))
        finally:
            driver.autocommit = False

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.dbapi_connection
        waits = durable or connection.get_execution_options().get("durable", False)
        if driver.pooled and not driver.autocommit:
            connection.exec_driver_sql(_set_limits(waits, for_transaction=True))
        elif waits and not durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = on")
        if not is_known(engine, FRESH_S):
            learn_time(engine, connection)

    return engine


@contextmanager
def lock_limit(connection: Connection, seconds: float) -> Iterator[None]:
    """Within, no statement waits longer for a lock; afterwards the limit is that of every
    transaction. Raises what the statements raise."""
    connection.exec_driver_sql(_set({"lock_timeout": f"{seconds * 1000:.0f}ms"}))
    yield
    # Not its default: a session's own limit, or that of a transaction behind a pooler, is none.
    connection.exec_driver_sql(_set({"lock_timeout": f"{STATEMENT_S}s"}))


def _set_limits(durable: bool, *, for_transaction: bool) -> str:
    """The statement that sets the limits, for the session or for the present transaction."""
    values = {"statement_timeout": f"{STATEMENT_S}s", "lock_timeout": f"{STATEMENT_S}s"}
    if not durable:
        values["synchronous_commit"] = "off"
    return _set(values, for_transaction=for_transaction)


def _set(values: dict[str, str], *, for_transaction: bool = True) -> str:
    local = "true" if for_transaction else "false"
    return "SELECT " + ", ".join(
        f"set_config('{name}', '{value}', {local})" for name, value in values.items()
    )


def prepare_migration(connection: Connection) -> None:
    """Let one process at a time migrate, without time limits; the connection is not reused
    afterwards."""
    connection.detach()
    driver: Any = connection.connection.dbapi_connection
    driver.answer_timeout_s = None
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
