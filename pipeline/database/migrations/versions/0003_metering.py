"""Limits and permissions of tenants, and what they use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("tenants", sa.Column("limits", JSON, nullable=True))
    op.add_column("tenants", sa.Column("permissions", JSON, nullable=True))
    op.add_column("credentials", sa.Column("permissions", JSON, nullable=True))
    op.add_column("jobs", sa.Column("charged_on", sa.String(10), nullable=True))
    _make_usage()


def downgrade() -> None:
    op.drop_table("usage")
    op.drop_column("jobs", "charged_on")
    op.drop_column("credentials", "permissions")
    op.drop_column("tenants", "permissions")
    op.drop_column("tenants", "limits")


def _make_usage() -> None:
    zero = sa.text("0")
    op.create_table(
        "usage",
        sa.Column("tenant_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("period", sa.String(10), nullable=False),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("charged", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("free", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("refunded", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("refused", sa.BigInteger(), server_default=zero, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_usage_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "period", "operation", name="pk_usage"),
        sqlite_with_rowid=False,
    )
