"""Batches of pictures to enrol, and their items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO = sa.text("0")


def upgrade() -> None:
    _batches()
    _items()


def _batches() -> None:
    counters = ("items", "waiting", "enrolled", "duplicate", "rejected", "cancelled")
    op.create_table(
        "batches",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        *(_count(name, sa.BigInteger()) for name in counters),
        sa.Column("exhausted", sa.Boolean(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.Float(), nullable=True),
        sa.Column("findings", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
        sa.Column("finished_at", sa.Float(), nullable=True),
        sa.Column("submitter", sa.String(128), nullable=True),
        sa.Column("submitter_until", sa.Float(), nullable=False, server_default=ZERO),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_batches_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
        sa.UniqueConstraint(
            "tenant_id", "fingerprint", name="uq_batches_tenant_id_fingerprint"
        ),
    )


def _items() -> None:
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("name_hash", sa.LargeBinary(), nullable=False),
        sa.Column("picture_hash", sa.LargeBinary(), nullable=True),
        sa.Column("source_name", sa.Text(), nullable=True),
        sa.Column("name", sa.String(255), nullable=True),
        sa.Column("collection", sa.String(128), nullable=True),
        sa.Column("external_id", sa.String(255), nullable=True),
        sa.Column("description", sa.String(255), nullable=True),
        sa.Column("sha256", sa.String(64), nullable=True),
        sa.Column("media_key", sa.String(512), nullable=True),
        _count("size", sa.BigInteger()),
        _count("width", sa.Integer()),
        _count("height", sa.Integer()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("original", sa.BigInteger(), nullable=True),
        sa.Column("image_ref", sa.BigInteger(), nullable=True),
        sa.Column("face_id", sa.BigInteger(), nullable=True),
        _count("faces", sa.Integer()),
        sa.Column("job_id", sa.String(32), nullable=True),
        _count("tries", sa.Integer()),
        sa.Column("criteria", sa.String(64), nullable=True),
        sa.Column("erased_at", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], name="fk_batch_items_batch_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("batch_id", "number", name="pk_batch_items"),
        sa.UniqueConstraint(
            "batch_id", "name_hash", name="uq_batch_items_batch_id_name_hash"
        ),
        sqlite_with_rowid=False,
    )
    _index("batch_id_picture_hash", "batch_id", "picture_hash")
    _index("state", "batch_id", "state", "number")
    _index("criteria", "tenant_id", "sha256", where="criteria IS NOT NULL")
    _index("image_ref", "image_ref", where="image_ref IS NOT NULL")
    _index("original", "batch_id", "original", where="original IS NOT NULL")


def _count(name: str, kind: sa.types.TypeEngine[int]) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default=ZERO)


def _index(name: str, *columns: str, where: str | None = None) -> None:
    chosen = None if where is None else sa.text(where)
    op.create_index(
        f"ix_batch_items_{name}", "batch_items", list(columns),
        sqlite_where=chosen, postgresql_where=chosen,
    )


def downgrade() -> None:
    op.drop_table("batch_items")
    op.drop_table("batches")
