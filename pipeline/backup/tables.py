"""Rows of a database as parts of a backup, and back, on SQLite and PostgreSQL alike.

A part is a zlib-compressed msgpack array of rows, in the order of the table's key. Where a part
ends depends on the rows themselves, so that rows that did not change make the same parts again,
which a backup then has already.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Table, column, func, insert, select, table, text, true
from sqlalchemy.exc import DBAPIError

from pipeline.backup.manifest import BlobRef, TableCopy
from pipeline.database.schema import METADATA, data_keys, operator_sessions
from pipeline.encryption.data_keys import KeyState
from pipeline.errors import BackupUnusable

# Made anew by the service, of no use elsewhere, or about what the copy does not hold: the index
# reads a gallery without snapshots from the database.
# A restored sign-in link would work again. Refused pictures show people who are not in the gallery:
# there are no more copies than it takes.
LEFT_OUT = frozenset({
    "changes", "snapshots", "discarded", "index_positions", "index_states", "pack_tasks",
    "processes", "refused_pictures", "sign_in_links", "vector_spaces",
})

_COPIED_ROWS = {operator_sessions: operator_sessions.c.program.is_not(None)}
"""The rows that are copied of some tables: people sign in again, programs cannot."""

# Rows read at a time, and inserted at a time.
READ_ROWS = 500
INSERT_ROWS = 500

# A part ends after a row whose key says so, one in about a thousand, or at this size.
END_MASK = 0x3FF
PART_BYTES = 4 * 1024 * 1024

COMPRESSION = 1
"""zlib's level: most of a database are vectors, which no level compresses."""

Rows = Sequence[Sequence[Any]]


def copied_tables() -> list[Table]:
    """The tables of a copy, each after those that it refers to."""
    return [each for each in METADATA.sorted_tables if each.name not in LEFT_OUT]


def read_table(connection: Connection, source: Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table in order of its key. Data keys are left out: they are kept apart, and
    the rows say that there was one."""
    key = list(source.primary_key)
    rows = select(source).where(_COPIED_ROWS.get(source, true())).order_by(*key)
    found = connection.execute(rows, execution_options={"yield_per": READ_ROWS})
    for row in found:
        yield _without_key(row) if source is data_keys else tuple(row)


def _without_key(row: Any) -> tuple[Any, ...]:
    values = {**row._mapping, "wrapped": None, "state": KeyState.DESTROYED.value}
    return tuple(values[each.name] for each in data_keys.c)


def export_table(
    connection: Connection, source: Table, put: Callable[[bytes], BlobRef]
) -> TableCopy:
    """Copy a table in parts, each of which goes to ``put``."""
    places = [list(source.c).index(each) for each in source.primary_key]
    rows = read_table(connection, source)
    parts, count = [], 0
    for packed, number in pack_rows(rows, lambda row: [row[place] for place in places]):
        parts.append(put(packed))
        count += number
    return TableCopy([str(each.name) for each in source.c], count, parts)


def pack_rows(
    rows: Iterator[tuple[Any, ...]], key: Callable[[tuple[Any, ...]], object]
) -> Iterator[tuple[bytes, int]]:
    """Parts of rows, and how many rows each has."""
    encoder = msgspec.msgpack.Encoder()
    part: list[msgspec.Raw] = []
    size = 0
    for row in rows:
        encoded = encoder.encode(row)
        part.append(msgspec.Raw(encoded))
        size += len(encoded)
        ends = zlib.crc32(encoder.encode(key(row))) & END_MASK == 0
        if ends or size >= PART_BYTES:
            yield _packed(part), len(part)
            part, size = [], 0
    if part:
        yield _packed(part), len(part)


def _packed(part: list[msgspec.Raw]) -> bytes:
    return zlib.compress(msgspec.msgpack.encode(part), COMPRESSION)


def unpack_rows(data: bytes) -> list[list[Any]]:
    """The rows of a part. Raises ``BackupUnusable``."""
    try:
        rows: list[list[Any]] = msgspec.msgpack.decode(zlib.decompress(data), type=list[list[Any]])
    except (zlib.error, msgspec.DecodeError) as error:
        raise BackupUnusable(f"A part of the backup cannot be read: {error}") from error
    return rows


def insert_rows(connection: Connection, name: str, columns: Sequence[str], rows: Rows) -> None:
    """Insert rows into a table that has at least these columns, of whichever revision. Raises
    ``BackupUnusable`` for a table or column that this version does not know."""
    known = METADATA.tables.get(name)
    if known is None or not set(columns) <= set(known.c.keys()):
        raise BackupUnusable(f"This version knows no table {name} with these columns.")
    # Without the schema's defaults: an older table may not have their columns yet.
    target = table(name, *(column(each, known.c[each].type) for each in columns))
    for start in range(0, len(rows), INSERT_ROWS):
        some = rows[start : start + INSERT_ROWS]
        connection.execute(insert(target), [dict(zip(columns, row, strict=True)) for row in some])


# Assigned ids ----------------------------------------------------------------------------


def read_sequences(connection: Connection) -> dict[str, int]:
    """The highest id ever assigned in each table that assigns ids."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(text("SELECT name, seq FROM sqlite_sequence"))
        return {name: int(last) for name, last in found}
    read = text("SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence(:t, :c) AS regclass))")
    last = {
        key.table.name: connection.execute(read, {"t": key.table.name, "c": key.name}).scalar()
        for key in _assigned_columns()
    }
    return {name: int(number) for name, number in last.items() if number is not None}


def write_sequences(connection: Connection, last: dict[str, int], gap: int = 0) -> None:
    """Have the database assign ids above ``last`` and ``gap`` more, so that none is assigned
    twice."""
    for key in _assigned_columns():
        name = key.table.name
        highest = connection.execute(select(func.max(key))).scalar() or 0
        number = max(last.get(name, 0), highest)
        if number:
            _write_sequence(connection, key, number + gap)


def _write_sequence(connection: Connection, key: Column[Any], number: int) -> None:
    name = key.table.name
    if connection.dialect.name == "sqlite":
        connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": name})
        write = text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :number)")
        connection.execute(write, {"name": name, "number": number})
    else:
        write = text("SELECT setval(CAST(pg_get_serial_sequence(:t, :c) AS regclass), :number)")
        connection.execute(write, {"t": name, "c": key.name, "number": number})


def _assigned_columns() -> list[Column[Any]]:
    """The columns whose values the database assigns."""
    found = (each.autoincrement_column for each in copied_tables())
    return [key for key in found if key is not None]


def is_empty(connection: Connection) -> bool:
    """Whether a database holds no application: it is new, or has no tables."""
    try:
        with connection.begin_nested():
            return connection.execute(text("SELECT 1 FROM tenants LIMIT 1")).first() is None
    except DBAPIError:
        return True
