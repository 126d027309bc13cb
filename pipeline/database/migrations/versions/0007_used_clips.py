"""Clips that were taken for live ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "used_clips",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("face_id", BIG_ID, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("way", sa.LargeBinary(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_used_clips_tenant_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["face_id"], ["faces.id"], name="fk_used_clips_face_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_used_clips"),
    )
    op.create_index("ix_used_clips_tenant_id_sha256", "used_clips", ["tenant_id", "sha256"])
    op.create_index("ix_used_clips_face_id", "used_clips", ["face_id"])
    op.create_index("ix_used_clips_used_at", "used_clips", ["used_at"])


def downgrade() -> None:
    op.drop_table("used_clips")
