"""Migrating a database to the schema that this code needs.

The migrations are part of the package, so that an installed wheel migrates without a
configuration file. Alembic is imported only when there is something to do, as every command
checks. ``python -m pipeline.database.migrate "what changed"`` drafts the next migration from
the difference to ``schema.py``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text

from pipeline.database.engine import open_engine, reading, writing
from pipeline.database.schema import METADATA
from pipeline.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


def head() -> str:
    """The revision that this code needs: file names begin with ascending revisions."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))[:4]


def revision(engine: Engine) -> str | None:
    """The revision of the database; None when it is empty.

    Raises ``DatabaseUnavailable``.
    """
    with reading(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found = connection.execute(text("SELECT version_num FROM alembic_version"))
        return found.scalar_one_or_none()


def upgrade(engine: Engine) -> None:
    """Migrate the database to ``head()`` in one transaction. Of several processes that start
    at once, one migrates and the others wait.

    Raises ``DatabaseUnavailable``, or ``ConfigurationError`` when the database was created
    by another version of this code.
    """
    if revision(engine) == head():
        return
    with writing(engine) as connection:
        upgrade_within(connection)


def upgrade_within(connection: Connection, to: str = "head") -> None:
    """``upgrade`` to a revision as part of a transaction that writes, without limits on its
    time. Raises ``ConfigurationError``."""
    from alembic import command
    from alembic.util import CommandError

    if connection.dialect.name == "postgresql":
        from pipeline.database.postgres import prepare_migration

        prepare_migration(connection)
    try:
        command.upgrade(config_for(connection), to)
    except CommandError as error:
        raise ConfigurationError(
            f"The database was made by another version of faceline: {error}"
        ) from error


def make_anew(connection: Connection, to: str = "head") -> None:
    """Drop all tables, and make those of a revision, in a transaction that writes. Raises as
    ``upgrade_within``."""
    METADATA.drop_all(connection)
    connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    upgrade_within(connection, to)


def draft(message: str, folder: Path = MIGRATIONS) -> None:
    """Write a draft of the next migration into ``folder``, for review."""
    from alembic import command

    with tempfile.TemporaryDirectory() as scratch:
        engine = open_engine(f"sqlite:///{scratch}/draft.db")
        upgrade(engine)
        with writing(engine) as connection:
            number = f"{int(head()) + 1:04}"
            command.revision(
                config_for(connection, folder), message, autogenerate=True, rev_id=number
            )
        engine.dispose()


def config_for(connection: Connection | None = None, folder: Path = MIGRATIONS) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # ConfigParser takes a single % for the start of a substitution.
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return config


if __name__ == "__main__":
    draft(" ".join(sys.argv[1:]))
