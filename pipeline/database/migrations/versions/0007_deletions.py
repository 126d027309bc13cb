"""Receipts of deletions, the deployment's signing key, backups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "signing_keys",
        sa.Column("id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("encrypted", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signing_keys"),
    )
    op.create_table(
        "receipts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("application", sa.String(128), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("counts", JSON, nullable=False),
        sa.Column("stores", JSON, nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("deleted_at", sa.Float(), nullable=True),
        sa.Column("journaled_at", sa.Float(), nullable=True),
        sa.Column("completed_at", sa.Float(), nullable=True),
        sa.Column("document", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_receipts"),
    )
    op.create_index(
        "ix_receipts_tenant_id_requested_at", "receipts", ["tenant_id", "requested_at"]
    )
    _partial_index("ix_receipts_pending", "receipts", "completed_at IS NULL", "requested_at")
    _partial_index("ix_receipts_unjournaled", "receipts", "journaled_at IS NULL", "tenant_id")
    op.create_table(
        "receipt_subjects",
        sa.Column("receipt_id", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("ref", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["receipt_id"], ["receipts.id"], name="fk_receipt_subjects_receipt_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("receipt_id", "kind", "ref", name="pk_receipt_subjects"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "backups",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("removed_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
    )
    op.create_table(
        "index_positions",
        sa.Column("process_id", sa.String(32), nullable=False),
        sa.Column("tenant_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("noted_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("process_id", "tenant_id", name="pk_index_positions"),
    )
    op.add_column("discarded", sa.Column("receipt_id", sa.String(32), nullable=True))
    _partial_index("ix_discarded_receipt_id", "discarded", "receipt_id IS NOT NULL", "receipt_id")


def _partial_index(name: str, table: str, where: str, *columns: str) -> None:
    chosen = sa.text(where)
    op.create_index(
        name, table, list(columns), sqlite_where=chosen, postgresql_where=chosen
    )


def downgrade() -> None:
    op.drop_index("ix_discarded_receipt_id", "discarded")
    op.drop_column("discarded", "receipt_id")
    for table in ("index_positions", "backups", "receipt_subjects", "receipts", "signing_keys"):
        op.drop_table(table)
