"""PostgreSQL with pgvector as an index outside of the process.

Each space is a table of its own, with vectors of half precision, which a search compares all:
exact, by as many processes of the server as it grants. The heads are a table beside them, and a
head moves in the transaction that makes the change.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Float,
    MetaData,
    Table,
    Text,
    any_,
    cast,
    delete,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.schema import CreateSchema
from sqlalchemy.types import UserDefinedType

from pipeline.database.postgres import open_postgres
from pipeline.errors import ConfigurationError, IndexBehind
from pipeline.index.vector_engine import Space
from pipeline.types import Embedding, IndexEntry

SCHEMA = "faceline_vectors"

OLDEST = (0, 7)
"""The first version of pgvector with vectors of half precision."""

CONNECTIONS = 4
WAIT_S = 5  # for a free connection

SPACES_KEPT = 4096  # whose tables are described once

_SETUP_LOCK = 0x666C7665

_heads = Table(
    "heads", MetaData(schema=SCHEMA),
    Column("tenant_id", BigInteger, primary_key=True, autoincrement=False),
    Column("generation", Text, primary_key=True),
    Column("number", BigInteger, nullable=False),
)

# Transactions that may still see a row that the last change of a space has removed.
_OLDER_READERS = text(
    "SELECT count(*) FROM pg_stat_activity, (SELECT age(xmin) AS age FROM faceline_vectors.heads"
    " WHERE tenant_id = :tenant AND generation = :generation) AS last_change"
    " WHERE pid <> pg_backend_pid() AND age(backend_xmin) >= last_change.age"
)


class HalfVector(UserDefinedType[Any]):
    """pgvector's vectors of half precision; as a parameter in their text form."""

    cache_ok = True

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension

    def get_col_spec(self, **_: Any) -> str:
        return f"halfvec({self.dimension})"


class PgvectorEngine:
    """A ``VectorEngine`` (``pipeline/index/vector_engine.py``), which documents the methods."""

    name = "pgvector"

    def __init__(self, url: str) -> None:
        """Connects at the first call. Raises ``ConfigurationError`` for a URL that is none."""
        try:
            parsed = make_url(url).set(drivername="postgresql")
        except (ArgumentError, ValueError) as error:
            raise ConfigurationError("FACELINE_VECTOR_ENGINE_URL is not a URL") from error
        # Durable: a head that a crash takes back would promise what is not there.
        self._engine = open_postgres(
            parsed, True, pool_size=CONNECTIONS, max_overflow=CONNECTIONS, pool_timeout=WAIT_S,
            hide_parameters=True,
        )
        self._ready = False

    def describe(self) -> str:
        with self._errors(), self._engine.begin() as connection:
            version = _installed(connection) or _available(connection)
        _require(version)
        return f"{self.name} {'.'.join(map(str, version or ()))}"

    def heads(self) -> dict[Space, int]:
        with self._transaction() as connection:
            rows = connection.execute(select(_heads)).all()
        return {Space(row.tenant_id, row.generation): row.number for row in rows}

    def create(self, space: Space, dimension: int, number: int) -> None:
        table = _table(space, dimension)
        with self._transaction() as connection:
            table.create(connection)
            # In the row itself: a vector that is stored apart is fetched for each comparison.
            connection.execute(text(f"ALTER TABLE {table} ALTER vector SET STORAGE PLAIN"))
            connection.execute(insert(_heads).values(
                tenant_id=space.tenant_id, generation=space.generation, number=number
            ))

    def apply(
        self, space: Space, before: int, number: int, entries: Sequence[IndexEntry],
        gone: Collection[int],
    ) -> None:
        table = _table(space)
        with self._transaction() as connection:
            moved = connection.execute(
                update(_heads).where(*_is(space), _heads.c.number == before).values(number=number)
            )
            if moved.rowcount != 1:
                raise IndexBehind("Another process has changed this space of the vector engine.")
            replaced = [*gone, *(entry.label for entry in entries)]
            connection.execute(delete(table).where(table.c.label == any_(
                literal(replaced, ARRAY(BigInteger))
            )))
            _copy(connection, table, entries)

    def nearest(
        self, space: Space, probe: Embedding, k: int, collections: Collection[int] | None
    ) -> list[int]:
        table = _table(space, len(probe))
        # Of unit vectors the inner product is the cosine; pgvector's is negative.
        near = table.c.vector.op("<#>", return_type=Float())(
            cast(literal(_in_text(probe), Text), table.c.vector.type)
        )
        query = select(table.c.label).order_by(near, table.c.label).limit(k)
        if collections is not None:
            query = query.where(table.c.collections.overlap(list(collections)))
        with self._transaction() as connection:
            return list(connection.execute(query).scalars())

    def erase(self, space: Space) -> bool:
        with self._transaction() as connection:
            older = connection.execute(
                _OLDER_READERS, {"tenant": space.tenant_id, "generation": space.generation}
            )
            if older.scalar_one():
                return False
        with self._errors(), self._engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            driver: Any = connection.connection.dbapi_connection
            driver.answer_timeout_s = None
            alone.execute(text("SET statement_timeout = 0"))
            # FREEZE: pages that others are reading are waited for, and not left out.
            alone.execute(text(f"VACUUM (FREEZE) {_table(space)}"))
            connection.invalidate()  # nobody gets one without limits of time
        return True

    def size(self, space: Space) -> int:
        with self._transaction() as connection:
            query = text("SELECT pg_total_relation_size(to_regclass(:name))")
            found = connection.execute(query, {"name": str(_table(space))})
            return int(found.scalar_one() or 0)

    def drop(self, space: Space) -> None:
        with self._transaction() as connection:
            _table(space).drop(connection, checkfirst=True)
            connection.execute(delete(_heads).where(*_is(space)))

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._errors():
            if not self._ready:
                self._set_up()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            self._ready = False  # the database may have been made anew
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            raise IndexBehind(f"The vector engine does not answer: {reason}") from error

    def _set_up(self) -> None:
        """Make what is missing. Raises ``ConfigurationError`` without a usable pgvector."""
        with self._engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SETUP_LOCK})
            version = _installed(connection)
            _require(version or _available(connection))
            if version is None:
                connection.execute(text("CREATE EXTENSION vector"))
            connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
            _heads.create(connection, checkfirst=True)
        self._ready = True


