"""Pictures that are stored for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("images", sa.Column("expires_at", sa.Float(), nullable=True))
    passing = sa.text("expires_at IS NOT NULL")
    op.create_index(
        "ix_images_passing", "images", ["expires_at"],
        sqlite_where=passing, postgresql_where=passing,
    )


def downgrade() -> None:
    op.drop_index("ix_images_passing", "images")
    op.drop_column("images", "expires_at")
