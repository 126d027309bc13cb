"""Signed requests name the job that answers them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("signed_requests", sa.Column("job_id", sa.String(32), nullable=True))


def downgrade() -> None:
    op.drop_column("signed_requests", "job_id")
