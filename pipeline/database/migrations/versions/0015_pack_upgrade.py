"""A second vector of each face, while the deployment changes its pack."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("processes", sa.Column("packs", sa.JSON()))
    op.create_table(
        "pack_upgrade",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("former_pack", sa.String(64), nullable=False),
        sa.Column("former_digest", sa.String(64), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("pack_digest", sa.String(64), nullable=False),
        sa.Column("former_models", sa.JSON(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_pack_upgrade"),
    )
    op.create_table(
        "other_vectors",
        sa.Column("face_id", BigId, autoincrement=False, nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("tenant_id", BigId, nullable=False),
        sa.Column("label", sa.BigInteger(), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary()),
        sa.Column("error_code", sa.String(32)),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["face_id"], ["faces.id"], name="fk_other_vectors_face_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_other_vectors_tenant_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("face_id", "model_sha256", name="pk_other_vectors"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_other_vectors_tenant_id_model_sha256", "other_vectors", ["tenant_id", "model_sha256"]
    )


def downgrade() -> None:
    op.drop_table("other_vectors")
    op.drop_table("pack_upgrade")
    op.drop_column("processes", "packs")
