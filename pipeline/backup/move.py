"""Moving a deployment to another database and media store, with all its ids.

The service is stopped meanwhile. The source stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, func, select

from pipeline.backup.media_copy import Report, copy_objects, named_objects
from pipeline.backup.restore import MARK, DeploymentNotEmpty
from pipeline.backup.tables import (
    INSERT_ROWS,
    copied_tables,
    insert_rows,
    is_empty,
    read_sequences,
    write_sequences,
)
from pipeline.database.engine import snapshot, writing
from pipeline.database.migrate import make_anew
from pipeline.database.schema import METADATA
from pipeline.errors import DatabaseUnavailable
from pipeline.media.base import MediaStore
from pipeline.storage_keys import TENANTS_PREFIX, plain_name, restore_marker

MOVE = "move"
"""The id of a move's mark in the media store."""


@dataclass(frozen=True, slots=True)
class MoveReport:
    """How many ``rows`` of each table were moved, and which objects were ``missing``."""

    rows: dict[str, int]
    objects: int
    missing: tuple[str, ...]


def move(
    source: tuple[Engine, MediaStore], target: tuple[Engine, MediaStore], report: Report
) -> MoveReport:
    """Copy everything from one pair of stores to the other, which is empty or has the beginning
    of an interrupted move. Raises ``DeploymentNotEmpty``, ``DatabaseUnavailable``,
    ``MediaUnavailable``."""
    (engine, media), (target_engine, target_media) = source, target
    mark = restore_marker(MOVE, plain_name(MARK))
    target_media.prepare()
    with writing(target_engine) as connection:
        if not is_empty(connection):
            raise DeploymentNotEmpty("The target database holds applications already.")
    there = next(iter(target_media.walk(TENANTS_PREFIX)), None)
    if there is not None and not target_media.exists(mark):
        raise DeploymentNotEmpty("The target media store holds objects already.")
    target_media.put(mark, MARK)
    with snapshot(engine) as reader:
        keys = named_objects(reader, media)
        missing = copy_objects(keys, media, target_media, report)
        with writing(target_engine, durable=True) as writer:
            rows = _move_tables(reader, writer, report)
    target_media.delete(mark)
    return MoveReport(rows, len(keys) - len(missing), tuple(missing))


def _move_tables(reader: Connection, writer: Connection, report: Report) -> dict[str, int]:
    make_anew(writer)
    chosen = copied_tables()
    counts = {}
    for number, table in enumerate(chosen, 1):
        columns = [each.name for each in table.c]
        found = reader.execute(
            select(table).order_by(*table.primary_key),
            execution_options={"yield_per": INSERT_ROWS},
        )
        for rows in found.partitions():
            insert_rows(writer, table.name, columns, rows)
        counts[table.name] = _compare(reader, writer, table.name)
        report(f"Table {table.name}", number, len(chosen))
    write_sequences(writer, read_sequences(reader))
    return counts


def _compare(reader: Connection, writer: Connection, name: str) -> int:
    """The number of rows of a table, which is the same on both sides."""
    counted = select(func.count()).select_from(METADATA.tables[name])
    before, after = reader.execute(counted).scalar_one(), writer.execute(counted).scalar_one()
    if before != after:
        raise DatabaseUnavailable(f"Of {before} rows of {name} {after} arrived.")
    return int(after)