def _installed(connection: Connection) -> tuple[int, ...] | None:
    return _version(connection, "SELECT extversion FROM pg_extension WHERE extname = 'vector'")


def _available(connection: Connection) -> tuple[int, ...] | None:
    return _version(
        connection, "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
    )


def _version(connection: Connection, query: str) -> tuple[int, ...] | None:
    found = connection.execute(text(query)).scalar()
    return None if found is None else tuple(int(part) for part in str(found).split("."))


def _require(version: tuple[int, ...] | None) -> None:
    if version is None or version < OLDEST:
        had = "no pgvector" if version is None else f"pgvector {'.'.join(map(str, version))}"
        raise ConfigurationError(
            f"the server of FACELINE_VECTOR_ENGINE_URL has {had}: "
            f"{'.'.join(map(str, OLDEST))} or later is needed"
        )


def _copy(connection: Connection, table: Table, entries: Sequence[IndexEntry]) -> None:
    """Insert entries by COPY in its binary form, into which numpy brings a vector at once."""
    if not entries:
        return
    driver: Any = connection.connection.dbapi_connection
    with driver.cursor() as cursor, cursor.copy(
        f"COPY {table} (label, collections, vector) FROM STDIN (FORMAT BINARY)"
    ) as copy:
        # The server reads what pgvector sends, which the driver passes on as bytes.
        copy.set_types(["int8", "int8[]", "bytea"])
        for entry in entries:
            vector = np.asarray(entry.vector)
            half = struct.pack("!hh", len(vector), 0) + vector.astype(">f2").tobytes()
            copy.write_row((entry.label, sorted(entry.collections), half))


@lru_cache(SPACES_KEPT)
def _table(space: Space, dimension: int = 1) -> Table:
    """The table of a space, whose vectors have this dimension where that matters."""
    return Table(
        f"t{space.tenant_id}_{int(space.generation, 16):x}", MetaData(schema=SCHEMA),
        Column("label", BigInteger, primary_key=True, autoincrement=False),
        Column("collections", ARRAY(BigInteger), nullable=False),
        Column("vector", HalfVector(dimension), nullable=False),
    )


def _is(space: Space) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _heads.c.tenant_id == space.tenant_id, _heads.c.generation == space.generation


def _in_text(vector: Embedding) -> str:
    """pgvector's text form."""
    return f"[{','.join(map(str, vector.tolist()))}]"
