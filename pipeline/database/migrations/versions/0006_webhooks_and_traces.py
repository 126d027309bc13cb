"""Webhooks with their outbox; jobs name the trace that they belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
ZERO = sa.text("0")


def _partial_index(name: str, where: str, *columns: str) -> sa.Index:
    return sa.Index(
        name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.String(55), nullable=True))
    op.create_table(
        "webhooks",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column(
            "tenant_id", BIG_ID, sa.ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("on_jobs", sa.Boolean, nullable=False),
        sa.Column("on_batches", sa.Boolean, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("former_secret", sa.LargeBinary),
        sa.Column("former_until", sa.Float),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("failing_since", sa.Float),
        sa.Column("paused_until", sa.Float, nullable=False, server_default=ZERO),
        sa.Column("disabled_at", sa.Float),
        sa.Index("ix_webhooks_tenant_id", "tenant_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("seq", BIG_ID, primary_key=True),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column(
            "webhook_id", BIG_ID, sa.ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("payload", sa.Text, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("due_at", sa.Float, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("status", sa.Integer),
        sa.Column("error", sa.String(200)),
        sa.UniqueConstraint("id"),
        sa.Index("ix_webhook_deliveries_webhook_id_seq", "webhook_id", "seq"),
        _partial_index("ix_webhook_deliveries_due", "ended_at IS NULL", "webhook_id", "due_at"),
        _partial_index(
            "ix_webhook_deliveries_ended", "ended_at IS NOT NULL", "state", "ended_at"
        ),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
    op.drop_column("jobs", "traceparent")
