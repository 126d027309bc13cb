"""Operators list jobs by application, by error and by request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

HAS_ERROR = sa.text("error_code IS NOT NULL")


def upgrade() -> None:
    op.create_index("ix_jobs_tenant_id_seq", "jobs", ["tenant_id", "seq"])
    op.create_index(
        "ix_jobs_errors", "jobs", ["seq", "error_code"], sqlite_where=HAS_ERROR,
        postgresql_where=HAS_ERROR,
    )
    op.create_index("ix_jobs_request_id", "jobs", ["request_id"])


def downgrade() -> None:
    for name in ("ix_jobs_request_id", "ix_jobs_errors", "ix_jobs_tenant_id_seq"):
        op.drop_index(name, "jobs")
