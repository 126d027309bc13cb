"""Prefixes of names are ranges of an index."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEX = "ix_faces_name_prefix"


def upgrade() -> None:
    # SQLite compares texts by their bytes: its index of names serves.
    if op.get_context().dialect.name == "postgresql":
        op.create_index(
            INDEX, "faces", ["tenant_id", "name", "id"],
            postgresql_ops={"name": "varchar_pattern_ops"},
        )


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.drop_index(INDEX, "faces")
