"""The gallery: images, faces, vectors, collections, the change log, snapshots."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TABLES = (
    "discarded", "snapshots", "changes", "bindings", "collections", "vectors", "faces", "images",
)
TENANT_COLUMNS = ("log_number", "unnamed")


def upgrade() -> None:
    zero = sa.text("0")
    for column in (
        sa.Column("log_number", sa.BigInteger(), nullable=False, server_default=zero),
        sa.Column("unnamed", sa.BigInteger(), nullable=False, server_default=zero),
    ):
        op.add_column("tenants", column)
    _make_images()
    _make_faces()
    _make_vectors()
    _make_collections()
    _make_bindings()
    _make_changes()
    _make_snapshots()
    _make_discarded()


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
    for column in TENANT_COLUMNS:
        op.drop_column("tenants", column)


def _make_images() -> None:
    op.create_table(
        "images",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("image_id", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("former_face_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.Float(), nullable=False),
        _belongs("images", "tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_images"),
        sa.UniqueConstraint("tenant_id", "image_id", name="uq_images_tenant_id_image_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_images_tenant_id_id", "images", ["tenant_id", "id"])
    op.create_index("ix_images_tenant_id_sha256", "images", ["tenant_id", "sha256"])
    bare = sa.text("former_face_id IS NOT NULL")
    op.create_index(
        "ix_images_bare", "images", ["tenant_id", "former_face_id"],
        sqlite_where=bare, postgresql_where=bare,
    )


def _make_faces() -> None:
    op.create_table(
        "faces",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("image_ref", BIG_ID, nullable=False),
        sa.Column("person_id", sa.String(36), nullable=False),
        sa.Column("face_token", sa.String(24), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("gender", sa.String(64), nullable=False),
        sa.Column("box", sa.JSON(), nullable=False),
        sa.Column("landmarks", sa.JSON(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("face_key", sa.String(512), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        _belongs("faces", "tenants"),
        _belongs("faces", "images", "image_ref"),
        sa.PrimaryKeyConstraint("id", name="pk_faces"),
        sa.UniqueConstraint("tenant_id", "person_id", name="uq_faces_tenant_id_person_id"),
        sa.UniqueConstraint("tenant_id", "face_token", name="uq_faces_tenant_id_face_token"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_faces_tenant_id_id", "faces", ["tenant_id", "id"])
    op.create_index("ix_faces_tenant_id_name", "faces", ["tenant_id", "name"])
    op.create_index("ix_faces_image_ref", "faces", ["image_ref"])


def _make_vectors() -> None:
    op.create_table(
        "vectors",
        sa.Column("label", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("face_id", BIG_ID, nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("model_sha256", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        _belongs("vectors", "tenants"),
        _belongs("vectors", "faces", "face_id"),
        sa.PrimaryKeyConstraint("label", name="pk_vectors"),
        sa.UniqueConstraint("face_id", name="uq_vectors_face_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_vectors_tenant_id_label", "vectors", ["tenant_id", "label"])
    if op.get_bind().dialect.name == "postgresql":
        # Floats do not compress, and 2 KB a row, moved out of the table, would cost
        # whoever reads all of them one look-up each.
        op.execute("ALTER TABLE vectors ALTER COLUMN vector SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE vectors SET (toast_tuple_target = 8160)")


def _make_collections() -> None:
    table = op.create_table(
        "collections",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("type", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        _belongs("collections", "tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.UniqueConstraint("tenant_id", "key", name="uq_collections_tenant_id_key"),
        sqlite_autoincrement=True,
    )
    tenants = sa.table("tenants", sa.column("id"))
    default = [sa.literal(value) for value in ("default", "", "", 80.0, time.time())]
    op.execute(
        sa.insert(table).from_select(
            ["tenant_id", "key", "type", "name", "score", "created_at"],
            sa.select(tenants.c.id, *default),
        )
    )


def _make_bindings() -> None:
    op.create_table(
        "bindings",
        sa.Column("collection_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("face_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        _belongs("bindings", "collections", "collection_id"),
        _belongs("bindings", "faces", "face_id"),
        _belongs("bindings", "tenants"),
        sa.PrimaryKeyConstraint("collection_id", "face_id", name="pk_bindings"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_bindings_face_id", "bindings", ["face_id"])
    op.create_index("ix_bindings_tenant_id", "bindings", ["tenant_id"])


def _make_changes() -> None:
    op.create_table(
        "changes",
        sa.Column("tenant_id", BIG_ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("label", sa.BigInteger(), nullable=False),
        _belongs("changes", "tenants"),
        sa.PrimaryKeyConstraint("tenant_id", "number", name="pk_changes"),
        sqlite_with_rowid=False,
    )


def _make_snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("pack", sa.String(64), nullable=False),
        sa.Column("dimension", sa.Integer(), nullable=False),
        sa.Column("engine", sa.String(16), nullable=False),
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        _belongs("snapshots", "tenants"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_snapshots_tenant_id_number", "snapshots", ["tenant_id", "number"])


def _make_discarded() -> None:
    op.create_table(
        "discarded",
        sa.Column("media_key", sa.String(512), nullable=False),
        sa.Column("tenant_id", BIG_ID, nullable=False),
        sa.Column("discarded_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("media_key", name="pk_discarded"),
    )
    op.create_index("ix_discarded_tenant_id", "discarded", ["tenant_id"])


def _belongs(table: str, owner: str, column: str = "tenant_id") -> sa.ForeignKeyConstraint:
    """A row goes with its owner."""
    return sa.ForeignKeyConstraint(
        [column], [f"{owner}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE"
    )
