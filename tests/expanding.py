"""Whether one schema is an expansion of another: what worked on the former works on the latter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Engine,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    inspect,
    select,
)

VERSION_TABLE = "alembic_version"


def reflect(engine: Engine) -> MetaData:
    """The tables that a database has now."""
    found = MetaData()
    found.reflect(engine)
    found.remove(found.tables[VERSION_TABLE])
    return found


def contractions(before: MetaData, after: MetaData) -> Iterator[str]:
    """What code for ``before`` would miss in ``after``, or what would refuse its rows."""
    for name, table in before.tables.items():
        if name not in after.tables:
            yield f"{name} is gone"
            continue
        yield from _contracted_columns(table, after.tables[name])
        yield from (
            f"{name} has a new constraint on {sorted(columns)}"
            for columns in _unique(after.tables[name]) - _unique(table)
            if columns <= set(table.columns.keys())
        )
        for key in _referring(after.tables[name]) - _referring(table):
            if key[0] in table.columns:
                yield f"{name}.{key[0]} refers to {key[1]} now"


def _contracted_columns(before: Table, after: Table) -> Iterator[str]:
    for column in before.columns:
        now = after.columns.get(column.name)
        if now is None:
            yield f"{before.name}.{column.name} is gone"
        elif str(now.type) != str(column.type):
            yield f"{before.name}.{column.name} is {now.type}, not {column.type}"
        elif column.nullable and not now.nullable:
            yield f"{before.name}.{column.name} must be given"
    for column in after.columns:
        given = column.nullable or column.server_default is not None
        if column.name not in before.columns and not given:
            yield f"{before.name}.{column.name} is new and must be given"


def _unique(table: Table) -> set[frozenset[str]]:
    found = inspect(table)
    indexes = [index.columns for index in found.indexes if index.unique]
    constraints = [
        each.columns for each in found.constraints if each.__visit_name__ == "unique_constraint"
    ]
    return {frozenset(column.name for column in each) for each in [*indexes, *constraints]}


def _referring(table: Table) -> set[tuple[str, str]]:
    return {(key.parent.name, key.target_fullname) for key in table.foreign_keys}


def use(connection: Connection, tables: MetaData) -> None:
    """Write, read, change and delete a row of each table by statements that name its columns."""
    for table in tables.sorted_tables:
        row = {column.name: _value(column) for column in table.columns}
        connection.execute(table.insert().values(row))
        assert len(connection.execute(select(table)).all()) == 1
        plain = {
            name: value for name, value in row.items()
            if name not in table.primary_key.columns and not table.columns[name].foreign_keys
        }
        if plain:
            assert connection.execute(table.update().values(plain)).rowcount == 1
    for table in reversed(tables.sorted_tables):
        connection.execute(table.delete())


def _value(column: Any) -> object:
    match column.type:
        case Boolean():
            return False
        case Integer():
            return 1
        case Float():
            return 1.0
        case LargeBinary():
            return b"x"
        case JSON():
            return {}
        case String():
            return "1"
    raise AssertionError(f"a column of type {column.type}")
