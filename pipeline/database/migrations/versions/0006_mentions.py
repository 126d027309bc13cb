"""Which faces the jobs that have ended speak of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("jobs", sa.Column("erased_at", sa.Float(), nullable=True))
    op.create_table(
        "mentions",
        sa.Column("face_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("job_seq", BIG_ID, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["face_id"], ["faces.id"], name="fk_mentions_face_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["job_seq"], ["jobs.seq"], name="fk_mentions_job_seq", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("face_id", "job_seq", name="pk_mentions"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_mentions_job_seq", "mentions", ["job_seq"])


def downgrade() -> None:
    op.drop_table("mentions")
    op.drop_column("jobs", "erased_at")
