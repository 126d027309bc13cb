"""Whether the database takes writes now, and has room for more."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, text, update
from sqlalchemy.exc import ProgrammingError

from pipeline.database.engine import map_sql_errors, writing
from pipeline.database.schema import peppers
from pipeline.disk_space import is_no_space, require_room
from pipeline.errors import DatabaseFull

# A durable commit that changes nothing, in a table of one row.
_TOUCH = update(peppers).values(created_at=peppers.c.created_at)

# PostgreSQL finds room for small rows among deleted ones for a long time after its disk is full.
# A session's temporary table is emptied at each commit, so that its file must grow again. Its
# pages are not logged and its rows are too short to be compressed: half a megabyte.
_ROOM_TABLE = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS faceline_room (filler text) ON COMMIT DELETE ROWS"
)
_FILL_ROOM = text(
    "INSERT INTO pg_temp.faceline_room SELECT repeat('x', 1900) FROM generate_series(1, 256)"
)

# PostgreSQL's code for a role that may not do this.
_NOT_PERMITTED = "42501"


def probe_writes(engine: Engine) -> None:
    """Commit a write, and take room for a photo for a moment. Raises ``DatabaseUnavailable``,
    which is ``DatabaseFull`` when no space is left."""
    with writing(engine, durable=True) as connection:
        connection.execute(_TOUCH)
    probe_room(engine)


def probe_room(engine: Engine) -> None:
    """Take room for a photo for a moment, and change no table. Raises as ``probe_writes``."""
    if engine.dialect.name == "postgresql":
        _require_room_in_postgres(engine)
    elif engine.url.database:
        _require_room_beside(Path(engine.url.database))


def _require_room_in_postgres(engine: Engine) -> None:
    with map_sql_errors():
        try:
            with engine.begin() as connection:
                connection.execute(_ROOM_TABLE)
                connection.execute(_FILL_ROOM)
        except ProgrammingError as error:
            # A role without temporary tables learns of a full disk from the next real write.
            if getattr(error.orig, "sqlstate", None) != _NOT_PERMITTED:
                raise


def _require_room_beside(database: Path) -> None:
    try:
        require_room(database.parent)
    except OSError as error:
        if is_no_space(error):
            raise DatabaseFull(f"The database has no space left: {error}") from error
        # A folder in which no other file can be made still holds the database.
