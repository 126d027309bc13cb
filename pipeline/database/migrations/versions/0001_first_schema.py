"""All tables, as of the first release.

Until that release they are described in ``schema.py`` alone. The first change after it writes
them out here, as the release has them, and adds the second migration.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from pipeline.database.schema import METADATA

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite's planner, without statistics, takes a tenant or a batch to have ten rows and scans
# all of them where an index finds the few that are asked for. ANALYZE would record the sizes
# of the day it runs, usually before the gallery has grown. PostgreSQL gathers its own.
GROWING_TABLES = ("images", "faces", "vectors", "changes", "bindings", "batch_items")
ASSUMED_ROWS = 1_000_000
# Rows that share a value of a column; of other columns hardly two rows share one.
ROWS_PER_VALUE = {
    "tenant_id": 200_000, "batch_id": 100_000, "collection_id": 20_000, "state": 50_000,
}


def upgrade() -> None:
    METADATA.create_all(op.get_bind())
    if op.get_bind().dialect.name == "sqlite":
        _write_sqlite_statistics()


def _write_sqlite_statistics() -> None:
    connection = op.get_bind()
    op.execute("ANALYZE tenants")  # creates sqlite_stat1
    for table in GROWING_TABLES:
        for row in connection.execute(sa.text(f"PRAGMA index_list({table})")).all():
            columns = connection.execute(sa.text(f"PRAGMA index_info({row.name})")).all()
            numbers = [ROWS_PER_VALUE.get(column.name, 1) for column in columns]
            least = [min(numbers[: place + 1]) for place in range(len(numbers))]
            connection.execute(
                sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"),
                {
                    # The primary key of a table without row numbers has the table's name.
                    "tbl": table, "idx": table if row.origin == "pk" else row.name,
                    "stat": " ".join(map(str, [ASSUMED_ROWS, *least])),
                },
            )
    op.execute("ANALYZE sqlite_master")  # makes this connection read the statistics


def downgrade() -> None:
    METADATA.drop_all(op.get_bind())
