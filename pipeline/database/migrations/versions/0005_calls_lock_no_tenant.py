"""Calls that change no gallery do not wait for the tenant's row."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

TABLES = ("jobs", "usage", "challenges", "used_clips")


def upgrade() -> None:
    # SQLite has no locks on rows.
    if op.get_context().dialect.name == "postgresql":
        for table in TABLES:
            op.drop_constraint(f"fk_{table}_tenant_id", table, type_="foreignkey")


def downgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        for table in TABLES:
            op.create_foreign_key(
                f"fk_{table}_tenant_id", table, "tenants", ["tenant_id"], ["id"],
                ondelete="CASCADE",
            )
