"""Small pictures of items that a batch refused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "refused_pictures",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column(
            "tenant_id", BIG_ID, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column(
            "batch_id", sa.String(32), sa.ForeignKey("batches.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.UniqueConstraint("batch_id", "number"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_refused_pictures_created_at", "refused_pictures", ["created_at"])
    op.create_index("ix_refused_pictures_tenant_id_id", "refused_pictures", ["tenant_id", "id"])


def downgrade() -> None:
    op.drop_table("refused_pictures")
