"""Alembic's entry: runs the migrations on the connection it is given."""

from __future__ import annotations

from alembic import context

from pipeline.database.schema import METADATA

CONNECTION = context.config.attributes["connection"]


def _is_made_here(item: object, *_: object) -> bool:
    """Whether a part of the schema is made on this database: some are for one only."""
    only = getattr(item, "_ddl_if", None)
    return only is None or only.dialect == CONNECTION.dialect.name


context.configure(
    connection=CONNECTION,
    target_metadata=METADATA,
    include_object=_is_made_here,
    # SQLite cannot alter a table: Alembic copies it instead.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
