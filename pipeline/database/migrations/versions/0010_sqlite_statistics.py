"""What SQLite's planner is to believe about the tables that grow.

Without statistics it takes an application or a batch to have ten rows, and reads all of
them where an index finds the few that are asked for: then an item costs the more the more
there are. Statistics gathered by ANALYZE are those of the day on which it was run, on most
days long before the gallery was large; PostgreSQL gathers its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = ("images", "faces", "vectors", "changes", "bindings", "batch_items")

# Rows of a table, and those that share a value of a column, or of it and those before it
# in an index; of other columns hardly two rows share one.
ROWS = 1_000_000
SHARED = {"tenant_id": 200_000, "batch_id": 100_000, "collection_id": 20_000, "state": 50_000}


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    op.execute("ANALYZE tenants")  # makes the table of statistics
    for table in TABLES:
        _forget(connection, table)
        for index, columns in _indexes(connection, table).items():
            connection.execute(
                sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"),
                {"tbl": table, "idx": index, "stat": _statistic(columns)},
            )
    op.execute("ANALYZE sqlite_master")  # this connection reads them, too


def _indexes(connection: sa.Connection, table: str) -> dict[str, list[str]]:
    """The columns of each index. The primary key of a table without row numbers is
    recorded under the table's name."""
    found = {}
    for row in connection.execute(sa.text(f"PRAGMA index_list({table})")).all():
        columns = connection.execute(sa.text(f"PRAGMA index_info({row.name})")).all()
        found[table if row.origin == "pk" else row.name] = [column.name for column in columns]
    return found


def _statistic(columns: list[str]) -> str:
    numbers = [SHARED.get(column, 1) for column in columns]
    least = [min(numbers[: place + 1]) for place in range(len(numbers))]
    return " ".join(map(str, [ROWS, *least]))


def _forget(connection: sa.Connection, table: str) -> None:
    connection.execute(sa.text("DELETE FROM sqlite_stat1 WHERE tbl = :tbl"), {"tbl": table})


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for table in TABLES:
            _forget(connection, table)
