"""Operators settle findings of batches, and list refused items by their reason."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
HAS_REASON = sa.text("reason IS NOT NULL")
REASON_INDEX = "ix_batch_items_reason"

# As 0001 does for the other indexes of this table: rows that share the first columns.
REASON_STATISTICS = "1000000 100000 50000 5000 1"


def _face(name: str, *, nullable: bool = False, **options: Any) -> sa.Column[int]:
    owner = sa.ForeignKey("faces.id", ondelete="CASCADE")
    return sa.Column(name, BIG_ID, owner, nullable=nullable, **options)


def upgrade() -> None:
    op.create_index(
        REASON_INDEX, "batch_items", ["batch_id", "state", "reason", "number"],
        sqlite_where=HAS_REASON, postgresql_where=HAS_REASON,
    )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.execute(
            sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('batch_items', :i, :s)"),
            {"i": REASON_INDEX, "s": REASON_STATISTICS},
        )
    op.create_table(
        "dismissed_findings",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column(
            "tenant_id", BIG_ID, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("kind", sa.String(16), nullable=False),
        _face("face_id"),
        _face("other_id", nullable=True),
        sa.Column("change_id", sa.String(32), nullable=False),
        sa.Column("dismissed_at", sa.Float(), nullable=False),
        sqlite_autoincrement=True,
    )
    for column in ("tenant_id", "face_id", "other_id", "change_id"):
        op.create_index(f"ix_dismissed_findings_{column}", "dismissed_findings", [column])
    op.create_table(
        "renamed_faces",
        sa.Column("change_id", sa.String(32), primary_key=True),
        _face("face_id", primary_key=True, autoincrement=False),
        sa.Column("former_name", sa.String(255), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("renamed_at", sa.Float(), nullable=False),
        sqlite_with_rowid=False,
    )
    for column in ("face_id", "renamed_at"):
        op.create_index(f"ix_renamed_faces_{column}", "renamed_faces", [column])


def downgrade() -> None:
    op.drop_table("renamed_faces")
    op.drop_table("dismissed_findings")
    op.drop_index(REASON_INDEX, "batch_items")
