"""Many rows with one statement.

PostgreSQL takes each column as an array: the statement is the same for any number of rows, is
prepared once, and costs a third of one with a parameter for each value. SQLite runs one prepared
statement row by row, without a round trip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Table,
    UpdateBase,
    bindparam,
    insert,
    text,
    update,
)

Rows = Sequence[Mapping[str, Any]]

_SEQUENCES = text("SELECT name, seq FROM sqlite_sequence")


def take_ids(connection: Connection, counts: Mapping[Column[int], int]) -> list[list[int]]:
    """For each column, a key that the database counts up, so many new values, rising. No row
    has had them or gets them later, whether or not this transaction, which writes, commits rows
    with them."""
    if connection.dialect.name == "sqlite":
        # Nobody else writes before this transaction ends.
        last = {row.name: row.seq for row in connection.execute(_SEQUENCES)}
        starts = [last.get(column.table.name, 0) + 1 for column in counts]
        return [
            list(range(start, start + count))
            for start, count in zip(starts, counts.values(), strict=True)
        ]
    taken = connection.exec_driver_sql(_next_values(tuple(counts)), tuple(counts.values())).one()
    return [sorted(ids) for ids in taken]


def insert_rows(connection: Connection, tables: Mapping[Table, Rows]) -> None:
    """Insert rows into tables, in an order in which none refers to a later one. Rows of one
    table have the same columns. Raises as ``Connection.execute``."""
    filled = {table: rows for table, rows in tables.items() if rows}
    if connection.dialect.name == "sqlite":
        for table, rows in filled.items():
            connection.execute(insert(table), rows)
    elif filled:
        columns = tuple((table, tuple(rows[0])) for table, rows in filled.items())
        arrays = (_arrays(table, names, filled[table]) for table, names in columns)
        connection.exec_driver_sql(_insert(columns), tuple(chain.from_iterable(arrays)))


def update_rows(
    connection: Connection, table: Table, keys: tuple[str, ...], rows: Rows
) -> None:
    """Set columns of the rows that ``keys``, columns among those of ``rows``, tell apart. All
    have the same columns. Raises as ``Connection.execute``."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "sqlite":
        connection.execute(
            _update_each(table, keys, names),
            [{f"new_{name}": row[name] for name in names} for row in rows],
        )
    else:
        connection.exec_driver_sql(_update(table, keys, names), _arrays(table, names, rows))


# Names of the schema alone go into the texts of statements.


@lru_cache
def _next_values(columns: tuple[Column[int], ...]) -> str:
    parts = (
        f"array(SELECT nextval(pg_get_serial_sequence('{each.table.name}', '{each.name}')) "  # noqa: S608
        "FROM generate_series(1, %s))"
        for each in columns
    )
    return f"SELECT {', '.join(parts)}"


@lru_cache
def _insert(columns: tuple[tuple[Table, tuple[str, ...]], ...]) -> str:
    """References are checked at the end of the statement, when all tables have their rows."""
    *others, last = (
        f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))}) "  # noqa: S608
        f"SELECT * FROM unnest({_parameters(table, names)})"
        for table, names in columns
    )
    parts = ", ".join(f"part{place} AS ({each})" for place, each in enumerate(others))
    return f"WITH {parts} {last}" if parts else last


@lru_cache
def _update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> str:
    changes = ", ".join(f"{_quoted(name)} = new.{name}" for name in names if name not in keys)
    same = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    return (
        f"UPDATE {table.name} SET {changes} "  # noqa: S608
        f"FROM unnest({_parameters(table, names)}) AS new ({', '.join(map(_quoted, names))}) "
        f"WHERE {same}"
    )


@lru_cache
def _update_each(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> UpdateBase:
    return (
        update(table)
        .where(*(table.c[name] == bindparam(f"new_{name}") for name in keys))
        .values({name: bindparam(f"new_{name}") for name in names if name not in keys})
    )


def _quoted(name: str) -> str:
    return f'"{name}"'


def _parameters(table: Table, names: Sequence[str]) -> str:
    return ", ".join(f"%b::{_array_kind(table.c[name])}[]" for name in names)


def _array_kind(column: Column[Any]) -> str:
    """The type of PostgreSQL in which a column's values travel. A text is not cut to its column's
    length: the column refuses it."""
    kinds = {
        JSON: "json", Float: "float8", Integer: "bigint", LargeBinary: "bytea", Boolean: "boolean",
    }
    return next((name for kind, name in kinds.items() if isinstance(column.type, kind)), "text")


def _arrays(table: Table, names: Sequence[str], rows: Rows) -> tuple[list[Any], ...]:
    return tuple(
        [None if row[name] is None else given(row[name]) for row in rows]
        for name in names for given in [_given(table.c[name])]
    )


def _given(column: Column[Any]) -> Callable[[Any], Any]:
    """Makes the values of one array alike: an int among floats is refused."""
    kinds: dict[type, Callable[[Any], Any]] = {JSON: _json, Float: float, Integer: int}
    return next((make for kind, make in kinds.items() if isinstance(column.type, kind)), _as_is)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _as_is(value: object) -> object:
    return value
