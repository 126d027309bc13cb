"""Why the source of a batch cannot be read, in its record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("source_error", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("batches", "source_error")
