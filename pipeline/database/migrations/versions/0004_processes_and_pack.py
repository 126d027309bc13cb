"""Running processes, the deployment's pack, and the pack of each job."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("stages", JSON, nullable=False),
        sa.Column("host", sa.String(128), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("pack", sa.String(64)),
        sa.Column("pack_digest", sa.String(64)),
        sa.Column("clock_offset", sa.Float, nullable=False),
        sa.Column("trouble", sa.Text),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
    )
    op.create_table(
        "deployment",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("pack_digest", sa.String(64), nullable=False),
        sa.Column("models", JSON, nullable=False),
        sa.Column("pinned_at", sa.Float, nullable=False),
    )
    op.add_column("jobs", sa.Column("pack", sa.String(64), nullable=True))


def downgrade() -> None:
    op.drop_column("jobs", "pack")
    op.drop_table("deployment")
    op.drop_table("processes")
