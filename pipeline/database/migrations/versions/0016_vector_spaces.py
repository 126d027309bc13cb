"""Galleries may be served by a vector engine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

PRESENT = sa.text("state <> 'leaving'")


def upgrade() -> None:
    op.create_table(
        "vector_spaces",
        sa.Column("tenant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        *(
            sa.Column(name, sa.BigInteger(), nullable=False)
            for name in ("number", "erased", "faces", "size")
        ),
        sa.Column("trouble", sa.Text(), nullable=True),
        sa.Column("holder", sa.String(32), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "generation", name="pk_vector_spaces"),
    )
    op.create_index(
        "ix_vector_spaces_present", "vector_spaces", ["tenant_id"], unique=True,
        sqlite_where=PRESENT, postgresql_where=PRESENT,
    )


def downgrade() -> None:
    op.drop_table("vector_spaces")
