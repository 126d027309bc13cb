"""Batches count the files of their source that were skipped."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    skipped = sa.Column("skipped", sa.BigInteger(), nullable=False, server_default=sa.text("0"))
    op.add_column("batches", skipped)


def downgrade() -> None:
    op.drop_column("batches", "skipped")
