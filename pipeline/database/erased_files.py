"""Removing deleted rows from the files of a database, and telling when that is done.

SQLite overwrites deleted rows in its file and keeps them in its log until that is emptied.
PostgreSQL keeps the versions that no transaction can see any more until VACUUM removes them.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Engine, text

from pipeline.database.engine import map_sql_errors, purge_deleted_data, read_values, reading
from pipeline.database.schema import (
    batch_items,
    faces,
    images,
    jobs,
    other_vectors,
    used_clips,
    vectors,
)
from pipeline.database.sqlite import truncate_log

TABLES = (vectors, other_vectors, faces, images, used_clips, jobs, batch_items)
"""The tables that hold something of a person."""

_OLDER_READERS = text(
    "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL"
    " AND xact_start < to_timestamp(:since) AND pid <> pg_backend_pid()"
)

_LAST_VACUUM = text(
    "SELECT extract(epoch FROM min(coalesce(greatest(last_vacuum, last_autovacuum),"
    " 'epoch')))::float8 FROM pg_stat_user_tables WHERE relname = ANY(:names)"
    " AND schemaname = current_schema()"
)


def erase_from_files(engine: Engine, since: float, clock: Callable[[], float]) -> float:
    """Remove what was deleted until ``since`` (epoch s) from the files; returns the moment
    before which all that was deleted is gone. Raises ``DatabaseUnavailable``."""
    now = clock()
    if engine.dialect.name == "sqlite":
        with map_sql_errors(), engine.connect() as connection:
            emptied = truncate_log(connection.connection.dbapi_connection)
        return now if emptied else float("-inf")
    done = _vacuumed_at(engine)
    if done >= since:
        return done
    with reading(engine) as connection:
        if connection.execute(_OLDER_READERS, {"since": since}).scalar_one():
            return done
    purge_deleted_data(engine, *TABLES)
    return now


def _vacuumed_at(engine: Engine) -> float:
    names = [str(table.name) for table in TABLES]
    found: list[float | None] = read_values(engine, _LAST_VACUUM, {"names": names})  # type: ignore[arg-type]
    return found[0] or 0.0
