"""All tables, as of the first release."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True)
ZERO = sa.text("0")

TABLES = (
    "discarded", "peppers", "signed_requests", "tenants", "batches", "changes", "collections",
    "credentials", "data_keys", "images", "jobs", "snapshots", "usage", "batch_items", "faces",
    "former_secrets", "job_pictures", "bindings", "challenges", "findings", "job_faces",
    "used_clips", "vectors",
)


def _tenant_id(**options: Any) -> sa.Column[int]:
    owner = sa.ForeignKey("tenants.id", ondelete="CASCADE")
    return sa.Column("tenant_id", BIG_ID, owner, nullable=False, **options)


def _partial_index(where: str, name: str, *columns: str) -> sa.Index:
    return sa.Index(
        name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def upgrade() -> None:
    op.create_table(
        "discarded",
        sa.Column("media_key", sa.String(512), primary_key=True),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("discarded_at", sa.Float, nullable=False),
        sa.Index("ix_discarded_tenant_id", "tenant_id"),
    )
    op.create_table(
        "peppers",
        sa.Column("id", BIG_ID, primary_key=True, autoincrement=False),
        sa.Column("encrypted", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "signed_requests",
        sa.Column("tenant_id", BIG_ID, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Index("ix_signed_requests_expires_at", "expires_at"),
    )
    op.create_table(
        "tenants",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("settings", JSON, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("log_number", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("unnamed", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("limits", JSON),
        sa.Column("permissions", JSON),
        sa.UniqueConstraint("name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(32), primary_key=True),
        _tenant_id(),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("items", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("waiting", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("enrolled", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("duplicate", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("rejected", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("cancelled", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("exhausted", sa.Boolean, nullable=False),
        sa.Column("total", sa.BigInteger),
        sa.Column("position", sa.Float),
        sa.Column("findings", JSON),
        sa.Column("source_error", JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("updated_at", sa.Float, nullable=False),
        sa.Column("finished_at", sa.Float),
        sa.Column("submitter", sa.String(128)),
        sa.Column("submitter_until", sa.Float, nullable=False, server_default=ZERO),
        sa.UniqueConstraint("tenant_id", "fingerprint"),
    )
    op.create_table(
        "changes",
        _tenant_id(primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("label", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "collections",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("tenant_id", "key"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "credentials",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("public_id", sa.String(64), nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("readable", sa.Boolean, nullable=False),
        sa.Column("sm2_public_key", sa.String(130)),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("permissions", JSON),
        sa.UniqueConstraint("public_id"),
        sa.Index("ix_credentials_tenant_id", "tenant_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "data_keys",
        _tenant_id(primary_key=True, autoincrement=False),
        sa.Column("wrapped", sa.LargeBinary),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "images",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("image_id", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("former_face_id", sa.BigInteger),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.UniqueConstraint("tenant_id", "image_id"),
        _partial_index(
            "former_face_id IS NOT NULL", "ix_images_faceless", "tenant_id", "former_face_id",
        ),
        _partial_index("expires_at IS NOT NULL", "ix_images_temporary", "expires_at"),
        sa.Index("ix_images_tenant_id_id", "tenant_id", "id"),
        sa.Index("ix_images_tenant_id_sha256", "tenant_id", "sha256"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "jobs",
        sa.Column("seq", BIG_ID, primary_key=True),
        sa.Column("id", sa.String(32), nullable=False),
        _tenant_id(),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("dialect", sa.String(8), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("params", JSON, nullable=False),
        sa.Column("media", JSON, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("lease_until", sa.Float),
        sa.Column("worker", sa.String(128)),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("trace", JSON, nullable=False),
        sa.Column("result", JSON),
        sa.Column("error_code", sa.String(32)),
        sa.Column("error", JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("published_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("charged_on", sa.String(10)),
        sa.Column("free", sa.Boolean, nullable=False),
        sa.Column("erased_at", sa.Float),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("tenant_id", "idempotency_key"),
        sa.Index("ix_jobs_finished_at", "finished_at"),
        _partial_index("not_before > 0", "ix_jobs_paused", "not_before"),
        sa.Index("ix_jobs_waiting", "state", "stage", "seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "snapshots",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("engine", sa.String(16), nullable=False),
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Index("ix_snapshots_tenant_id_number", "tenant_id", "number"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "usage",
        _tenant_id(primary_key=True, autoincrement=False),
        sa.Column("period", sa.String(10), primary_key=True),
        sa.Column("operation", sa.String(32), primary_key=True),
        sa.Column("charged", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("free", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("refunded", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("refused", sa.BigInteger, nullable=False, server_default=ZERO),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "batch_items",
        sa.Column("batch_id", sa.String(32), sa.ForeignKey("batches.id", ondelete="CASCADE"),
                  primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("name_hash", sa.LargeBinary, nullable=False),
        sa.Column("picture_hash", sa.LargeBinary),
        sa.Column("source_name", sa.Text),
        sa.Column("name", sa.String(255)),
        sa.Column("collection", sa.String(32)),
        sa.Column("external_id", sa.String(255)),
        sa.Column("description", sa.String(255)),
        sa.Column("sha256", sa.String(64)),
        sa.Column("media_key", sa.String(512)),
        sa.Column("size", sa.BigInteger, nullable=False, server_default=ZERO),
        sa.Column("width", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("height", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("detail", sa.Text),
        sa.Column("original", sa.BigInteger),
        sa.Column("image_ref", sa.BigInteger),
        sa.Column("face_id", sa.BigInteger),
        sa.Column("faces", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("job_id", sa.String(32)),
        sa.Column("tries", sa.Integer, nullable=False, server_default=ZERO),
        sa.Column("criteria", sa.String(64)),
        sa.Column("erased_at", sa.Float),
        sa.UniqueConstraint("batch_id", "name_hash"),
        sa.Index("ix_batch_items_batch_id_picture_hash", "batch_id", "picture_hash"),
        _partial_index("criteria IS NOT NULL", "ix_batch_items_criteria", "tenant_id", "sha256"),
        _partial_index("image_ref IS NOT NULL", "ix_batch_items_image_ref", "image_ref"),
        _partial_index("original IS NOT NULL", "ix_batch_items_original", "batch_id", "original"),
        sa.Index("ix_batch_items_state", "batch_id", "state", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "faces",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("image_ref", BIG_ID, sa.ForeignKey("images.id", ondelete="CASCADE"),
                  nullable=False),
        sa.Column("person_id", sa.String(36), nullable=False),
        sa.Column("face_token", sa.String(24), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("gender", sa.String(64), nullable=False),
        sa.Column("box", JSON, nullable=False),
        sa.Column("landmarks", JSON, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("quality", JSON, nullable=False),
        sa.Column("face_key", sa.String(512), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("tenant_id", "face_token"),
        sa.UniqueConstraint("tenant_id", "person_id"),
        sa.Index("ix_faces_image_ref", "image_ref"),
        sa.Index("ix_faces_tenant_id_id", "tenant_id", "id"),
        sa.Index("ix_faces_tenant_id_name", "tenant_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "former_secrets",
        sa.Column("credential_id", BIG_ID, sa.ForeignKey("credentials.id", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("sm2_public_key", sa.String(130)),
        sa.Column("until", sa.Float, nullable=False),
    )
    op.create_table(
        "job_pictures",
        sa.Column("job_seq", BIG_ID, sa.ForeignKey("jobs.seq", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("data", sa.LargeBinary),
        sa.Column("media_key", sa.String(512)),
    )
    op.create_table(
        "bindings",
        sa.Column("collection_id", BIG_ID, sa.ForeignKey("collections.id", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        _tenant_id(),
        sa.Index("ix_bindings_face_id", "face_id"),
        sa.Index("ix_bindings_tenant_id", "tenant_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "challenges",
        sa.Column("digest", sa.String(64), primary_key=True),
        _tenant_id(),
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("actions", JSON, nullable=False),
        sa.Column("mirrored", sa.Boolean, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.Column("job_id", sa.String(32)),
        sa.Index("ix_challenges_expires_at", "expires_at"),
        sa.Index("ix_challenges_face_id", "face_id"),
        sa.Index("ix_challenges_tenant_id", "tenant_id"),
    )
    op.create_table(
        "findings",
        sa.Column("id", BIG_ID, primary_key=True),
        sa.Column("batch_id", sa.String(32), sa.ForeignKey("batches.id", ondelete="CASCADE"),
                  nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("other_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE")),
        sa.Column("number", sa.BigInteger),
        sa.Column("cosine", sa.Float),
        sa.Column("count", sa.BigInteger, nullable=False),
        sa.Index("ix_findings_batch_id_kind_id", "batch_id", "kind", "id"),
        sa.Index("ix_findings_face_id", "face_id"),
        sa.Index("ix_findings_other_id", "other_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "job_faces",
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        sa.Column("job_seq", BIG_ID, sa.ForeignKey("jobs.seq", ondelete="CASCADE"),
                  primary_key=True, autoincrement=False),
        sa.Index("ix_job_faces_job_seq", "job_seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "used_clips",
        sa.Column("id", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("motion_signature", sa.LargeBinary, nullable=False),
        sa.Column("used_at", sa.Float, nullable=False),
        sa.Index("ix_used_clips_face_id", "face_id"),
        sa.Index("ix_used_clips_tenant_id_sha256", "tenant_id", "sha256"),
        sa.Index("ix_used_clips_used_at", "used_at"),
    )
    op.create_table(
        "vectors",
        sa.Column("label", BIG_ID, primary_key=True),
        _tenant_id(),
        sa.Column("face_id", BIG_ID, sa.ForeignKey("faces.id", ondelete="CASCADE"), nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer, nullable=False),
        sa.Column("vector", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.UniqueConstraint("face_id"),
        sa.Index("ix_vectors_tenant_id_label", "tenant_id", "label"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name == "sqlite":
        _write_sqlite_statistics()


# SQLite's planner, without statistics, takes a tenant or a batch to have ten rows and scans
# all of them where an index finds the few that are asked for. ANALYZE would record the sizes
# of the day it runs, usually before the gallery has grown. PostgreSQL gathers its own.
GROWING_TABLES = ("images", "faces", "vectors", "changes", "bindings", "batch_items")
ASSUMED_ROWS = 1_000_000
# Rows that share a value of a column; of other columns hardly two rows share one.
ROWS_PER_VALUE = {
    "tenant_id": 200_000, "batch_id": 100_000, "collection_id": 20_000, "state": 50_000,
}


def _write_sqlite_statistics() -> None:
    connection = op.get_bind()
    op.execute("ANALYZE tenants")  # creates sqlite_stat1
    for table in GROWING_TABLES:
        for row in connection.execute(sa.text(f"PRAGMA index_list({table})")).all():
            columns = connection.execute(sa.text(f"PRAGMA index_info({row.name})")).all()
            numbers = [ROWS_PER_VALUE.get(column.name, 1) for column in columns]
            least = [min(numbers[: place + 1]) for place in range(len(numbers))]
            connection.execute(
                sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"),
                {
                    # The primary key of a table without row numbers has the table's name.
                    "tbl": table, "idx": table if row.origin == "pk" else row.name,
                    "stat": " ".join(map(str, [ASSUMED_ROWS, *least])),
                },
            )
    op.execute("ANALYZE sqlite_master")  # makes this connection read the statistics


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
